"""Data in every kind of file goes all the way: checked here, packed, unpacked, and trained on by the real trainer."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs.transfer import bundle
from cloudtrain.spec import dataset
from cloudtrain.trainer import environment, parquet
from tests.templates.conftest import Bench

pytestmark = pytest.mark.trainer

PAIRS = [(f"What is {at} plus {at + 1}?", f'{at} plus {at + 1} is "{2 * at + 1}"; é.') for at in range(12)]
WRITE = """
import json, sys
import pyarrow, pyarrow.parquet
rows = json.load(sys.stdin)
pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sys.argv[1], row_group_size=5)
"""


def shared(asked: str, answered: str) -> dict[str, Any]:
    """A conversation with a call, as LLaMA-Factory writes it."""
    call = json.dumps({"name": "add", "arguments": {"a": 1}})
    turns = [("human", asked), ("function_call", call), ("observation", "3"), ("gpt", answered)]
    tools = json.dumps([{"name": "add", "description": "adds", "parameters": {"type": "object", "properties": {}}}])
    return {
        "conversations": [{"from": who, "value": words} for who, words in turns],
        "tools": tools,
        "system": "Use tools.",
    }


def chat(asked: str, answered: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered, **more}]}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(separator: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=separator).writerows([("instruction", "output"), *PAIRS])
    return ("\ufeff" + text.getvalue()).encode()


CONTENTS = {
    "rows.jsonl": lines([chat(*pair) for pair in PAIRS]),
    "rows.jsonl.gz": gzip.compress(lines([chat(*pair) for pair in PAIRS])),
    "rows.csv": table(";"),
    "rows.tsv.gz": gzip.compress(table("\t")),
    "rows.json": json.dumps([chat(*pair) for pair in PAIRS], indent=2).encode(),
    "rows.parquet": None,  # with a key that most rows lack, as columns have it
    "sharegpt.jsonl": lines([shared(*pair) for pair in PAIRS]),
}


@pytest.fixture(scope="module")
def files(trainer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same twelve rows in every kind of file."""
    folder = tmp_path_factory.mktemp("kinds")
    for name, content in CONTENTS.items():
        if content is not None:
            (folder / name).write_bytes(content)
    rows = [chat(*pair, **({"name": "x"} if at == 3 else {})) for at, pair in enumerate(PAIRS)]
    command = [str(trainer_python), "-c", WRITE, str(folder / "rows.parquet")]
    subprocess.run(command, input=json.dumps(rows), text=True, check=True)
    return {name: folder / name for name in CONTENTS}


@pytest.mark.parametrize("name", [name for name in CONTENTS if name != "rows.jsonl"])
def test_it_is_trained_on_as_json_lines_are(bench: Bench, files: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The client takes it, it travels under another name, and the trainer sees as many rows and tokens."""
    report = dataset.check(files[name], parquet=parquet.records)
    assert report.rows == len(PAIRS)
    (inside, source), *_ = bundle.data_files({"data": {"path": str(files[name]), "eval_path": None}}).items()
    there = tmp_path / inside
    there.parent.mkdir()
    there.write_bytes(source.read_bytes())
    ended = bench.train(tmp_path / "run", data={"path": str(there)}, max_steps=1)
    assert ended.code == 0, ended.events
    data = ended.one("data")
    assert (data["rows"], data["dropped"], data["truncated"]) == (len(PAIRS), 0, 0)
    plain = sum(len(words) for pair in PAIRS for words in pair)
    assert report.characters >= plain
    if name != "sharegpt.jsonl":
        assert report.characters == plain
        assert report.format == ("alpaca" if ".csv" in name or ".tsv" in name else "messages")


@pytest.fixture
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a client's Python mostly is."""
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)


@pytest.mark.usefixtures("without_pyarrow")
def test_the_trainers_python_reads_parquet_for_the_client(files: dict[str, Path], tmp_path: Path) -> None:
    """By rows, with places and doubts; a damaged file gets a sentence; a reader that stops early ends it."""
    report = dataset.check(files["rows.parquet"], parquet=parquet.records)
    (doubt,) = report.problems
    assert str(doubt) == f"{files['rows.parquet']}: row 4: `name` is written by few chat templates"
    assert next(parquet.records(files["rows.parquet"]))["messages"][0] == {"role": "user", "content": PAIRS[0][0]}
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(files["rows.parquet"].read_bytes()[:-30])
    with pytest.raises(UsageError, match="is a Parquet file and damaged"):
        dataset.check(broken, parquet=parquet.records)


@pytest.mark.usefixtures("without_pyarrow")
def test_parquet_says_what_it_needs(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither Python here can read it."""
    monkeypatch.setattr(environment, "find", lambda flavour: None)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError) as refused:
        dataset.check(files["rows.parquet"], parquet=parquet.records)
    assert "pyarrow, which reads it, is not installed here" in refused.value.message
    assert "pip install pyarrow" in refused.value.hint


def test_parquet_has_rows_as_json_has_them(files: dict[str, Path], trainer_python: Path, tmp_path: Path) -> None:
    """What a row lacks is absent inside of it; numbers that are none, dates and bytes are what JSON could hold."""
    program = (
        "import sys, datetime, pyarrow, pyarrow.parquet\n"
        "pyarrow.parquet.write_table(pyarrow.table({'instruction': ['a', 'b'], 'input': pyarrow.array([float('nan'), None]),"
        " 'output': ['c', 'd'], 'day': [datetime.date(2026, 1, 2), None], 'raw': [b'x', None]}), sys.argv[1])"
    )
    path = tmp_path / "odd.parquet"
    subprocess.run([str(trainer_python), "-c", program, str(path)], check=True)
    first, second = parquet.records(path)
    assert (first["input"], second["input"], first["day"]) == (None, None, "2026-01-02")
    assert json.loads(json.dumps(first)) == first
    assert dataset.check(path, parquet=parquet.records).rows == 2
