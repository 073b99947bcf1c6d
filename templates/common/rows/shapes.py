"""Records in any of five shapes, made into one kind of row; a record that cannot be trained on gets a message.

TRL takes unknown roles, empty texts and null contents without a word and trains on rubbish: every such row is refused.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .faults import BadRow
from .keys import SHAPES, check_purpose, has_shape, not_read, shape_of, unknown_shape
from .turns import AS_TEXT, Message, Turn, as_json, check_characters, no_text, required_text, text_of, tools_of, turns

KINDS = (*SHAPES, "paragraphs")


class Row(NamedTuple):
    """One training row: a conversation (trained from turn `first_trained` on), or `prompt` and `completion`.

    Turns in `untrained` are read and not learnt. `not_read` are known keys of it that have no effect, or have one only
    with some chat templates. `tools` is a list.
    """

    line: int
    messages: tuple[Message, ...] = ()
    first_trained: int = 0
    prompt: str = ""
    completion: str = ""
    tools: Any = None
    untrained: tuple[int, ...] = ()
    not_read: tuple[str, ...] = ()
    unit: str = "line"  # what `line` counts

    @property
    def turns(self) -> list[tuple[str, str]]:
        """What the model would read, as (role, content); tool calls as JSON where they stand for the content."""
        if self.messages:
            return [(turn["role"], turn["content"] or as_json(turn.get("tool_calls"))) for turn in self.messages]
        if not self.prompt:
            return [("text", self.completion)]
        return [("user", self.prompt), ("assistant", self.completion)]

    @property
    def calls_tools(self) -> bool:
        """Whether it has tools or calls, for which a chat template needs a form."""
        return bool(self.tools) or any(AS_TEXT in turn for turn in self.messages)

    def is_trained(self, index: int, all_turns: bool) -> bool:
        """Whether the turn is to be learnt; `all_turns`: also those that are no answers."""
        if index in self.untrained:
            return False
        return all_turns or (index >= self.first_trained and self.messages[index]["role"] == "assistant")


class Shape:
    """The shape of a file's rows: `kind` where it is given, else that of the first row.

    `train_on` is "assistant" (a conversation has to end with an answer) or "all".
    """

    def __init__(self, kind: str | None, train_on: str = "assistant") -> None:
        self.kind = kind or ""
        self.line, self.unit = 0, "line"  # of the row that showed it; 0 when it was given
        self._all = train_on == "all"

    def row(self, record: dict[str, Any], line: int) -> Row:
        """One parsed row as a Row. Raises BadRow when it has another shape, or a part that is missing or no text."""
        check_purpose(record)
        kind = shape_of(record)
        if not self.kind:
            if not kind:
                raise unknown_shape(record)
            self.kind, self.line = kind, line
        wanted = "text" if self.kind == "paragraphs" else self.kind
        if not has_shape(record, wanted):
            raise self._another(kind) if kind else unknown_shape(record)
        row = _READERS[wanted](record, line)
        if row.messages:
            self._check_answers(row)
        unread = {*row.not_read, *not_read(record, wanted)}
        return row._replace(not_read=tuple(sorted(unread)), unit=self.unit)

    def _another(self, kind: str) -> BadRow:
        where = f"{self.unit} {self.line} has" if self.line else "expected are"
        return BadRow(f"has the keys of `{kind}` rows, {where} those of `{self.kind}`")

    def _check_answers(self, row: Row) -> None:
        """Without an answer there is nothing to learn from."""
        last = row.messages[-1]["role"]
        if last != "assistant" and not self._all:
            raise BadRow(f"the last turn is from {last}, not from assistant: there is no answer to learn")
        if not any(row.is_trained(index, self._all) for index in range(len(row.messages))):
            raise BadRow("has nothing to learn: its answers have the weight 0")


def _conversation(found: list[Turn], record: dict[str, Any], line: int, asked: int = 0) -> Row:
    """A row of these turns, of which the first `asked` are the question; a system text beside them comes first."""
    messages, shift = [turn.message for turn in found], 0
    system = record.get("system") or record.get("system_prompt")
    if system and not (messages[0]["role"] == "system" and messages[0]["content"] == system):
        messages.insert(0, {"role": "system", "content": required_text(system, "`system`")})
        shift = 1
    untrained = tuple(index + shift for index, turn in enumerate(found) if not turn.trained)
    unread = {key for turn in found for key in turn.not_read}
    return Row(
        line,
        tuple(messages),
        first_trained=asked and asked + shift,
        tools=tools_of(record),
        untrained=untrained,
        not_read=tuple(unread),
    )


def _messages_row(record: dict[str, Any], line: int) -> Row:
    return _conversation(turns(record["messages"], "messages"), record, line)


def _sharegpt_row(record: dict[str, Any], line: int) -> Row:
    return _conversation(turns(record["conversations"], "conversations"), record, line)


def _prompt_row(record: dict[str, Any], line: int) -> Row:
    if "prompt" not in record:
        raise BadRow("has `completion` and no `prompt`")
    prompt, completion = record["prompt"], record["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        asked, answered = turns(prompt, "prompt"), turns(completion, "completion")
        return _conversation([*asked, *answered], record, line, len(asked))
    if isinstance(prompt, list) or isinstance(completion, list):
        raise BadRow("one of `prompt` and `completion` is a list and the other is not")
    return Row(line, prompt=required_text(prompt, "`prompt`"), completion=required_text(completion, "`completion`"))


def _alpaca_row(record: dict[str, Any], line: int) -> Row:
    """Alpaca's `instruction`, `input` and `output`, Dolly's names for them, or `input` and `output` alone."""
    asked = _optional(record, "instruction")
    extra = _optional(record, "input") or _optional(record, "context")
    first = "instruction" if record.get("instruction") is not None or not extra.strip() else "input"
    if not (asked if first == "instruction" else extra).strip():
        first = first if first in record else "input"
        raise BadRow(f"`{first}` {no_text(record[first])}")
    key = "output" if record.get("output") is not None or "response" not in record else "response"
    if key not in record:
        raise BadRow("has `instruction` and no `output`")
    question = "\n\n".join(text for text in (asked, extra) if text.strip())
    answer = required_text(record[key], f"`{key}`")
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return _conversation([Turn(message, True, set()) for message in messages], record, line)


def _optional(record: dict[str, Any], key: str) -> str:
    """A text that may be absent, null or empty. Raises BadRow for anything else."""
    value = text_of(record.get(key), f"`{key}`")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow(f"`{key}` {no_text(value)}")
    check_characters(value)
    return value


def _text_row(record: dict[str, Any], line: int) -> Row:
    return Row(line, completion=required_text(record["text"], "`text`"))


_READERS = {
    "messages": _messages_row,
    "sharegpt": _sharegpt_row,
    "prompt": _prompt_row,
    "alpaca": _alpaca_row,
    "text": _text_row,
}
