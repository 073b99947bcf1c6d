"""Public cases: what people have met elsewhere, and what the right answer is.

`cases.csv` says what is right in its column `expect` (see `expects.py`), `not_yet.txt` which of them do not hold today.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs import prepare
from cloudtrain.spec import schema
from tests.cases.expects import Case, Expectation, cases, not_yet, parameters, spec_of
from tests.conftest import Result
from tests.trainer_fixtures import TEMPLATES, demo_model, trainer_python, warm_python

__all__ = ["demo_model", "trainer_python", "warm_python"]  # fixtures
Command = Callable[..., Result]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ABSENT = "Qwen/Qwen2.5-3B-Instruct"  # a popular model that the registry has not
WITHIN = 0.005
BY_THE_TRAINER = ("accept", "same", "not-silent")  # what only its tokenizer and template can tell


def problems(case: Case, wrong: Callable[[Expectation], str]) -> list[str]:
    """What is wrong by each of the ways in which the case may be right; empty when one of them holds."""
    found = []
    for either in case.expect:
        said = [words for each in either if (words := wrong(each))]
        if not said:
            return []
        found += said
    return found


class Answers:
    """What `estimate` and `quote` say of a config's folder, asked once and only when it is wanted."""

    def __init__(self, cloudtrain: Command, folder: Path) -> None:
        self.cloudtrain, self.folder = cloudtrain, folder
        self.estimated = self.ask("estimate", folder, "--method", "lora", "--seq", "1024", "--batch", "1", "-o", "json")

    def ask(self, *words: Any) -> Result:
        """A command; the folder's own name is taken out of what it says."""
        ended = self.cloudtrain(*words)
        return ended._replace(err=ended.err.replace(str(self.folder), "FOLDER"))

    def wrong(self, expected: Expectation) -> str:
        """What does not hold, in a sentence; empty when it does."""
        if expected.kind in ("params=", "params~"):
            return self.count(expected)
        if expected.kind == "refuse":
            refused = self.estimated.code == 2 and expected.word in self.estimated.err.lower()
            return "" if refused else f"estimate ended with {self.estimated.code}: {self.estimated.err}"
        return self.unloadable(expected.word)

    def count(self, expected: Expectation) -> str:
        """The number of parameters."""
        if self.estimated.code:
            return f"estimate ended with {self.estimated.code}: {self.estimated.err}"
        total, wanted = json.loads(self.estimated.out)["params_total"], float(expected.word)
        room = 0.0 if expected.kind == "params=" else WITHIN * wanted
        return "" if abs(total - wanted) <= room else f"{total} parameters, not {wanted:.0f}"

    def unloadable(self, word: str) -> str:
        """No row of a qlora may say that it loads, and the reason has to name the format or the type."""
        quoted = self.ask("quote", self.folder, "--method", "qlora", "--all", "-o", "json")
        if quoted.code == 2:
            return "" if word in quoted.err.lower() else f"refused without `{word}`: {quoted.err}"
        lines = json.loads(quoted.out)["lines"]
        loads = [line["hardware"] for line in lines if line["loads"] != "no trainer"]
        named = [line for line in lines if word in " ".join(line["reasons"]).lower()]
        if loads:
            return f"{len(loads)} of {len(lines)} rows say that it loads, on {loads[0]} for one"
        return "" if named else f"no reason names `{word}`"


@pytest.mark.parametrize("case", parameters("config"))
def test_a_models_config_is_counted_and_judged(case: Case, cloudtrain: Command, tmp_path: Path) -> None:
    """By `estimate` and `quote` of its folder, or of a hub id that is not known here."""
    if not case.input:
        ended = cloudtrain("quote", ABSENT)
        assert ended.code == 2
        assert f"hf download {ABSENT}" in ended.err
        return
    folder = shutil.copytree(case.folder, tmp_path / "model")  # the name of the case would say too much
    assert problems(case, Answers(cloudtrain, folder).wrong) == []


