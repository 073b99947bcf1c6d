"""Nights on this machine, from cron: the run outlives its tick, and a later one settles it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudtrain import settings
from cloudtrain.nights.options import TickOptions
from cloudtrain.nights.tick import Ticked, tick
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import Stack, StopOptions, load
from cloudtrain.runs.record import Run
from cloudtrain.state.store import open_store
from tests.fakes import desk_with_fake_trainer
from tests.patience import until
from tests.runs.test_poll import nobody_to_ask

__all__ = ["nobody_to_ask"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Ticked]]:
    """A tick of a schedule whose night is due, on this machine with a fake trainer. Nothing outlives the test."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(desk_with_fake_trainer(tmp_path))
    name = f"here-{os.getpid()}-{abs(hash(tmp_path)) % 10**6}"
    options = TickOptions(Path("cloudtrain.yaml"), name, latest_s=86400.0, infra=("local",))
    yield lambda: tick(options, settings.load(), {})
    store = open_store(settings.load().state)
    for run in store.children("runs"):
        load("stacks", "local", Stack).stop(run, store, StopOptions(0.0))


def ended(run: str) -> None:
    """Wait for its end."""
    until(lambda: Run(open_store(settings.load().state), run).state not in ("starting", "running"), "the run's end")


def test_a_run_here_outlives_its_tick_and_is_settled(here: Callable[[], Ticked]) -> None:
    """Its result is brought home; a second night without change starts nothing."""
    began = time.monotonic()
    first = here()
    assert (first.tick.outcome, time.monotonic() - began < GRACE_S) == ("started", True)
    ended(first.tick.run)
    second = here()
    assert second.events[0].outcome == "finished", second
    assert (Path(first.tick.run) / "adapter_config.json").exists()
    assert Run(open_store(settings.load().state), first.tick.run).gone is not None


def test_a_run_here_that_failed_is_said(here: Callable[[], Ticked], monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do."""
    monkeypatch.setenv("FAKE_TRAINER", '{"fail": 65}')
    first = here()
    ended(first.tick.run)
    failed = here()
    assert (failed.tick.outcome, first.tick.run in failed.tick.message) == ("failed", True)
