"""`cloudtrain measurements`: what is known is listed, what is not wanted is forgotten, and the quote marks its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from cloudtrain.records import MeasurementRecord
from cloudtrain.runs.results.measurements import FILE
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result

Command = Callable[..., Result]
LONG = MeasurementRecord(
    hardware="cpu-amx", count=88, run="long", time=1e9, model="llama-3.1-8b", method="qlora", stack="trl-cpu",
    provider="gcp", tokens=4_000_000, steps=2000, sequence_length=2048, load=0.02, tokens_per_second=200.0,
    flops_per_s=6e12, peak_bytes=9_000_000_000, required_bytes=8_000_000_000,
)  # fmt: skip
OLD = MeasurementRecord(hardware="cpu-zen", count=2, run="old", method="lora", stack="trl-cpu", flops_per_s=1e9)
SHORT = MeasurementRecord(hardware="cpu", count=2, run="short", out_of_memory=True, peak_bytes=3, required_bytes=2)


@pytest.fixture
def state(own_world: Path) -> LocalFolder:
    """The state with three measurements."""
    store = LocalFolder(own_world / "state")
    for each in (LONG, OLD, SHORT):
        store.append(FILE, each.as_line())
    return store


@pytest.mark.parametrize(
    ("name", "argv"),
    [("measurements", ["list"]), ("measurements-unknown", ["forget", "olt"]), ("measurements-which", ["forget"])],
)
def test_whole_outputs(golden: Command, state: LocalFolder, name: str, argv: list[str]) -> None:
    """What a person reads."""
    golden(name, "measurements", *argv)


def test_json_follows_its_schema(cloudtrain: Command, state: LocalFolder) -> None:
    """A long run counts nearly one, one of an older version less, one without a speed says so."""
    found = json.loads(cloudtrain("measurements", "list", "-o", "json").out)
    jsonschema.validate(found, json.loads(cloudtrain("schema", "measurements").out))
    assert [each["run"] for each in found] == ["long", "old", "short"]
    assert 0.7 < found[0]["worth"] < 1
    assert 0 < found[1]["worth"] < 0.2
    assert found[2]["worth"] is None


def test_a_corrected_row_is_marked_until_it_is_forgotten(cloudtrain: Command, state: LocalFolder) -> None:
    """In the table, under it, and in JSON; not in CSV, which a program reads."""
    words = ("quote", "llama-3.1-8b", "--infra", "gcp", "--all")
    text = cloudtrain(*words).out
    assert "^ corrected by runs measured here" in text
    marked = [line for line in text.splitlines() if "^" in line and "corrected" not in line]
    assert marked
    assert all("c3-" in line and "88 vCPU amx" in line for line in marked)
    rows = json.loads(cloudtrain(*words, "-o", "json").out)["lines"]
    assert {row["count"] for row in rows if row["measured"]} == {88}
    assert "^" not in cloudtrain(*words, "-o", "csv").out
    assert cloudtrain("measurements", "forget", "long", "old").code == 0
    assert "^" not in cloudtrain(*words).out


def test_all_can_be_forgotten_at_once(cloudtrain: Command, state: LocalFolder) -> None:
    """--all; with names it is refused."""
    assert cloudtrain("measurements", "forget", "long", "--all").code == 2
    assert cloudtrain("measurements", "forget", "--all").code == 0
    assert json.loads(cloudtrain("measurements", "list", "-o", "json").out) == []
