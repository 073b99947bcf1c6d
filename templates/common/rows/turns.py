"""Turns of a conversation, whoever wrote them down: OpenAI's `role` and `content`, ShareGPT's `from` and `value`."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any, NamedTuple

from .faults import BadRow
from .keys import visible

Message = dict[str, Any]
ROLES = {
    "system": "system",
    "developer": "developer",  # `system` to a chat template that knows no developer
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
    "function": "tool",  # only as `from`: as `role` it belongs to calls that no template knows any more
    "function_call": "assistant",
    "tool_call": "assistant",
}
_CALLS = ("function_call", "tool_call")  # speakers whose words are calls
_SHOWN_ROLES = ("system", "user", "assistant", "tool")
_SHOWN_SPEAKERS = ("system", "human", "gpt", "function_call", "observation")
AS_TEXT = "calls_as_text"  # key of a message: its calls for a chat template that has no form for them
REASONING = ("reasoning_content", "reasoning", "thinking")
_MASKS = ("train", "loss", "mask")  # what others leave turns out by
_TEXTS = ("text", "input_text", "output_text")  # types of parts
_LEGACY = "has `function_call` or the role `function`, OpenAI's older form: write `tool_calls` and the role `tool`"


class Turn(NamedTuple):
    """A turn as chat templates take it, whether it is trained, and which of its known keys are not read."""

    message: Message
    trained: bool
    not_read: set[str]


def turns(conversation: Any, key: str) -> list[Turn]:
    """The turns in `conversation`, the value of `key`. Raises BadRow for one that is no turn or has no text."""
    if isinstance(conversation, str):
        conversation = decoded(conversation, f"`{key}`")
    if not isinstance(conversation, list) or not conversation:
        raise BadRow(f"`{key}` is empty" if conversation == [] else f"`{key}` is not a list of messages")
    return [_turn(each, number, key) for number, each in enumerate(conversation, 1)]


def decoded(value: str, name: str) -> Any:
    """A list that stands as JSON in a text, as tables have it. Raises BadRow."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise BadRow(f"{name} is a string that is not JSON") from None


def _turn(given: Any, number: int, key: str) -> Turn:
    if not isinstance(given, dict) or ("role" not in given and "from" not in given):
        raise BadRow(f"message {number} of `{key}` has no `role` or `from`")
    shares = given.get("role") is None and "from" in given
    if given.get("function_call") or (not shares and given.get("role") == "function"):
        raise BadRow(f"message {number} of `{key}` {_LEGACY}")
    speaker = given.get("from") if shares else given.get("role")
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        place = f"turn {number} is from" if shares else f"message {number} of `{key}` has the role"
        raise BadRow(f"{place} {_unknown_role(speaker, shares)}", "unknown role")
    name = f"the value of turn {number}" if shares else f"the content of message {number}"
    field = "value" if "value" in given and given.get("content") is None else "content"
    found = _message(given, role, field, name)
    if isinstance(speaker, str) and speaker.strip().lower() in _CALLS:
        _read_calls(found)
    return Turn(found, _is_trained(given), _not_read(given, role))


def _message(given: Message, role: str, field: str, name: str) -> Message:
    """Role, content and whatever else a chat template may want; no null."""
    taken = ("from", "value", "role", "content", "weight", "tool_calls", AS_TEXT)
    extras = {key: value for key, value in given.items() if key not in taken and value is not None}
    calls = tool_calls(given.get("tool_calls"), name) if role == "assistant" else []
    content = text_of(given.get(field), name)
    if isinstance(content, str) and content.strip():
        check_characters(content)
    elif not (calls or role in ("tool", "system")) or not (content is None or isinstance(content, str)):
        raise BadRow(f"{name} {no_text(content)}" if field in given else f"{name} is missing")
    check_values([*extras.values(), calls])
    found = {"role": role, "content": content or "", **extras}
    if calls:
        found |= {"tool_calls": calls, AS_TEXT: "\n".join(_block(as_json(each["function"])) for each in calls)}
    return found


