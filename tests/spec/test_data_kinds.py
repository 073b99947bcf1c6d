"""Data as people have it: each way to write rows down gives the same rows, and what cannot be learnt is refused once."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from cloudtrain.templates.common.rows import Row, Source, files

from cloudtrain.errors import UsageError
from cloudtrain.spec import dataset
from cloudtrain.spec.dataset import check
from tests.chance import examples

ASKED, ANSWERED = "What is 2 plus 3?", "2 plus 3 is 5."
CHAT = [("user", ASKED), ("assistant", ANSWERED)]
CALL = {"name": "add", "arguments": {"a": 2, "b": "é\n"}}
TOOL = {"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}}


def messages(*turns: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(turns), **more}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def shared(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": value} for who, value in turns], **more}


def written(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(path: Path, kind: str | None = None, train_on: str = "assistant") -> list[Row]:
    """The rows of a file without faults, which the client takes too."""
    found = [row for _, row in Source(path, kind, train_on)]
    assert all(isinstance(row, Row) for row in found), found
    assert check(path, expected_format=kind, train_on=train_on).rows == len(found)
    return [row for row in found if isinstance(row, Row)]


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        check(path, **options)
    return f"{caught.value.message}\n{caught.value.hint}"


def doubts(path: Path) -> list[str]:
    return [problem.message for problem in check(path).problems if "has only" not in problem.message]


USER, ANSWER = said("user", ASKED), said("assistant", ANSWERED)
# Rows that are this one conversation.
SAME: dict[str, Any] = {
    "openai": messages(USER, ANSWER),
    "other keys are null": messages({**USER, "name": None, "weight": None}, {**ANSWER, "tool_calls": None}, tools=None),
    "text parts": messages(said("user", [{"type": "text", "text": ASKED}]), said("assistant", [ANSWERED])),
    "parts of the newer interface": messages(said("user", [{"type": "input_text", "text": ASKED}]), ANSWER),
    "a list in a text": {"messages": json.dumps([USER, ANSWER])},
    "from and value below messages": {
        "messages": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]
    },
    "role and content below conversations": {"conversations": [USER, ANSWER]},
    "both speak": {"conversations": [{"from": "human", "value": ASKED}, ANSWER]},
    "other shapes are null": messages(USER, ANSWER, prompt=None, completion=None, text=None, conversations=None),
    "sharegpt": shared(("human", ASKED), ("gpt", ANSWERED)),
    "model": shared(("user", ASKED), ("model", ANSWERED)),
    "capitals": shared(("USER", ASKED), ("Assistant", ANSWERED)),
    "no system": shared(("human", ASKED), ("gpt", ANSWERED), system="", tools="[]"),
    "alpaca": {"instruction": ASKED, "input": "", "output": ANSWERED},
    "alpaca with null": {"instruction": ASKED, "input": None, "output": ANSWERED, "system": None, "history": None},
    "dolly": {"instruction": ASKED, "context": "", "response": ANSWERED, "category": "open_qa"},
    "input and output": {"input": ASKED, "output": ANSWERED},
    "input and output and null": {"instruction": None, "input": ASKED, "output": ANSWERED},
    "prompt and completion as turns": {"prompt": [USER], "completion": [ANSWER]},
}


@pytest.mark.parametrize("name", SAME)
def test_one_conversation_in_every_shape(tmp_path: Path, name: str) -> None:
    """Role by role and text by text; nothing is doubted."""
    path = written(tmp_path / "rows.jsonl", SAME[name])
    (row,) = rows_of(path)
    assert row.turns == CHAT
    assert all(value is not None for turn in row.messages for value in turn.values())
    assert doubts(path) == []


def test_dolly_context_follows_the_instruction(tmp_path: Path) -> None:
    """As Alpaca's input does."""
    (row,) = rows_of(
        written(tmp_path / "rows.jsonl", {"instruction": "Sum up.", "context": "Long.", "response": "Short."})
    )
    assert row.turns == [("user", "Sum up.\n\nLong."), ("assistant", "Short.")]


