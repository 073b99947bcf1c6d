"""The data check: every row that would train rubbish in silence is named with its line, and nothing else is refused."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.errors import UsageError
from cloudtrain.spec.dataset import DataReport, check


def chat(*turns: str, **more: Any) -> dict[str, Any]:
    """A messages row from `role: content` texts."""
    return {"messages": [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns], **more}


def share(*turns: str) -> dict[str, Any]:
    """A ShareGPT row from `from: value` texts."""
    return {"conversations": [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in turns]}


DEMO = Path(str(files("cloudtrain.templates"))) / "demo" / "capitals.jsonl"
GOOD = chat("user: What is the capital?", "assistant: It is Paris.")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def written(path: Path, *rows: Any) -> Path:
    """Rows as JSON lines; a text goes in as it is."""
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        check(path, **options)
    assert caught.value.exit_code == 2
    return caught.value.message


def warnings(report: DataReport) -> list[str]:
    return [problem.message for problem in report.problems if "has only" not in problem.message]


@pytest.mark.parametrize(
    ("kind", "row", "characters"),
    [
        ("messages", chat("system: Be short.", "user: Hello there.", "assistant: Hello."), 27),
        ("messages", chat("user: abcdefgh", "assistant: b", "user: c", "assistant: d", id=7, source=None), 11),
        ("sharegpt", share("system: abcd", "human: b", "gpt: c", "human: d", "gpt: e"), 8),
        ("prompt", {"prompt": "abcd", "completion": "efgh"}, 8),
        ("prompt", {"prompt": chat("user: abcd")["messages"], "completion": chat("assistant: efgh")["messages"]}, 8),
        ("alpaca", {"instruction": "ab", "input": "ef", "output": "gh"}, 8),  # with the blank line between
        ("alpaca", {"instruction": "abcdef", "input": "", "output": "gh"}, 8),
        ("alpaca", {"instruction": "abcdef", "input": None, "output": "gh"}, 8),
        ("alpaca", {"instruction": "abcdef", "output": "gh"}, 8),
        ("text", {"text": "abcdé gh"}, 8),
    ],
)
def test_every_shape_is_told_by_its_keys(path: Path, kind: str, row: dict[str, Any], characters: int) -> None:
    """The five shapes are recognised, counted and found sound; other keys beside them are let be."""
    report = check(written(path, row))
    assert (report.format, report.rows, report.characters) == (kind, 1, characters)
    assert report.fewest_tokens - 5 * report.messages == -(-characters // 4)
    assert warnings(report) == []


def test_the_report_describes_the_file(path: Path) -> None:
    """Rows, sha256 of the bytes, and blank lines that do not count."""
    report = check(written(path, GOOD, "", "   ", chat("user: What else?", "assistant: Nothing.")))
    assert report.rows == 2
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (report.duplicates, report.eval_rows, report.eval_sha256, report.overlap) == (0, 0, "", 0)


def test_tool_calls_stand_in_for_content(path: Path) -> None:
    """An assistant that calls a tool may have null content; the tool answers after it."""
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    turns = [
        {"role": "user", "content": "Go."},
        call,
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
    ]
    report = check(written(path, {"messages": [*turns, {"role": "assistant", "content": "Done."}]}))
    (doubt,) = [problem for problem in report.problems if "has only" not in problem.message]
    assert doubt.message.startswith("tool calls and tools are learnt in the form of the model's chat template")
    assert doubt.by_template


FAULTS: list[tuple[Any, str]] = [
    ("{", "is not JSON: expecting property name enclosed in double quotes (column 2)"),
    ('{"text": "a"} x', "is not JSON: extra data (column 15)"),
    ('{"text": NaN}', "holds NaN"),
    ('{"text": -Infinity}', "holds -Infinity"),
    ('{"text": "a", "text": "b"}', "holds the key `text` twice"),
    ('{"text": ' + "[" * 100_000 + "}", "is nested too deeply"),
    ('{"text": ' + "9" * 5000 + "}", "holds a number with too many digits"),
    ("[1]", "is not a JSON object"),
    ('"text"', "is not a JSON object"),
    ("null", "is not a JSON object"),
    ({}, "is an empty object"),
    ({"txt": "a"}, "has `txt`, which is none of messages"),
    ({"a\nb": 1}, "has `a\\nb`, which is none of"),
    ({"question": "a", "answer": "b"}, "rename `question` and `answer`"),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preferences"),
    (chat("usr: a", "assistant: b"), "message 1 of `messages` has the role `usr`; did you mean `user`?"),
    (chat("developr: a", "assistant: b"), "the role `developr`; known are system, user, assistant, tool"),
    ({"messages": [{"role": 3, "content": "a"}]}, "the role a number, not one of system"),
    ({"messages": [{"role": ["user"], "content": "a"}]}, "the role a list"),
    ({"messages": [{"role": "user", "content": None}]}, "the content of message 1 is null, not text"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "the content of message 1 has a part without text",
    ),
    ({"messages": [{"role": "user", "content": [{"a": 1}]}]}, "the content of message 1 has a part without text"),
    ({"messages": [{"role": "user", "content": [1]}]}, "the content of message 1 has a part without a type"),
    ({"messages": [{"role": "user", "content": True}]}, "the content of message 1 is a truth value"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": []}]}, "the content of message 1 is empty"),
    ({"messages": [{"role": "user"}]}, "the content of message 1 is missing"),
    ({"messages": [{"content": "a"}]}, "message 1 of `messages` has no `role`"),
    ({"messages": ["a"]}, "message 1 of `messages` has no `role`"),
    ({"messages": []}, "`messages` is empty"),
    ({"messages": None}, "`messages` is not a list of messages"),
    (chat("user: a", "assistant:  \t"), "the content of message 2 is empty"),
    (chat("user: a"), "the last turn is from user, not from assistant: there is no answer to learn"),
    (share("human: a"), "the last turn is from user, not from assistant"),
    (share("humn: a", "gpt: b"), "turn 1 is from `humn`; did you mean `human`?"),
    (share("human: a", "function_cal: b"), "turn 2 is from `function_cal`; did you mean `function_call`?"),
    ({"conversations": [{"from": None, "value": "a"}]}, "turn 1 is from null"),
    ({"conversations": [{"role": "user", "content": "a"}]}, "the last turn is from user"),
    ({"conversations": [{"value": "a"}]}, "message 1 of `conversations` has no `role` or `from`"),
    ({"conversations": [{"from": "human"}]}, "the value of turn 1 is missing"),
    ({"conversations": []}, "`conversations` is empty"),
    ({"prompt": "", "completion": "b"}, "`prompt` is empty"),
    ({"prompt": "a", "completion": None}, "`completion` is null"),
    ({"prompt": "a", "completion": []}, "one of `prompt` and `completion` is a list"),
    (
        {"prompt": chat("user: a")["messages"], "completion": chat("user: b")["messages"]},
        "the last turn is from user, not from assistant",
    ),
    ({"completion": "a", "text": "b"}, "has `completion` and no `prompt`"),
    ({"instruction": "a", "text": "b"}, "has `instruction` and no `output`"),
    (chat("user: a", "assistant: b", tools="{"), "`tools` is a string that is not JSON"),
    ({"instruction": "", "output": "b"}, "`instruction` is empty"),
    ({"instruction": "a", "input": 7, "output": "b"}, "`input` is a number"),
    ({"instruction": "a", "output": {}}, "`output` is an object"),
    ({"text": " "}, "`text` is empty"),
    ({"text": 1.5}, "`text` is a number"),
    ('{"text": "\\ud800"}', "half of a surrogate pair"),
]


@pytest.mark.parametrize(("row", "says"), FAULTS, ids=range(len(FAULTS)))
def test_a_bad_row_is_named_with_its_line(path: Path, row: Any, says: str) -> None:
    """Every fault ends the check before a run, with file, line and what is wrong."""
    message = refused(written(path, "", row))
    assert message.startswith(f"{path}:2: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (chat("user: aaaa", "user: b", "assistant: ccc"), "two turns from user follow each other"),
        (chat("user: aaaa", "assistant: b", "assistant: ccc"), "two turns from assistant follow each other"),
        (chat("user: aaaa", "system: b", "assistant: ccc"), "a system turn is not the first"),
        (chat("assistant: aaaa", "user: b", "assistant: ccc"), "the first turn is from assistant, not from user"),
        (chat("user: aaaa", "tool: b", "assistant: ccc"), "a tool answers where no assistant has asked"),
        ({"text": "ab"}, "1 row is shorter than 8 characters; this is the first"),
        (
            {"prompt": chat("assistant: aaaa")["messages"], "completion": chat("assistant: bbbb")["messages"]},
            "continues it",
        ),
    ],
)
def test_what_some_templates_refuse_is_a_doubt(path: Path, row: dict[str, Any], says: str) -> None:
    """Turns out of order and very short rows are reported with their line and stop nothing."""
    report = check(written(path, row))
    (problem,) = [problem for problem in report.problems if says in problem.message]
    assert (problem.line, problem.fatal) == (1, False)
    assert str(problem).startswith(f"{path}:1: ")


def test_one_schema_throughout(path: Path) -> None:
    """A row of another shape names itself and the first row of the file's own shape."""
    message = refused(written(path, "", GOOD, GOOD, {"text": "abc"}))
    assert message == f"{path}:4: has the keys of `text` rows, line 2 has those of `messages`"
    assert "expected are those of `text`" in refused(path, expected_format="text")


