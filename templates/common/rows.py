"""Training rows in any of five shapes, made into one; a row that cannot be trained on gets a message.

Standard library only and no other module of ours: the client judges data with this very file, before anything is paid
for, and the trainer reads with it. TRL takes unknown roles, empty texts and null contents without a word and trains on
rubbish: every such row is refused here.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any, NamedTuple

ROLES = ("system", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "tool": "tool",
    "function_response": "tool",
}
# The key that shows a shape, in this order where a row has several; a file's later rows need that key too.
SHAPES = {
    "messages": "messages",
    "sharegpt": "conversations",
    "prompt": "completion",
    "alpaca": "instruction",
    "text": "text",
}
_OTHER_NAMES = {
    "message": "rename it to `messages`",
    "conversation": "rename it to `conversations`, or to `messages` when its turns have `role` and `content`",
    "question": "rename `question` and `answer` to `prompt` and `completion`",
    "response": "rename it to `completion`, next to `prompt`",
    "content": "rename it to `text`",
    "chosen": "rows of preferences cannot be trained on here",
}
Message = dict[str, Any]


class BadRow(Exception):
    """A row that cannot be trained on; the text is a message about it, without its line."""


class Row(NamedTuple):
    """One training row: a conversation (trained from turn `first_trained` on), or `prompt` and `completion`."""

    line: int
    messages: tuple[Message, ...] = ()
    first_trained: int = 0
    prompt: str = ""
    completion: str = ""
    tools: Any = None

    @property
    def turns(self) -> list[tuple[str, str]]:
        """What the model would read, as (role, content); tool calls as JSON where they stand for the content."""
        if self.messages:
            return [(turn["role"], turn.get("content") or _as_json(turn.get("tool_calls"))) for turn in self.messages]
        if not self.prompt:
            return [("text", self.completion)]
        return [("user", self.prompt), ("assistant", self.completion)]


class Shape:
    """The shape of a file's rows: `kind` where it is given, else that of the first row."""

    def __init__(self, kind: str | None) -> None:
        self.kind = kind or ""
        self.line = 0  # of the row that showed it; 0 when it was given

    def row(self, record: dict[str, Any], line: int) -> Row:
        """One parsed row as a Row. Raises BadRow when it has another shape, or a part that is missing or no text."""
        kind = shape_of(record)
        if not self.kind:
            if not kind:
                raise BadRow(unknown_shape(record))
            self.kind, self.line = kind, line
        if SHAPES[self.kind] not in record:
            raise BadRow(self._another(kind) if kind else unknown_shape(record))
        return _READERS[self.kind](record, line)

    def _another(self, kind: str) -> str:
        where = f"line {self.line} has" if self.line else "expected are"
        return f"has the keys of `{kind}` rows, {where} those of `{self.kind}`"


def shape_of(record: dict[str, Any]) -> str:
    """`messages`, `sharegpt`, `prompt`, `alpaca` or `text` by the keys of a row; "" when it has the keys of none."""
    for kind, key in SHAPES.items():
        if key in record:
            return kind
    return ""


def unknown_shape(record: dict[str, Any]) -> str:
    """Why `record` is none of the shapes, as a message."""
    if not record:
        return "is an empty object"
    for key, hint in _OTHER_NAMES.items():
        if key in record:
            return f"has `{key}`: {hint}"
    keys = ", ".join(f"`{_visible(key)}`" for key in list(record)[:4])
    return f"has {keys}, which is none of messages, conversations, prompt + completion, instruction + output, text"


def _messages_row(record: dict[str, Any], line: int) -> Row:
    turns = _turns(record, "messages")
    _check_last(turns)
    return Row(line, turns, tools=_tools(record))


def _sharegpt_row(record: dict[str, Any], line: int) -> Row:
    conversation = record["conversations"]
    if not isinstance(conversation, list) or not conversation:
        raise BadRow("`conversations` is not a list of turns")
    turns = tuple(_sharegpt_turn(turn, number) for number, turn in enumerate(conversation, 1))
    _check_last(turns)
    return Row(line, turns, tools=_tools(record))


def _sharegpt_turn(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict) or "from" not in turn or "value" not in turn:
        raise BadRow(f"turn {number} has no `from` and `value`")
    speaker = turn["from"]
    role = SHAREGPT_ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise BadRow(f"turn {number} is from {_unknown_role(speaker, list(SHAREGPT_ROLES))}")
    return {"role": role, "content": _text(turn["value"], f"the value of turn {number}")}