def test_text_parts_are_lines(tmp_path: Path) -> None:
    """As servers join them."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    (row,) = rows_of(written(tmp_path / "rows.jsonl", messages(said("user", parts), ANSWER)))
    assert row.turns[0] == ("user", "one\ntwo")


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_a_system_text_beside_the_turns_comes_first(tmp_path: Path, key: str) -> None:
    """Once, also where it is the first turn already; weights still belong to their turns."""
    turns = [USER, {**ANSWER, "weight": 0}, USER, ANSWER]
    (row,) = rows_of(written(tmp_path / "rows.jsonl", {key: turns, "system": "Be brief."}))
    assert row.turns == [("system", "Be brief."), *CHAT, *CHAT]
    assert row.untrained == (2,)
    twice = written(tmp_path / "twice.jsonl", {key: [said("system", "Be brief."), USER, ANSWER], "system": "Be brief."})
    assert rows_of(twice)[0].turns == [("system", "Be brief."), *CHAT]


def test_a_developer_is_kept_for_the_template(tmp_path: Path) -> None:
    """Whether it is a system turn only the template knows."""
    (row,) = rows_of(written(tmp_path / "rows.jsonl", messages(said("developer", "Be brief."), USER, ANSWER)))
    assert [role for role, _ in row.turns] == ["developer", "user", "assistant"]


OPENAI_CALL = {"id": "c1", "type": "function", "function": {**CALL, "arguments": json.dumps(CALL["arguments"])}}
CALLS: dict[str, Any] = {
    "openai": messages(
        USER, said("assistant", None, tool_calls=[OPENAI_CALL]), said("tool", "5", tool_call_id="c1"), ANSWER
    ),
    "arguments as an object": messages(
        USER, said("assistant", "", tool_calls=[{"type": "function", "function": CALL}]), said("tool", "5"), ANSWER
    ),
    "flat": messages(USER, {"role": "assistant", "tool_calls": [CALL]}, said("tool", "5"), ANSWER),
    "one call, no list": messages(USER, said("assistant", None, tool_calls=OPENAI_CALL), said("tool", "5"), ANSWER),
    "as a text": messages(
        USER, said("assistant", None, tool_calls=json.dumps([OPENAI_CALL])), said("tool", "5"), ANSWER
    ),
    "sharegpt": shared(("human", ASKED), ("function_call", json.dumps(CALL)), ("observation", "5"), ("gpt", ANSWERED)),
    "sharegpt, a list": shared(
        ("human", ASKED), ("function_call", json.dumps([CALL])), ("function_response", "5"), ("gpt", ANSWERED)
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [{"type": "function", "function": TOOL}], TOOL])
def test_calls_and_tools_in_every_shape(tmp_path: Path, name: str, tools: Any) -> None:
    """A call is a name and an object; a warning says that the template decides."""
    path = written(tmp_path / "rows.jsonl", {**CALLS[name], "tools": tools})
    (row,) = rows_of(path)
    assert [turn["role"] for turn in row.messages] == ["user", "assistant", "tool", "assistant"]
    (call,) = row.messages[1]["tool_calls"]
    assert call["function"] == CALL
    assert row.messages[1]["content"] == ""
    assert row.tools == [{"type": "function", "function": TOOL}]
    assert any("tool calls" in doubt for doubt in doubts(path))


def test_words_that_are_no_call_stay_words(tmp_path: Path) -> None:
    """A function_call turn may hold anything."""
    path = written(
        tmp_path / "rows.jsonl",
        shared(("human", ASKED), ("function_call", "add(2, 3)"), ("observation", "5"), ("gpt", "5")),
    )
    assert rows_of(path)[0].turns[1] == ("assistant", "add(2, 3)")


def test_a_tool_may_answer_nothing(tmp_path: Path) -> None:
    """Functions return nothing at times; system texts are left empty at times."""
    turns = [said("system", ""), USER, said("assistant", None, tool_calls=[CALL]), said("tool", ""), ANSWER]
    assert len(rows_of(written(tmp_path / "rows.jsonl", messages(*turns)))[0].messages) == 5


REFUSED: dict[str, tuple[Any, str]] = {
    "chosen and rejected": ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preferences"),
    "chosen as turns": ({"chosen": [USER, ANSWER], "rejected": [USER, ANSWER]}, "preferences"),
    "chosen beside messages": (messages(USER, ANSWER, chosen="a", rejected="b"), "preferences"),
    "chosen alone": ({"prompt": "a", "completion": "b", "chosen": "c"}, "preferences"),
    "rejected alone": ({"prompt": "a", "completion": "b", "rejected": "c"}, "preferences"),
    "kto": ({"prompt": "a", "completion": "b", "label": True}, "KTO"),
    "kto of bad ones": ({"prompt": [USER], "completion": [ANSWER], "label": False}, "KTO"),
    "kto in words": ({"prompt": "a", "completion": "b", "label": "False"}, "KTO"),
    "kto of LLaMA-Factory": (messages(USER, ANSWER, kto_tag=False), "KTO"),
    "picture parts": (messages(said("user", [{"type": "image_url", "image_url": {"url": "x"}}]), ANSWER), "image_url"),
    "a picture after a text": (
        messages(said("user", [{"type": "text", "text": ASKED}, {"type": "image"}]), ANSWER),
        "a part of the type `image`",
    ),
    "a column of pictures": (shared(("human", "<image> what?"), ("gpt", "a cat"), image="cat.jpg"), "only text"),
    "sounds": (messages(USER, ANSWER, audios=["a.wav"]), "only text"),
    "use of a tool as a part": (
        messages(USER, said("assistant", [{"type": "tool_use", "name": "add", "input": {}}])),
        "`tool_use`",
    ),
    "a tree of OpenAssistant": ({"message_tree_id": "a", "prompt": {"text": "a", "replies": []}}, "tree"),
    "a tree without its id": ({"prompt": {"text": "a", "role": "prompter", "replies": []}, "completion": "b"}, "tree"),
    "OpenAssistant, flat": (
        {"message_id": "a", "parent_id": None, "text": "Hello there.", "role": "prompter"},
        "OpenAssistant",
    ),
    "all weights 0": (messages(USER, {**ANSWER, "weight": 0}), "nothing to learn"),
    "the old form of calls": (
        messages(USER, said("assistant", None, function_call=CALL), said("function", "5", name="add"), ANSWER),
        "function_call",
    ),
    "the old form of answers": (messages(USER, said("function", "5", name="add"), ANSWER), "write `tool_calls`"),
    "a call without a name": (
        messages(USER, said("assistant", None, tool_calls=[{"function": {}}])),
        "without the name",
    ),
    "arguments that are no JSON": (
        messages(USER, said("assistant", None, tool_calls=[{"function": {"name": "a", "arguments": "{"}}])),
        "a string that is not JSON",
    ),
    "arguments that are a list": (
        messages(USER, said("assistant", None, tool_calls=[{"function": {"name": "a", "arguments": [1]}}])),
        "a list, not an object",
    ),
    "half a character in a call": (
        messages(USER, said("assistant", None, tool_calls=[{"function": {"name": "a\ud800"}}])),
        "surrogate",
    ),
    "tools of another kind": (messages(USER, ANSWER, tools=["add"]), "`tools` is not a list of tools"),
    "a conversation with turns of texts": ({"id": "0", "data": [ASKED, ANSWERED]}, "none of messages"),
    "a turn a row": (USER, "put its turns into a list"),
    "gemini": ({"contents": [{"role": "user", "parts": [{"text": "a"}]}]}, "rename it to `messages`"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_learnt_is_refused_once(tmp_path: Path, name: str) -> None:
    """Many such rows get one sentence with their number."""
    row, says = REFUSED[name]
    message = refused(written(tmp_path / "rows.jsonl", *[row] * 40))
    assert says in message
    assert message.split("\n")[0].endswith("(40 rows: line 1, 2, 3 and 37 more)")
    assert len(message.split("\n")) == 2


UNREAD: dict[str, tuple[Any, str]] = {
    "weight": (messages(USER, {**ANSWER, "weight": 0.5}), "`weight` is neither 0 nor 1"),
    "history": ({"instruction": ASKED, "output": ANSWERED, "history": [["a", "b"]]}, "`history` is not read"),
    "reasoning_content": (messages(USER, {**ANSWER, "reasoning_content": "hm"}), "`reasoning_content` is learnt only"),
    "thinking": (messages(USER, {**ANSWER, "thinking": "hm"}), "`thinking` is learnt only"),
    "name": (messages({**USER, "name": "ann"}, ANSWER), "`name` is written by few"),
    "a mask": (messages(USER, {**ANSWER, "train": False}), "`train` is not read"),
    "system": ({"prompt": "aaaa", "completion": "bbbb", "system": "c"}, "`system` is not read"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_known_key_without_effect_is_told_with_its_number(tmp_path: Path, name: str) -> None:
    """One warning for all rows that have it."""
    row, says = UNREAD[name]
    plain = {key: value for key, value in row.items() if key not in ("history", "system")}
    if "messages" in plain:
        plain = messages(USER, ANSWER)
    (doubt,) = [
        doubt for doubt in doubts(written(tmp_path / "rows.jsonl", plain, row, plain, row)) if "repeat" not in doubt
    ]
    assert says in doubt
    assert doubt.endswith("(2 rows: line 2, 4)")


@pytest.mark.parametrize("weight", [1, 1.0, True, None])
def test_a_weight_of_one_is_nothing_special(tmp_path: Path, weight: Any) -> None:
    """It is the default."""
    path = written(tmp_path / "rows.jsonl", messages(USER, {**ANSWER, "weight": weight}))
    assert (rows_of(path)[0].untrained, doubts(path)) == ((), [])


def test_a_question_may_be_last_where_all_is_trained(tmp_path: Path) -> None:
    """`train_on: all` learns it; otherwise there is no answer to learn."""
    path = written(tmp_path / "rows.jsonl", messages(USER, ANSWER, said("user", "thanks")))
    assert "the last turn is from user" in refused(path)
    assert len(rows_of(path, train_on="all")[0].messages) == 3


# Files.

TABLE = [["instruction", "input", "output"], ['Say; or, tell\t"it"', "", "one\ntwo"], ["b", "c", "x" * 200_000]]


@pytest.mark.parametrize(
    ("name", "separator"),
    [("t.csv", ","), ("t.csv", ";"), ("t.tsv", "\t"), ("t.csv", "\t"), ("t.csv", "|"), ("t.CSV", ";")],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("packed", [False, True])
def test_tables_of_every_separator_are_alike(
    tmp_path: Path, name: str, separator: str, mark: str, packed: bool
) -> None:
    """With line breaks and separators in quoted cells, and cells of any length."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows(TABLE)
    content = (mark + text.getvalue()).encode()
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    first, second = rows_of(path)
    assert first.turns == [("user", TABLE[1][0]), ("assistant", "one\ntwo")]
    assert second.turns == [("user", "b\n\nc"), ("assistant", "x" * 200_000)]