def test_one_sentence_for_a_kind_of_fault(path: Path) -> None:
    """With its number and first lines, over both files; what differs from row to row is told of the first."""
    other = written(path.with_name("eval.jsonl"), "x")
    empty = [chat(*["user: a", "assistant: b"] * turns, "user: a", "assistant: ") for turns in (0, 3, 5)]
    lines = refused(written(path, GOOD, *["x", *empty] * 20), eval_path=other).split("\n")
    assert lines == [
        f"{path}:2: is not JSON: expecting value (column 1) (20 rows: line 2, 6, 10 and 17 more)",
        f"{path}:3: the content of message 2 is empty (60 rows: line 3, 4, 5 and 57 more)",
        f"{other}:1: is not JSON: expecting value (column 1)",
    ]


def test_kinds_beyond_the_fifth_are_counted(path: Path) -> None:
    """A file with everything wrong gets five sentences and a number."""
    rows = [
        "x",
        "[1]",
        '{"text": NaN}',
        {},
        {"text": ""},
        {"text": 5},
        {"text": None, "chosen": 1},
        '{"text": "ok, ok"}',
    ]
    lines = refused(written(path, *rows)).split("\n")
    assert [line.split(":")[1] for line in lines[:-1]] == ["1", "2", "3", "4", "5"]
    assert lines[-1] == "and 2 more"


