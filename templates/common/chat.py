"""A conversation as the model's own chat template writes it, and whatever the template would leave out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from failures import BadData
from rows import Row
from rows.turns import AS_TEXT, REASONING, Message

_CONTENT = "the text"
_REFUSES = "the model's chat template refuses the conversation"


def refused(row: Row, problem: str, kind: str = "") -> BadData:
    """What is wrong with a row, with its place."""
    return BadData(problem, row.line, kind, row.unit)


class _Kept(NamedTuple):
    """What of a conversation's parts a template writes, by the index of their turn."""

    contents: frozenset[int]
    calls: frozenset[int]
    reasoning: frozenset[int]
    tools: bool


class ChatTemplate:
    """The chat template of a tokenizer. `lost` holds what rows have and the template has no place for: key -> lines."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._knows_developer = "developer" in str(tokenizer.chat_template)
        self._kept: dict[Any, _Kept | None] = {}
        self.lost: dict[str, list[int]] = {}

    def render(self, row: Row, turns: int, add_generation_prompt: bool = False) -> str:
        """The first `turns` turns as text. Raises BadData."""
        if not self._tokenizer.chat_template:
            raise refused(row, "the model has no chat template: use rows with prompt and completion, or text")
        try:
            return self._written(row.messages[:turns], row.tools, add_generation_prompt)
        except Exception as error:  # whatever a template raises about a conversation is about this row
            raise refused(row, f"{_REFUSES}: {error}", _REFUSES) from None

    def fitted(self, row: Row) -> Row:
        """The row as this template takes it: a developer as system, calls as text where it has no form for calls."""
        messages = row.messages
        if not self._knows_developer:
            messages = tuple({**turn, "role": "system"} if turn["role"] == "developer" else turn for turn in messages)
        calls = {index for index, turn in enumerate(messages) if AS_TEXT in turn}
        kept = self._keeps(messages, row.tools)
        if calls and (kept is None or calls - kept.calls):
            messages = tuple(_as_text(turn) if AS_TEXT in turn else turn for turn in messages)
            self._note("calls", row.line)
        return row._replace(messages=messages)

    def check(self, row: Row, whole: str, after: dict[int, str]) -> None:
        """Raise BadData, which names what is missing, unless every text of a fitted row is in its rendering.

        `whole` is all of it, `after` (by turn) ends with that turn where an answer is learnt for itself: templates
        write some things only there. What has no effect but is no text of a turn (reasoning, tools) is noted in `lost`.
        """
        kept = self._keeps(row.messages, row.tools)
        at = 0
        for index, turn in enumerate(row.messages):
            own = after.get(index, whole)
            skipped = kept is not None and index not in kept.contents and own is whole
            for name, text in _texts(turn):
                found = _found(text, whole, at)
                if (skipped and name == _CONTENT) or (found < 0 and _found(text, own, 0) < 0):
                    raise refused(row, _dropped(name, index, text), f"drops {name}")
                at = max(found, at)
            self._check_reasoning(row, index, whole, own, kept)
        if row.tools and not (_found(_names(row.tools)[0], whole, 0) >= 0 if kept is None else kept.tools):
            self._note("tools", row.line)

    def _check_reasoning(self, row: Row, index: int, whole: str, own: str, kept: _Kept | None) -> None:
        """What a template writes of reasoning has to be all of it; what it does not write is noted."""
        for key in REASONING:
            text = row.messages[index].get(key)
            if not isinstance(text, str) or not text.strip():
                continue
            there = _found(text, whole, 0) >= 0 or _found(text, own, 0) >= 0
            if not there and kept is not None and index in kept.reasoning:
                raise refused(row, _dropped(f"`{key}`", index, text), "drops reasoning")
            if not there or (kept is not None and index not in kept.reasoning and own is whole):
                self._note(key, row.line)

    def _note(self, what: str, line: int) -> None:
        lines = self.lost.setdefault(what, [])
        if not lines or lines[-1] != line:
            lines.append(line)

    def _keeps(self, messages: tuple[Message, ...], tools: Any) -> _Kept | None:
        """What is written of a conversation built like this one, told by marks; None where the template refuses it.

        A short answer of a tool may be found by chance in a text beside it: marks are not.
        """
        built = (*(_build(turn) for turn in messages), bool(tools))
        if built not in self._kept:
            try:
                text = self._written(tuple(_marked(*each) for each in enumerate(messages)), tools and [_TOOL], False)
            except Exception:  # what the template says of the row itself is what counts
                self._kept[built] = None
            else:
                indexes = range(len(messages))
                kinds = (frozenset(at for at in indexes if _mark(kind, at) in text) for kind in ("text", "call", "why"))
                self._kept[built] = _Kept(*kinds, tools=_mark("tool", 0) in text)
        return self._kept[built]

    def _written(self, messages: tuple[Message, ...], tools: Any, add_generation_prompt: bool) -> str:
        plain = [{key: value for key, value in turn.items() if key != AS_TEXT} for turn in messages]
        return str(
            self._tokenizer.apply_chat_template(
                plain, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )


def _mark(kind: str, index: int) -> str:
    """Letters and digits that nobody writes and no template changes."""
    return f"ct{kind}{index}tc"


_TOOL = {
    "type": "function",
    "function": {
        "name": _mark("tool", 0),
        "description": "a tool",
        "parameters": {"type": "object", "properties": {"x": {"type": "string", "description": "a text"}}},
    },
}


def _build(turn: Message) -> tuple[Any, ...]:
    """What of a turn a template decides by."""
    reasoning = tuple(key for key in REASONING if turn.get(key))
    return turn["role"], bool(turn["content"].strip()), bool(turn.get("tool_calls")), reasoning


def _marked(index: int, turn: Message) -> Message:
    """The turn with marks in place of its texts."""
    found = {**turn, "content": _mark("text", index) if turn["content"].strip() else turn["content"]}
    found |= {key: _mark("why", index) for key in REASONING if turn.get(key)}
    if turn.get("tool_calls"):
        call = turn["tool_calls"][0]
        found["tool_calls"] = [{**call, "function": {"name": _mark("call", index), "arguments": {"x": "y"}}}]
    return found


def _as_text(turn: Message) -> Message:
    """The turn with its calls as a part of its words."""
    words = "\n".join(text for text in (turn["content"], turn[AS_TEXT]) if text.strip())
    return {key: value for key, value in turn.items() if key not in ("tool_calls", AS_TEXT)} | {"content": words}


def _texts(turn: Message) -> Iterator[tuple[str, str]]:
    """What has to be found of a turn, each with a name for it."""
    if turn["content"].strip():
        yield _CONTENT, turn["content"]
    for call in turn.get("tool_calls") or ():
        yield "the name of a call", call["function"]["name"]
        for text in _leaves(call["function"]["arguments"]):
            yield "an argument of a call", text


def _leaves(value: Any) -> Iterator[str]:
    """The texts inside of a value."""
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)


def _found(text: str, whole: str, start: int) -> int:
    """Where `text` ends in `whole`, as it is or as JSON has it, from `start` on, else anywhere; or -1."""
    stripped = text.strip()
    if (at := whole.find(stripped, start)) >= 0:
        return at + len(stripped)
    for form in (stripped, _inside(stripped), _inside(stripped, ascii_only=True), repr(stripped)[1:-1]):
        if (at := whole.find(form)) >= 0:
            return max(at + len(form), start)
    return -1


def _inside(text: str, ascii_only: bool = False) -> str:
    """A text as it stands between the quotes of JSON."""
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1]


def _dropped(name: str, index: int, text: str) -> str:
    shown = " ".join(text.split())
    shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
    return f"the model's chat template leaves out {name} of turn {index + 1}: {shown}"


def _names(tools: list[Any]) -> list[str]:
    """What the tools are called, as far as they say."""
    found = [tool.get("function", tool).get("name") for tool in tools if isinstance(tool.get("function", tool), dict)]
    return [name for name in found if isinstance(name, str)] or [json.dumps(tools)]