class Verdict:
    """What the client says of a spec and its data before anything is started."""

    def __init__(self, spec: Path) -> None:
        self.refusal: UsageError | None = None
        self.warnings: list[str] = []
        try:
            report = prepare.prepare(spec, [f"model={MODEL}"]).data
            self.warnings = [problem.message.lower() for problem in report.problems]
        except UsageError as refused:
            self.refusal = UsageError(refused.message.replace(str(spec.parent), "FOLDER"), refused.hint)

    def wrong(self, expected: Expectation) -> str:
        """What does not hold, in a sentence; empty when it does, or when only the trainer can tell."""
        if expected.kind == "accept":
            return "" if self.refusal is None else f"refused: {self.refusal.message}"
        if expected.kind == "warn":
            named = any(expected.word in words for words in self.warnings)
            return "" if named else f"no warning names `{expected.word}`: {self.warnings}"
        if expected.kind == "refuse":
            return self.refused(expected.word)
        return ""

    def refused(self, word: str) -> str:
        """Exit 2, with one sentence for each kind of fault."""
        if self.refusal is None:
            return "accepted"
        if word not in f"{self.refusal.message} {self.refusal.hint}".lower():
            return f"`{word}` is not in: {self.refusal.message} {self.refusal.hint}"
        sentences = [line.partition(": ")[2] for line in self.refusal.message.splitlines()]
        return "" if len(sentences) == len(set(sentences)) else f"one sentence several times: {self.refusal.message}"


@pytest.mark.parametrize("case", parameters("data"))
def test_data_is_accepted_or_refused_before_anything_starts(case: Case, tmp_path: Path) -> None:
    """By the spec and the data check, with the sentence or the warning that the case asks for."""
    assert problems(case, Verdict(spec_of(case, tmp_path)).wrong) == []


CONTENT = (
    "content",
    "value",
    "instruction",
    "input",
    "context",
    "output",
    "response",
    "prompt",
    "completion",
    "system",
)
CALLS = ("tool_calls", "function_call", "function", "arguments", "name")


def texts(value: Any, keys: tuple[str, ...], inside: bool = False) -> Iterator[str]:
    """What people wrote: the texts below these keys, and parts of the type text."""
    if isinstance(value, str):
        if inside:
            yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, keys, inside)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from texts(each, keys, key in keys or (key == "text" and value.get("type") == "text"))


def texts_by_line(case: Case, data: Path) -> dict[int, list[str]]:
    """Line -> the texts of its row, for JSON lines; of tool calls too where nothing may get lost in silence."""
    if data.suffix != ".jsonl" or not data.is_file():
        return {}
    silent = any(each.kind == "not-silent" for either in case.expect for each in either)
    found = {}
    for number, line in enumerate(data.read_bytes().splitlines(), 1):
        try:
            found[number] = list(texts(json.loads(line), CONTENT + CALLS if silent else CONTENT))
        except ValueError:
            continue
    return found


@pytest.fixture(scope="module")
def trainer(warm_python: Path, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the trainer says of every data case, with the demo model's tokenizer and template, in one process."""
    folder, asked = tmp_path_factory.mktemp("jobs"), []
    listed = cases("data")
    for case in listed:
        home = folder / case.id
        spec = schema.load(spec_of(case, home))
        places = {"checkpoint": {"folder": str(home / "ckpt")}, "output": str(home / "output")}
        data = {"path": spec.data.path, "format": spec.data.format}
        job = {"model": str(demo_model), "data": data, "sequence_length": spec.sequence_length, **places}
        (home / "job.json").write_text(json.dumps({**job, "train_on": spec.train_on, "method": spec.method}))
        asked.append([str(home / "job.json"), texts_by_line(case, Path(spec.data.path))])
    modules = ":".join(str(TEMPLATES / name) for name in ("torch", "common"))
    done = subprocess.run(
        [str(warm_python), str(Path(__file__).with_name("in_the_trainer.py"))],
        input=json.dumps(asked), env={**os.environ, "PYTHONPATH": modules}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip([case.id for case in listed], said, strict=True))


@pytest.mark.trainer
@pytest.mark.xdist_group("cases")  # they share what the trainer said once
@pytest.mark.parametrize("case", parameters("data", "by-the-trainer", BY_THE_TRAINER))
def test_the_trainer_says_of_data_what_the_client_said(case: Case, trainer: dict[str, Any], tmp_path: Path) -> None:
    """It takes what is to be accepted, with every turn's text in what is rendered, and nothing gets lost in silence."""
    client, found = Verdict(spec_of(case, tmp_path)), trainer[case.id]

    def wrong(expected: Expectation) -> str:
        if expected.kind == "accept":
            return f"{found}" if found["problems"] or found["missing"] else ""
        if expected.kind == "same":
            return "" if bool(found["problems"]) == (client.refusal is not None) else f"{found} {client.refusal}"
        if expected.kind == "not-silent":
            told = found["problems"] or client.refusal or client.warnings
            return f"lost: {found['missing'][:3]}" if found["missing"] and not told else ""
        return ""

    assert problems(case, wrong) == []


def test_the_list_of_what_fails_names_cases() -> None:
    """A line that names nothing would hide nothing, and nobody would see it go wrong."""
    known = {case.id for kind in ("config", "data") for case in cases(kind)}
    assert {name.partition(" ")[0] for name in not_yet()} - known == set()
