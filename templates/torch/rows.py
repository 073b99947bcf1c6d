"""Training rows in any of five formats, read from JSON lines or CSV into one shape; bad rows are named by line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failures import BadData

ROLES = ("system", "user", "assistant", "tool")
_SHAREGPT_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "function_response": "tool",
}
Message = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One training row: a conversation (trained from turn `first_trained` on), or `prompt` and `completion`."""

    line: int
    messages: tuple[Message, ...] = ()
    first_trained: int = 0
    prompt: str = ""
    completion: str = ""
    tools: Any = None


def read(path: Path, kind: str | None) -> Iterator[Row]:
    """The rows of a `.jsonl` (or `.csv` with a header) file in format `kind`, or in the one its first row shows.

    Raises BadData, with the line, for the first row that cannot be trained on, and for a file without rows.
    """
    empty = True
    for line, record in _records(path):
        if isinstance(record, BadData):
            raise record
        kind = kind or format_of(record, line)
        yield convert(record, kind, line)
        empty = False
    if empty:
        raise BadData(f"{path.name} has no rows")


def problems(path: Path, kind: str | None) -> Iterator[Row | BadData]:
    """Like `read`, but a bad row comes as its BadData and the reading goes on."""
    for line, record in _records(path):
        if isinstance(record, BadData):
            yield record
            continue
        try:
            kind = kind or format_of(record, line)
            yield convert(record, kind, line)
        except BadData as problem:
            yield problem


def format_of(record: dict[str, Any], line: int) -> str:
    """The format that a row's keys show. Raises BadData when it is none of ours."""
    shapes = {
        "messages": "messages",
        "conversations": "sharegpt",
        "completion": "prompt",
        "instruction": "alpaca",
        "text": "text",
    }
    for key, kind in shapes.items():
        if key in record:
            return kind
    keys = ", ".join(sorted(record)[:6]) or "no keys"
    raise BadData(f"no known format: expected messages, prompt and completion, or text; the row has {keys}", line)


def convert(record: dict[str, Any], kind: str, line: int) -> Row:
    """One parsed row of format `kind` as a Row. Raises BadData when a part is missing, empty or out of order."""
    if kind == "prompt":
        return _prompt_row(record, line)
    if kind == "text":
        return Row(line, completion=_text(record, "text", line))
    if kind == "alpaca":
        asked = _text(record, "instruction", line)
        extra = record.get("input") or ""
        if not isinstance(extra, str):
            raise BadData("`input` must be a string", line)
        question = f"{asked}\n\n{extra}" if extra.strip() else asked
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": _text(record, "output", line)}]
        if record.get("system"):
            turns.insert(0, {"role": "system", "content": _text(record, "system", line)})
        return Row(line, tuple(turns))
    if kind == "sharegpt":
        turns = [_sharegpt_turn(turn, line) for turn in _turns(record, "conversations", line)]
    else:
        turns = _turns(record, "messages", line)
    return Row(line, _conversation(turns, line), tools=_tools(record, line))


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadData]]:
    """Line number and parsed row, or what is wrong with it. Raises BadData when the file itself cannot be read."""
    try:
        if path.suffix.lower() == ".csv":
            yield from _csv_records(path)
        else:
            yield from _json_records(path)
    except OSError as error:
        raise BadData(f"cannot read {path}: {error.strerror}") from None


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadData]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                record = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError:
                yield number, BadData("is not UTF-8", number)
            except (ValueError, RecursionError) as error:
                yield number, BadData(f"is not JSON: {error}", number)
            else:
                yield number, record if isinstance(record, dict) else BadData("is not a JSON object", number)


def _csv_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | BadData]]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        try:
            for record in reader:
                extra = None in record  # how the reader keeps what has no column
                yield reader.line_num, BadData("has more columns than the header", reader.line_num) if extra else record
        except (csv.Error, UnicodeDecodeError) as error:
            yield reader.line_num + 1, BadData(f"is not CSV in UTF-8: {error}", reader.line_num + 1)


def _prompt_row(record: dict[str, Any], line: int) -> Row:
    asked, answer = record.get("prompt"), record.get("completion")
    if isinstance(asked, list) and isinstance(answer, list):
        before = _turns(record, "prompt", line)
        turns = _conversation(before + _turns(record, "completion", line), line)
        return Row(line, turns, first_trained=len(before), tools=_tools(record, line))
    return Row(line, prompt=_text(record, "prompt", line), completion=_text(record, "completion", line))


def _text(record: dict[str, Any], key: str, line: int) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise BadData(f"`{key}` is missing or not a string", line)
    if not value.strip():
        raise BadData(f"`{key}` is empty", line)
    _check_characters(value, line)
    return value


def _check_characters(text: str, line: int) -> None:
    """JSON can spell half of a two-part character (\\ud800), which is no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadData("holds half a character (a lone surrogate)", line) from None


def _turns(record: dict[str, Any], key: str, line: int) -> list[Message]:
    turns = record.get(key)
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise BadData(f"`{key}` must be a list of one or more turns", line)
    return turns


def _sharegpt_turn(turn: Message, line: int) -> Message:
    speaker = turn.get("from")
    if not isinstance(speaker, str):
        raise BadData("a turn has no `from`", line)
    return {"role": _SHAREGPT_ROLES.get(speaker, speaker), "content": turn.get("value")}


def _conversation(turns: list[Message], line: int) -> tuple[Message, ...]:
    for number, turn in enumerate(turns, 1):
        if turn.get("role") not in ROLES:
            raise BadData(
                f"turn {number} has the unknown role {json.dumps(turn.get('role'))}; known: {', '.join(ROLES)}", line
            )
        content = turn.get("content")
        calls = turn["role"] == "assistant" and turn.get("tool_calls")
        if not calls and (not isinstance(content, str) or not content.strip()):
            raise BadData(f"turn {number} ({turn['role']}) has no text in `content`", line)
        _check_characters(content or "", line)
    if turns[-1]["role"] != "assistant":
        raise BadData(f"the last turn is {turns[-1]['role']}, not assistant: there is no answer to learn", line)
    return tuple(turns)


def _tools(record: dict[str, Any], line: int) -> Any:
    tools = record.get("tools")
    if isinstance(tools, str):
        try:
            return json.loads(tools)
        except ValueError:
            raise BadData("`tools` is a string that is not JSON", line) from None
    return tools