def test_one_sentence_for_a_kind_of_doubt(path: Path) -> None:
    """Their number is exact."""
    report = check(written(path, *[chat(f"user: {i}", f"user: {i}", "assistant: long enough") for i in range(30)]))
    assert [problem.message for problem in report.problems] == [
        "two turns from user follow each other; many templates refuse that (30 rows: line 1, 2, 3 and 27 more)"
    ]
    assert report.problem_count == 30


def test_repeated_rows_are_counted(path: Path) -> None:
    """Rows with the same turns repeat, however their JSON is written; spaces inside the text make a difference."""
    other = '{"id": 3,  "messages": ' + json.dumps(GOOD["messages"]) + "}"
    report = check(written(path, GOOD, other, GOOD, chat("user: What is the capital? ", "assistant: It is Paris.")))
    assert (report.duplicates, report.duplicate_lines) == (2, (2, 3))
    assert "2 rows repeat an earlier one (line 2, 3)" in warnings(report)


def test_rows_in_both_files_are_counted(path: Path) -> None:
    """Evaluation rows that are trained on are a doubt; the evaluation file is checked like the other."""
    other = written(path.with_name("eval.jsonl"), GOOD, chat("user: Something new?", "assistant: Yes."))
    report = check(written(path, GOOD, GOOD), eval_path=other)
    assert (report.overlap, report.eval_rows) == (1, 2)
    assert report.eval_sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    assert "1 row of it is also in rows.jsonl: the loss will look too good" in warnings(report)
    found = check(path, eval_path=written(other, {"text": "abcdefgh"}))
    assert "its rows are `text`, those of rows.jsonl `messages`" in warnings(found)
    assert refused(path, eval_path=written(other, {"text": ""})).startswith(f"{other}:1: `text` is empty")


def test_an_eval_share_needs_a_row(path: Path) -> None:
    """A fraction of the rows that is less than one row leaves nothing to evaluate on."""
    assert "2 rows leave none" in refused(written(path, GOOD, GOOD), eval_fraction=0.1)
    assert check(path, eval_fraction=0.5).rows == 2


TURNS = st.lists(
    st.text(min_size=1, max_size=9).filter(lambda text: text.strip() and text.isascii()), min_size=1, max_size=3
)


@given(st.lists(TURNS, min_size=1, max_size=8), st.randoms())
def test_counts_are_exact(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], random: Any) -> None:
    """Rows, characters and repeats are what a plain count finds, in any order of the rows."""
    path = tmp_path_factory.getbasetemp() / "counted.jsonl"
    whole = [[turn for text in row for turn in (f"user: {text}", f"assistant: {text}")] for row in rows]
    random.shuffle(whole)
    report = check(written(path, *[chat(*turns) for turns in whole]))
    assert report.rows == len(rows)
    assert report.characters == 2 * sum(len(text) for row in rows for text in row)
    assert report.duplicates == len(rows) - len({tuple(row) for row in rows})


@pytest.mark.parametrize(
    ("row", "tokens", "basis"),
    [
        ({"text": "abcdefgh"}, 2, "4 characters a token"),
        ({"prompt": "abcd", "completion": "efgh"}, 2, "4 characters a token"),
        (chat("system: abcd", "user: abcd", "assistant: abcd"), 3 + 15, "4 characters a token, 5 more a message"),
        (chat("user: abcd", "assistant: abcd"), 2 + 10 + 22, "22 a row, which some chat templates add: else 65% less"),
    ],
)
def test_what_a_chat_template_adds_is_estimated(path: Path, row: dict[str, Any], tokens: int, basis: str) -> None:
    """Marks around each message, and a system text where a conversation has none; rows without turns have neither."""
    report = check(written(path, row))
    assert report.estimated_tokens == tokens
    assert report.token_basis.endswith(basis)


def test_the_demo_is_estimated_near_its_tokens() -> None:
    """SmolLM2's own tokenizer and template make 2,512 tokens of its 48 short rows."""
    report = check(DEMO)
    assert report.estimated_tokens == pytest.approx(2512, rel=0.1)
    assert report.fewest_tokens < 1300