def _prompt_row(record: dict[str, Any], line: int) -> Row:
    if "prompt" not in record:
        raise BadRow("has `completion` and no `prompt`")
    prompt, completion = record["prompt"], record["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        asked, answered = _turns(record, "prompt"), _turns(record, "completion")
        _check_last(answered)
        return Row(line, (*asked, *answered), first_trained=len(asked), tools=_tools(record))
    if isinstance(prompt, list) or isinstance(completion, list):
        raise BadRow("one of `prompt` and `completion` is a list and the other is not")
    return Row(line, prompt=_text(prompt, "`prompt`"), completion=_text(completion, "`completion`"))


def _alpaca_row(record: dict[str, Any], line: int) -> Row:
    asked = _text(record["instruction"], "`instruction`")
    extra = record.get("input") or ""
    if not isinstance(extra, str):
        raise BadRow(f"`input` {_no_text(extra)}")
    if "output" not in record:
        raise BadRow("has `instruction` and no `output`")
    _check_characters(extra)
    question = f"{asked}\n\n{extra}" if extra.strip() else asked
    answer = _text(record["output"], "`output`")
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if record.get("system"):
        turns.insert(0, {"role": "system", "content": _text(record["system"], "`system`")})
    return Row(line, tuple(turns))


def _text_row(record: dict[str, Any], line: int) -> Row:
    return Row(line, completion=_text(record["text"], "`text`"))


_READERS = {
    "messages": _messages_row,
    "sharegpt": _sharegpt_row,
    "prompt": _prompt_row,
    "alpaca": _alpaca_row,
    "text": _text_row,
}


def _turns(record: dict[str, Any], key: str) -> tuple[Message, ...]:
    """Messages of OpenAI's shape: role and content, or tool calls in place of the assistant's content."""
    messages = record[key]
    if not isinstance(messages, list) or not messages:
        raise BadRow(f"`{key}` is empty" if messages == [] else f"`{key}` is not a list of messages")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or "role" not in message:
            raise BadRow(f"message {number} of `{key}` has no `role`")
        role = message["role"]
        if role not in ROLES:
            raise BadRow(f"message {number} of `{key}` has the role {_unknown_role(role, list(ROLES))}")
        content = message.get("content")
        if isinstance(content, str) and content.strip():
            _check_characters(content)
        elif not (role == "assistant" and message.get("tool_calls") and _is_blank(content)):
            raise BadRow(_no_content(message, number, key))
    return tuple(messages)


def _is_blank(content: Any) -> bool:
    return content is None or (isinstance(content, str) and not content.strip())


def _no_content(message: Message, number: int, key: str) -> str:
    if "content" not in message:
        return f"message {number} of `{key}` has no `content`"
    return f"the content of message {number} {_no_text(message['content'])}"


def _check_last(turns: tuple[Message, ...]) -> None:
    """Without an answer there is nothing to learn from."""
    role = turns[-1]["role"]
    if role != "assistant":
        raise BadRow(f"the last turn is from {role}, not from assistant: there is no answer to learn")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"{name} {_no_text(value)}")
    _check_characters(value)
    return value


def _no_text(value: Any) -> str:
    return "is empty" if isinstance(value, str) else f"is {_kind_name(value)}, not text"


def _check_characters(text: str) -> None:
    """JSON can spell half of a two-part character (\\ud800), which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow("holds half of a surrogate pair, which is not text") from None


def _tools(record: dict[str, Any]) -> Any:
    tools = record.get("tools")
    if isinstance(tools, str):
        try:
            return json.loads(tools)
        except (ValueError, RecursionError):
            raise BadRow("`tools` is a string that is not JSON") from None
    return tools


def _unknown_role(role: Any, known: list[str]) -> str:
    if not isinstance(role, str):
        return f"{_kind_name(role)}, not one of {', '.join(ROLES)}"
    close = ["system"] if role == "developer" else get_close_matches(role.lower(), known, n=1, cutoff=0.5)
    ask = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
    return f"`{_visible(role)}`; {ask}"


def _kind_name(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "text")


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except RecursionError:  # it is nested nearly as deeply as JSON is read
        return ""


def _visible(text: str) -> str:
    """The beginning of `text` as it can stand in a one-line message: control characters and the like as escapes."""
    text = text[:40]
    return text if text.isprintable() else ascii(text)[1:-1]