def text_of(content: Any, name: str) -> Any:
    """The text of a list of text parts, a line for each; anything else as it is. Raises BadRow for other parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type", "text") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in _TEXTS or not isinstance(text, str):
            raise BadRow(f"{name} has {_part_name(kind)}: only text is trained on here", f"part {str(kind)[:40]}")
        texts.append(text)
    return "\n".join(texts)


def _part_name(kind: Any) -> str:
    if not isinstance(kind, str):
        return "a part without a type"
    return "a part without text" if kind in _TEXTS else f"a part of the type `{visible(kind)}`"


def tool_calls(value: Any, place: str) -> list[Message]:
    """Calls as chat templates take them: {"type": "function", "function": {"name", "arguments": an object}}."""
    name = f"`tool_calls` beside {place}"
    calls = decoded(value, name) if isinstance(value, str) and value.strip() else value or []
    calls = [calls] if isinstance(calls, dict) else calls
    if not isinstance(calls, list):
        raise BadRow(f"{name} is not a list of calls")
    return [_call(each, name) for each in calls]


def _call(given: Any, name: str) -> Message:
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise BadRow(f"{name} has a call without the name of a function")
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        arguments = decoded(arguments, f"the arguments of a call in {name}") if arguments.strip() else {}
    if arguments is not None and not isinstance(arguments, dict):
        raise BadRow(f"the arguments of a call in {name} are {kind_name(arguments)}, not an object")
    about = {key: given[key] for key in ("id",) if given.get(key) is not None}
    return {**about, "type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}


def _read_calls(message: Message) -> None:
    """Calls that ShareGPT has as the words of a turn of their own; words that are no call stay words."""
    try:
        calls = json.loads(message["content"])
        found = tool_calls(calls, "")
    except (ValueError, RecursionError, BadRow):
        return
    if found:
        message |= {"tool_calls": found, AS_TEXT: _block(message["content"]), "content": ""}


def _block(call: str) -> str:
    """A call in text, as Hermes and Qwen write it, which servers know how to read."""
    return f"<tool_call>\n{call}\n</tool_call>"


def _is_trained(given: Message) -> bool:
    """Whether its weight is anything but 0."""
    weight = given.get("weight", 1)
    return not (isinstance(weight, int | float) and weight == 0)


def _not_read(given: Message, role: str) -> set[str]:
    """Its keys that mean something and are not read here, or by few chat templates."""
    found = {key for key in REASONING if isinstance(given.get(key), str) and given[key].strip()}
    found |= {key for key in _MASKS if given.get(key) is not None}
    if given.get("name") and role != "tool":
        found.add("name")
    if given.get("weight") not in (None, 0, 1):
        found.add("weight")
    return found


def tools_of(record: Message) -> list[Any] | None:
    """The tools of a row as chat templates take them; None when it has none."""
    tools = record.get("tools")
    if isinstance(tools, str):
        tools = decoded(tools, "`tools`") if tools.strip() else None
    if not tools:
        return None
    tools = [tools] if isinstance(tools, dict) else tools
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRow("`tools` is not a list of tools")
    check_values(tools)
    return [
        tool if "function" in tool or "name" not in tool else {"type": "function", "function": tool} for tool in tools
    ]


def required_text(value: Any, name: str) -> str:
    """A text that is there. Raises BadRow."""
    value = text_of(value, name)
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"{name} {no_text(value)}")
    check_characters(value)
    return value


def no_text(value: Any) -> str:
    """Why a value is no text."""
    return "is empty" if isinstance(value, str) else f"is {kind_name(value)}, not text"


def check_characters(text: str) -> None:
    """JSON can spell half of a two-part character (\\ud800), which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow("holds half of a surrogate pair, which is not text") from None


def check_values(values: list[Any]) -> None:
    """The same for all texts in values that a chat template may print, and how deeply they are nested."""
    if any(values):
        try:
            check_characters(json.dumps(values, ensure_ascii=False))
        except RecursionError:
            raise BadRow("is nested too deeply") from None


def _unknown_role(role: Any, shares: bool) -> str:
    if not isinstance(role, str):
        return f"{kind_name(role)}, not one of {', '.join(_SHOWN_SPEAKERS if shares else _SHOWN_ROLES)}"
    known = _SHOWN_SPEAKERS if shares else _SHOWN_ROLES
    close = get_close_matches(role.lower(), ROLES if shares else known, n=1, cutoff=0.5)
    ask = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
    return f"`{visible(role)}`; {ask}"


def kind_name(value: Any) -> str:
    """What a value of JSON is called in a sentence."""
    if value is None:
        return "null"
    names = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "text")


def as_json(value: Any) -> str:
    """A value as JSON in one line; empty when it is nested nearly as deeply as JSON is read."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return ""
