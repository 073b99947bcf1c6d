"""`cloudtrain probe`: what the trainer's program measures is kept, and the next quote of this machine goes by it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from cloudtrain.runs.results import probes
from cloudtrain.trainer import environment
from tests.conftest import Result

Command = Callable[..., Result]
SAYS = """
import json
print(json.dumps({"bf16_flops_per_s": %s, "fp32_flops_per_s": 9e11, "load": %s, "threads": 2, "torch": "2.13",
                  "seconds": 8, "bf16_kernels": True}))
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in place of the one that measures, in this Python in place of the trainer's."""
    path = tmp_path / "measure.py"
    path.write_text(SAYS % ("5e11", "0.1"))
    monkeypatch.setattr(probes, "measuring", lambda: ("cpu", path))
    monkeypatch.setattr(environment, "ensure", lambda flavour, log: Path(sys.executable))
    return path


def test_the_next_quote_of_this_machine_goes_by_it(cloudtrain: Command, program: Path) -> None:
    """The row's basis names the measurement, and a later one takes its place."""
    words = ("quote", "smollm2-135m", "--infra", "local", "-o", "json")
    before = json.loads(cloudtrain(*words).out)["lines"][0]
    assert "cloudtrain probe" not in before["basis"]
    assert cloudtrain("probe").code == 0
    after = json.loads(cloudtrain(*words).out)["lines"][0]
    assert "0.5 TFLOP/s in bf16, 0.9 TFLOP/s in float32; computed in float32" in after["basis"]
    assert after["recipe"]["dtype"] == "fp32"
    program.write_text(SAYS % ("9e11", "0.1"))
    assert cloudtrain("probe").code == 0
    assert "0.9 TFLOP/s in bf16" in json.loads(cloudtrain(*words).out)["lines"][0]["basis"]


def test_json_follows_its_schema(cloudtrain: Command, program: Path) -> None:
    """With the faster type said."""
    found = json.loads(cloudtrain("probe", "-o", "json").out)
    jsonschema.validate(found, json.loads(cloudtrain("schema", "probe").out))
    assert found["faster"] == "fp32"


def test_a_busy_machine_is_said_to_be_one(cloudtrain: Command, program: Path) -> None:
    """The rate is too low then."""
    assert "repeat when the machine is idle" not in cloudtrain("probe").err
    program.write_text(SAYS % ("5e11", "0.7"))
    assert "repeat when the machine is idle" in cloudtrain("probe").err


def test_a_measurement_that_fails_keeps_nothing(cloudtrain: Command, program: Path, own_world: Path) -> None:
    """Its last words are passed on."""
    program.write_text("raise SystemExit('no room')")
    failed = cloudtrain("probe")
    assert failed.code == 1
    assert "nothing could be measured: no room" in failed.err
    assert not (own_world / "state" / "probes.jsonl").exists()


def test_the_shipped_program_is_found() -> None:
    """By the description of the back end that has it."""
    flavour, program = probes.measuring()
    assert (flavour, program.name, program.is_file()) == ("cpu", "measure.py", True)
