"""Rows: five formats into one shape, and bad rows named by line, as the trainer reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import reader
import rows
from failures import BadData
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chance import examples

ANSWERED = ({"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."})


def read(folder: Path, *records: Any, name: str = "data.jsonl") -> list[rows.Row]:
    path = folder / name
    path.write_text("".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records))
    return list(reader.read(path, None))


@pytest.mark.parametrize(
    "record",
    [
        {"messages": list(ANSWERED)},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
        {"instruction": "Why?", "input": "", "output": "Because."},
        {"prompt": [ANSWERED[0]], "completion": [ANSWERED[1]]},
    ],
)
def test_every_chat_format_becomes_the_same_conversation(tmp_path: Path, record: dict[str, Any]) -> None:
    """OpenAI, ShareGPT, Alpaca and chat-style prompt rows give equal messages."""
    assert read(tmp_path, record)[0].messages == ANSWERED


def test_only_the_completion_of_a_chat_prompt_is_trained(tmp_path: Path) -> None:
    """Answers that stand in the prompt are context."""
    record = {"prompt": [*ANSWERED, ANSWERED[0]], "completion": [ANSWERED[1]]}
    assert read(tmp_path, record)[0].first_trained == 3


def test_plain_rows_keep_their_text(tmp_path: Path) -> None:
    """Prompt and completion stay apart; text is a completion without a prompt; blank lines count as lines."""
    found = read(tmp_path, {"prompt": "a", "completion": " b"}, "", {"prompt": "c", "completion": " d"})
    assert [(row.line, row.prompt, row.completion) for row in found] == [(1, "a", " b"), (3, "c", " d")]
    assert read(tmp_path, {"text": "once"})[0].completion == "once"


def test_an_alpaca_input_follows_its_instruction(tmp_path: Path) -> None:
    """Instruction and input become one question."""
    row = read(tmp_path, {"instruction": "Add.", "input": "1 2", "output": "3"})[0]
    assert row.messages[0]["content"] == "Add.\n\n1 2"


def test_csv_with_a_header_is_read(tmp_path: Path) -> None:
    """A CSV row may span lines; its format is seen from the header."""
    found = read(tmp_path, "prompt,completion", '"a\nb",c', name="data.csv")
    assert (found[0].prompt, found[0].completion) == ("a\nb", "c")


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ("{", "line 2: is not JSON"),
        ("[1]", "line 2: is not a JSON object"),
        ({"messages": []}, "line 2: `messages` is empty"),
        (
            {"messages": [{"role": "usr", "content": "x"}]},
            "line 2: message 1 of `messages` has the role `usr`; did you mean `user`?",
        ),
        (
            {"messages": [ANSWERED[0], {"role": "assistant", "content": None}]},
            "line 2: the content of message 2 is null",
        ),
        ({"messages": [*ANSWERED, ANSWERED[0]]}, "line 2: the last turn is from user, not from assistant"),
        ({"messages": list(ANSWERED), "tools": "{"}, "line 2: `tools` is a string that is not JSON"),
        ({"text": "row of another format"}, "line 2: has the keys of `text` rows, line 1 has those of `messages`"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, record: Any, sentence: str) -> None:
    """The first bad row ends the reading with its line and what is wrong."""
    with pytest.raises(BadData) as refused:
        read(tmp_path, {"messages": list(ANSWERED)}, record)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "data.jsonl has no rows"),
        (b"\n \n", "data.jsonl has no rows"),
        (b'{"text": "\xff"}\n', "line 1: is not UTF-8"),
        (b'{"x": 1}\n', "line 1: has `x`, which is none of messages, conversations, prompt + completion"),
        (b'{"text": " "}\n', "line 1: `text` is empty"),
        (b'{"prompt": "p"}\n', "line 1: has `prompt`, which is none of"),
    ],
)
def test_a_bad_file_gets_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    """Empty files, other encodings and unknown formats are told apart."""
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(BadData) as refused:
        list(reader.read(tmp_path / "data.jsonl", None))
    assert str(refused.value).startswith(sentence)


def test_all_problems_are_found_when_asked_for(tmp_path: Path) -> None:
    """`problems` goes on after a bad row."""
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "good"}\n{\n{"text": ""}\n{"text": "good"}\n')
    assert [found.line for found in reader.problems(path, None) if isinstance(found, BadData)] == [2, 3]


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b'{"messages"', b": [", b'{"role"', b"}", b"\n", b'"a"', b"\\ud800"])).map(b"".join)
)
@settings(max_examples=examples(100))
def test_any_bytes_are_rows_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever a file holds, reading it raises BadData or nothing."""
    for name in ("fuzz.jsonl", "fuzz.csv"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        found: Any
        try:
            found = list(reader.read(path, None))
        except BadData as refused:
            found = str(refused).split()
        assert len(found) > 1 or isinstance(found[0], rows.Row)