def test_what_excel_does_to_a_table(tmp_path: Path) -> None:
    """Its line about the separator, capitals in the header, empty columns at the end."""
    path = tmp_path / "t.csv"
    path.write_text("sep=;\r\nPrompt;Completion;;\r\na, b;c d e f g;;\r\n")
    (row,) = rows_of(path)
    assert (row.prompt, row.completion) == ("a, b", "c d e f g")


def test_the_header_tells_the_separator(tmp_path: Path) -> None:
    """By the names that are ours, also where another character gives more columns."""
    path = tmp_path / "t.csv"
    path.write_text("text;a note, with, commas\nabcdefgh, i;x\n")
    assert rows_of(path)[0].completion == "abcdefgh, i"


def test_columns_that_are_not_ours_are_named(tmp_path: Path) -> None:
    """Whatever separates them, once."""
    path = tmp_path / "t.csv"
    path.write_text("frage;antwort\n" + "a;b\n" * 50)
    message = refused(path)
    assert "has `frage`, `antwort`, which is none of" in message
    assert "(50 rows: line 2, 3, 4 and 47 more)" in message


LISTS = {
    "one line": json.dumps,
    "an object a line": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n",
    "indented": lambda rows: json.dumps(rows, indent=2),
    "with a mark and spaces": lambda rows: "\ufeff \n" + json.dumps(rows, indent="\t") + "\n\n",
    "a comma after the last": lambda rows: json.dumps(rows)[:-1] + ",]",
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("file", ["r.json", "r.jsonl", "r.json.gz"])
def test_a_list_of_objects_is_read(tmp_path: Path, name: str, file: str) -> None:
    """However it is laid out and whatever it is called; rows are numbered."""
    rows = [{"text": f'row {at} é \u2028 \\ " ] }} {{ [' + "x" * (at * 7919 % 200_000)} for at in range(1, 60)]
    content = LISTS[name](rows).encode()
    path = tmp_path / file
    path.write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
    found = rows_of(path)
    assert [row.completion for row in found] == [row["text"] for row in rows]
    assert [row.line for row in found] == list(range(1, 60))


LIST_FAULTS = [
    ('[{"text": "abcdefgh"}, {"text": ""}]', "row 2: `text` is empty"),
    ('[{"text": "abcdefgh"}, {"text": NaN}, {"text": ""}]', "row 2: holds NaN"),
    ('[{"text": "a", "text": "b"}]', "row 1: holds the key `text` twice"),
    ('[{"text": "abcdefgh"}, 5]', "row 2: is not a JSON object"),
    ('[{"text": "abcdefgh"}\n{"text": "a"}]', "row 1: is not followed by a comma or the end of the list (line 2)"),
    ('[{"text": "abcdefgh"},\n{"text": "a"', "row 2: is not JSON: expecting ',' delimiter (line 2)"),
    ('[{"text": "abcdefgh"},\n\n{"text": tru}]', "row 2: is not JSON: expecting value (line 3)"),
    ('[{"text": "abcdefgh"}', "row 2: is not JSON: the list is not closed"),
    ('[{"text": "abcdefgh"}]\n{"text": "a"}', "row 1: is the last of the list, and more text follows (line 2)"),
    ("[]", "has no rows"),
    ('[{"text": ' + "[" * 100_000, "is nested too deeply"),
    ('[{"text": ' + "9" * 5000 + "}]", "row 1: holds a number with too many digits"),
    ('[{"text": "' + "a" * 200 + '"}]', "row 1: is longer than 16 MiB"),
]


@pytest.mark.parametrize(("content", "says"), LIST_FAULTS, ids=range(len(LIST_FAULTS)))
def test_faults_of_a_list_are_named_by_row(
    tmp_path: Path, content: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line where the text itself is broken."""
    if "longer" in says:
        from cloudtrain.templates.common.rows import json_text

        monkeypatch.setattr(json_text, "LONGEST_LINE_BYTES", 100)
        monkeypatch.setattr(json_text, "CHUNK", 16)
    path = tmp_path / "r.json"
    path.write_text(content)
    assert says in refused(path)


def test_a_list_of_lists_is_no_list_of_rows(tmp_path: Path) -> None:
    """Lines that are lists are told as lines."""
    path = tmp_path / "r.jsonl"
    path.write_text('[["a", "b"]]\n' * 3)
    assert ":1: is not a JSON object (3 rows: line 1, 2, 3)" in refused(path)


def test_commas_between_lines_are_told(tmp_path: Path) -> None:
    """In one sentence."""
    path = tmp_path / "r.jsonl"
    path.write_text('{"text": "abcdefgh"},\n' * 62)
    message = refused(path)
    assert "no comma stands between JSON lines (62 rows:" in message


def test_plain_text_is_read_by_paragraphs_when_asked(tmp_path: Path) -> None:
    """A row for each, with the line that it begins on; otherwise the sentence says how."""
    path = tmp_path / "book.txt"
    path.write_text("\n\nOnce upon\na time.\n\n \n[The end]\r\n\r\nReally, the end.")
    assert "`data.format: paragraphs`" in refused(path)
    found = rows_of(path, "paragraphs")
    assert [(row.line, row.completion) for row in found] == [
        (3, "Once upon\na time."),
        (7, "[The end]"),
        (9, "Really, the end."),
    ]
    assert check(path, expected_format="paragraphs").format == "paragraphs"


def test_gzip_is_read_as_what_is_in_it(tmp_path: Path) -> None:
    """By its content: the name need not say so; damage is told, and so is what is packed twice."""
    rows = [{"text": f"row number {at}"} for at in range(500)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    assert [row.completion for row in rows_of(path)] == [row["text"] for row in rows]
    whole = gzip.compress(content)
    for broken in (whole[:-20], whole[:-4] + b"oops", whole[:100] + b"x" * 9 + whole[109:]):
        path.write_bytes(broken)
        assert "is compressed with gzip and damaged" in refused(path)
    path.write_bytes(gzip.compress(whole))
    assert "is compressed with gzip twice" in refused(path)


def test_a_bomb_of_gzip_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as one line nor as many."""
    monkeypatch.setattr(files, "ALWAYS_UNPACKED_BYTES", 2**20)
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress((b'{"text": "' + b"abcdefgh" * 100 + b'"}\n') * 5_000))
    assert "unpacks to more than 200 times its size" in refused(path)
    path.write_bytes(gzip.compress(b"[" + b" " * 2**25 + b"]"))
    assert "unpacks to more than 200 times its size" in refused(path)


@pytest.mark.parametrize("listed", [False, True])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, listed: bool) -> None:
    """Eight times the rows take no more but for the number that finds repeats."""
    peaks = []
    for count in (1_000, 8_000):
        path = tmp_path / f"{count}.json"
        rows = (json.dumps({"text": f"{at} " + "word " * 60}) for at in range(count))
        path.write_text("[" + ",\n".join(rows) + "]" if listed else "\n".join(rows))
        tracemalloc.start()
        for _ in Source(path, None):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 100_000


