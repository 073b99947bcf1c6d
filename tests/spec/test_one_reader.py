"""Client and trainer say the same of every data file: accepted with the same turns, or refused with the same sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.spec import dataset, schema

TEMPLATES = Path(str(files("cloudtrain.templates")))
CASES = Path(__file__).parent.parent / "cases" / "data"
# As on a machine: nothing but the folder that all trainers share. One document for each file: its rows, or a sentence.
TRAINER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import reader
from failures import BadData
for path, kind, train_on in json.load(sys.stdin):
    try:
        said = [row._asdict() for row in reader.read(Path(path), kind, train_on)]
    except BadData as bad:
        assert bad.exit_code == 65
        said = {"line": bad.line, "problem": bad.problem, "unit": bad.unit}
    print(json.dumps(said))
"""


class Given(NamedTuple):
    """A data file and the format that its spec names."""

    path: Path
    format: str | None = None
    train_on: str = "assistant"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Given]:
    """Every case by its name, with a row of a megabyte and the shapes that two readers once judged differently."""
    found = {}
    for folder in sorted(CASES.iterdir()):
        spec = schema.load(folder / "cloudtrain.yaml")
        found[folder.name] = Given(Path(spec.data.path), spec.data.format, spec.train_on)
    folder = tmp_path_factory.mktemp("rows")
    answer = {"role": "assistant", "content": "b"}
    more: dict[str, Any] = {
        "very long row": {"messages": [{"role": "user", "content": "long " * 200_000}, answer]},
        "bing": {"conversations": [{"from": "human", "value": "a"}, {"from": "bing", "value": "b"}]},
        "completion and text": {"completion": "a", "text": "b"},
        "instruction and text": {"instruction": "a", "text": "b"},
        "null input": {"instruction": "a", "input": None, "output": "b"},
        "a system prompt beside an instruction": {"instruction": "a", "input": "c", "output": "b", "system": "s"},
        "a call with a number as content": {
            "messages": [{"role": "assistant", "content": 5, "tool_calls": [{"a": 1}]}]
        },
        "tools that are no JSON": {"messages": [{"role": "user", "content": "a"}, answer], "tools": "{"},
        "ends with a question": {"messages": [answer, {"role": "user", "content": "a"}]},
    }
    for name, row in more.items():
        path = folder / f"{len(found)}.jsonl"
        path.write_text(json.dumps(row) + "\n")
        found[name] = Given(path)
    another = folder / "another-shape-later.jsonl"
    another.write_text('{"text": "a"}\n{"text": "b", "messages": 1}\n{"messages": []}\n')
    return {**found, "another shape later": Given(another), "another shape than named": Given(another, "prompt")}


@pytest.fixture(scope="module")
def trainer(inputs: dict[str, Given]) -> dict[str, Any]:
    """What the trainer's reader says of each file, in a Python without packages."""
    asked = json.dumps([[str(path), kind, train_on] for path, kind, train_on in inputs.values()])
    command = [sys.executable, "-I", "-S", "-c", TRAINER, str(TEMPLATES / "common")]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(inputs, map(json.loads, done.stdout.splitlines()), strict=True))


def client(given: Given) -> Any:
    """What the client says of a file: its rows, or its refusal without the file's name."""
    options: dict[str, Any] = {"expected_format": given.format, "train_on": given.train_on}
    try:
        report = dataset.check(given.path, **options)
    except UsageError as refused:
        return refused.message.replace(str(given.path), "")
    judged = dataset.Source(given.path, given.format, given.train_on)
    rows = [row._asdict() for _, row in judged if not isinstance(row, dataset.BadRow)]
    assert len(rows) == report.rows
    return json.loads(json.dumps(rows))


def placed(there: dict[str, Any], path: Path) -> str:
    """The trainer's refusal, put as the client does it: it says the place before each sentence."""
    where = ("", f": row {there['line']}", f":{there['line']}")[
        0 if not there["line"] else 1 + (there["unit"] == "line")
    ]
    first, *others = there["problem"].replace(str(path), "").replace(path.name, "").split("\n")
    more = [re.sub(r"^line (\d+): ", r":\1: ", re.sub(r"^row ", ": row ", other)) for other in others]
    return "\n".join([f"{where}: {first.lstrip()}", *more])


def test_what_the_client_accepts_the_trainer_reads_alike(inputs: dict[str, Given], trainer: dict[str, Any]) -> None:
    """Every case: equal rows, turn by turn, or the same sentences about the same lines."""
    accepted = 0
    for name, given in inputs.items():
        here, there = client(given), trainer[name]
        if isinstance(there, dict):
            assert here == placed(there, given.path), name
        else:
            assert here == there, name
            accepted += 1
    assert 20 <= accepted <= len(inputs) - 20, "both verdicts are there in numbers"


@pytest.mark.parametrize("name", ["B68-rejected-null-in-kto", "B26-alpaca-one-empty-output", "B45-utf16"])
def test_the_training_program_ends_with_65_on_what_the_client_refuses(
    inputs: dict[str, Given], tmp_path: Path, name: str
) -> None:
    """Before PyTorch is imported, which is not even there, and with the sentence that the client says."""
    places = {"checkpoint": {"folder": str(tmp_path / "ckpt")}, "output": str(tmp_path / "output")}
    job = {"model": "org/name", "data": {"path": str(inputs[name].path)}, **places}
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-S", str(TEMPLATES / "torch" / "train.py"), str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 65, done.stderr
    event = json.loads(done.stdout.splitlines()[-1])
    assert (event["event"], event["code"]) == ("error", "bad_data")
    assert str(client(inputs[name])).rpartition(": ")[2] in event["message"]
