"""Compiled programs beside a run, as the next machine's ticket offers them: of the run's own machines, and bounded."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain import backends
from cloudtrain.runs.transfer import compiled
from tests.records import row
from tests.runs.transfer.test_ticket import issued

__all__ = ["issued"]
FOLDER = "runs/r/machine/compiled"
Issue = Callable[..., dict[str, Any]]


def test_a_trainer_that_compiles_nothing_is_offered_nothing(issued: Issue) -> None:
    assert issued()["compiled"] is None


@pytest.fixture
def of_the_tpu(issued: Issue, monkeypatch: pytest.MonkeyPatch) -> Issue:
    """Tickets of runs whose trainer keeps what it compiles."""
    backend = backends.of_flavour("tpu")
    on_a_chip = SimpleNamespace(compiled=backend.compiled, on_the_host=lambda name: backend.on_the_host("tpu"))
    monkeypatch.setattr(compiled.backends, "of_flavour", lambda name: on_a_chip)
    return issued


def test_what_a_processor_runs_is_not_kept(issued: Issue, monkeypatch: pytest.MonkeyPatch) -> None:
    """One processor's machine code may not be another's."""
    on_a_processor = SimpleNamespace(compiled="X", on_the_host=lambda name: True)
    monkeypatch.setattr(compiled.backends, "of_flavour", lambda name: on_a_processor)
    assert issued()["compiled"] is None


def test_the_first_machine_may_write_two_gigabytes(of_the_tpu: Issue) -> None:
    assert of_the_tpu()["compiled"] == {"most_bytes": 2 << 30, "files": []}


def test_the_next_machine_fetches_what_is_there(of_the_tpu: Any) -> None:
    """By name and size; what has another sort of name is left alone, and what is there counts against the bound."""
    for name, content in {"jit_step-ab12-cache": b"x" * 10, "-rf": b"x", "a b": b"x", "empty": b""}.items():
        of_the_tpu.store.write(f"{FOLDER}/{name}", content)
    found = of_the_tpu()["compiled"]
    assert [(each["path"], each["bytes"]) for each in found["files"]] == [("jit_step-ab12-cache", 10)]
    assert found["most_bytes"] == (2 << 30) - 10


def test_no_more_is_fetched_than_may_be_written(of_the_tpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST_BYTES", 15)
    for name in ("a", "b", "c"):
        of_the_tpu.store.write(f"{FOLDER}/{name}", b"x" * 7)
    found = of_the_tpu()["compiled"]
    assert [each["path"] for each in found["files"]] == ["a", "b"]
    assert found["most_bytes"] == 1


def test_a_ticket_says_what_was_rented(issued: Any) -> None:
    """Chip and devices; of one host no more, because there is nobody to look at."""
    found = issued(line=row(hardware="tpu-v6e", devices=4))["rented"]
    assert found == {"chip": "tpu-v6e", "devices": 4, "hosts": []}