HUB = {
    "tatsu-lab/alpaca": "hf download tatsu-lab/alpaca --repo-type dataset --local-dir alpaca",
    "hf://datasets/org/name/train.jsonl": "hf download org/name train.jsonl --repo-type dataset --local-dir name",
    "hf://datasets/org/name": "hf download org/name --repo-type dataset --local-dir name",
    "https://hub.example/datasets/org/name": "hf download org/name --repo-type dataset",
    "https://hub.example/datasets/org/name/resolve/main/data/train.parquet": "hf download org/name data/train.parquet",
    "s3://bucket/rows.jsonl": "download it first and name the local file",
    "squad": "`hf download ORG/NAME` fetches",
    "rows.jsonl": "paths in a spec count from its own folder",
    "here/rows.jsonl": "paths in a spec count from its own folder",
}


@pytest.mark.parametrize("name", HUB)
def test_data_that_lies_elsewhere_gets_the_command(tmp_path: Path, name: str) -> None:
    """One sentence; nothing is fetched."""
    assert HUB[name] in refused(Path(name) if "://" in name else tmp_path / name)


def test_a_folder_names_its_files(tmp_path: Path) -> None:
    """What a data set of the hub leaves behind."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000.parquet").write_bytes(b"PAR1")
    (tmp_path / "README.md").write_text("x")
    message = refused(tmp_path)
    assert "is not a file but a folder" in message
    assert "data/train-00000.parquet" in message


# Properties.

WORDS = (
    "Hello",
    "é\u2028",
    "a\nb",
    '{"x": [1]}',
    "]",
    "tab\there",
    "\\",
    '"quoted"',
    "  spaces ",
    "🙂",
    "'",
    "<think>",
)


def text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 4))) + str(chance.randint(0, 9))


def row_of(chance: random.Random, kind: str) -> tuple[dict[str, Any], list[str]]:
    """A row of a shape and the texts that have to be in it."""
    turns = [(role, text(chance)) for _ in range(chance.randint(1, 3)) for role in ("user", "assistant")]
    texts = [words for _, words in turns]
    if kind == "messages":
        parts = chance.random() < 0.3
        return messages(
            *(said(role, [{"type": "text", "text": words}] if parts else words) for role, words in turns)
        ), texts
    if kind == "sharegpt":
        names = {
            "user": chance.choice(["human", "user", "USER"]),
            "assistant": chance.choice(["gpt", "model", "assistant"]),
        }
        return shared(*((names[role], words) for role, words in turns)), texts
    if kind == "prompt":
        return {"prompt": texts[0], "completion": texts[1]}, texts[:2]
    if kind == "alpaca":
        extra = chance.choice([None, "", text(chance)])
        names = chance.choice([("input", "output"), ("context", "response")])
        return {"instruction": texts[0], names[0]: extra, names[1]: texts[1]}, [*texts[:2], extra or ""]
    return {"text": texts[0]}, texts[:1]


@pytest.mark.parametrize("kind", ["messages", "sharegpt", "prompt", "alpaca", "text"])
def test_no_text_of_an_accepted_row_gets_lost(tmp_path: Path, kind: str) -> None:
    """In lines, in a list, packed or not, and in tables where the shape fits into columns."""
    chance = random.Random(f"texts of {kind}")
    for number in range(examples(20)):
        made = [row_of(chance, kind) for _ in range(chance.randint(1, 9))]
        rows, wanted = [row for row, _ in made], [texts for _, texts in made]
        contents = {
            "r.jsonl": "".join(json.dumps(row, ensure_ascii=chance.random() < 0.5) + "\n" for row in rows),
            "r.json": json.dumps(rows, indent=chance.choice([None, 1]), ensure_ascii=chance.random() < 0.5),
        }
        if kind in ("prompt", "text"):
            table = io.StringIO()
            writer = csv.DictWriter(table, list(rows[0]), delimiter=chance.choice(",;\t"))
            writer.writeheader()
            writer.writerows(rows)
            contents["r.csv"] = table.getvalue()
        for name, content in contents.items():
            path = tmp_path / f"{number}-{name}"
            path.write_bytes(content.encode())
            packed = tmp_path / f"{number}-{name}.gz"
            packed.write_bytes(gzip.compress(content.encode()))
            for each in (path, packed):
                found = rows_of(each)
                assert len(found) == len(rows)
                for row, texts in zip(found, wanted, strict=True):
                    whole = "\x1e".join(words for _, words in row.turns)
                    assert all(words.replace("\r\n", "\n") in whole for words in texts), (each, texts, whole)


@pytest.mark.parametrize("seed", range(examples(40)))
def test_a_broken_list_ends_in_a_sentence(tmp_path: Path, seed: int) -> None:
    """Whatever is cut out, doubled or written over, with any size of the pieces in which it is read."""
    chance = random.Random(seed)
    content = json.dumps([{"text": text(chance)} for _ in range(6)], indent=chance.choice([None, 2])).encode()
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(content))
        content = (
            content[:at]
            + chance.choice([b"", b"]", b"{", b'"', b"\xff", b",", b"\\"])
            + content[at + chance.randint(0, 9) :]
        )
    path = tmp_path / "r.json"
    path.write_bytes(content)
    try:
        strict = json.loads(content, object_pairs_hook=list)  # keys that come twice are not hidden
    except ValueError:
        strict = None
    good = strict and all(
        isinstance(row, list) and [key for key, _ in row] == ["text"] and row[0][1].strip() for row in strict
    )
    if good:
        assert check(path).rows == len(strict)
    else:
        message = refused_or_taken(path)
        assert message.startswith(str(path)) or not message


def refused_or_taken(path: Path) -> str:
    """The sentence about a file; empty where it is taken: a comma after the last row harms nobody."""
    try:
        check(path)
    except UsageError as error:
        return error.message
    return ""


def test_pieces_of_any_size_give_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece may end within a word, a character or an escape."""
    from cloudtrain.templates.common.rows import json_text

    rows = [{"text": 'é🙂\\u00e9" \\ ' + "x" * at, "n": -1.5e3, "b": [True, None, {}]} for at in range(40)]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    for size in (1, 2, 3, 7, 64):
        monkeypatch.setattr(json_text, "CHUNK", size)
        assert [row.completion for row in rows_of(path)] == [row["text"] for row in rows]


def test_a_glance_reads_the_first_rows_only(tmp_path: Path) -> None:
    """`init` says what they are."""
    path = written(tmp_path / "rows.jsonl", *[messages(USER, ANSWER)] * 150, {"text": ""})
    assert dataset.glance(path) == "messages"
    assert "is empty" in refused(path) or "has the keys" in refused(path)
