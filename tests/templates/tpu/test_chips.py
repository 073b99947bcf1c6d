"""The chips of the machine against those that were rented."""

from __future__ import annotations

import csv
import importlib.util
import sys
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from failures import NoAccelerator
from job import Checkpoint, Data, Job

from tests.trainer_fixtures import TEMPLATES

JOB = Job("/m", Data("/d"), Checkpoint("/c"), "/o", accelerator="tpu", chip="tpu-v6e", devices=4)


@pytest.fixture(scope="module")
def chips() -> Any:
    """The module; JAX is not needed for what is tested here."""
    spec = importlib.util.spec_from_file_location("chips", TEMPLATES / "tpu" / "chips.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rented_chips_are_accepted_by_jaxs_name(chips: Any) -> None:
    """Also where nothing is said of them, and on a processor in their place."""
    chips.check(JOB, "TPU v6 lite", 4)
    chips.check(replace(JOB, chip=None, devices=None), "TPU v5 lite", 8)
    chips.check(replace(JOB, accelerator="cpu"), "cpu", 1)


@pytest.mark.parametrize(
    ("kind", "count", "says"),
    [
        ("TPU v5 lite", 4, "this machine has TPU v5 lite, but tpu-v6e was rented"),
        ("TPU v6 lite", 1, "this machine has 1 TPU v6 lite devices, but 4 were rented"),
    ],
)
def test_other_chips_or_fewer_are_refused(chips: Any, kind: str, count: int, says: str) -> None:
    """In a sentence, before anything is loaded."""
    with pytest.raises(NoAccelerator, match=says):
        chips.check(JOB, kind, count)


class Held:
    """JAX where another process has the chips."""

    __version__ = "0.10.2"

    @staticmethod
    def devices(platform: str) -> list[Any]:
        """What libtpu says then."""
        raise RuntimeError(
            "Unable to initialize backend 'tpu': ABORTED: The TPU is already in use by process with pid 7"
        )


def test_chips_that_another_process_holds_are_said_to_be(chips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that there are none."""
    monkeypatch.setitem(sys.modules, "jax", Held())
    with pytest.raises(NoAccelerator, match=r"another process holds the tpu of this machine.*pid 7"):
        chips.devices("tpu")


def test_every_chip_named_here_is_in_the_table(chips: Any) -> None:
    """Under the key that a job names it by."""
    table = (files("cloudtrain.estimate") / "accelerators.csv").read_text(encoding="utf-8")
    assert set(chips.KINDS) <= {row["key"] for row in csv.DictReader(table.splitlines())}
