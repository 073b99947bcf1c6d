"""Nights of the job that publishes, each on an empty machine, and a user who pulls after each of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.errors import Unavailable
from cloudtrain.listings import Answer, Shape
from cloudtrain.prices import folder
from cloudtrain.prices.table import seen_in
from cloudtrain.units import rfc3339
from tests.conftest import Result
from tests.prices.answering import DAY, START, Answers, a_cell, answer_with, current, prices, same, shipped, times
from tests.prices.published.conftest import key, private_pem

Command = Callable[..., Result]


def silent(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """A provider that does not answer."""
    raise Unavailable("Google does not answer", "try again")


@pytest.fixture
def night(
    cloudtrain: Command, key_file: Path, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[int]]:
    """One night by the verbs of the workflow, then the user's pull; the exit codes of refreshes, gate, publish, pull."""
    monkeypatch.setenv("PRICES_KEY", private_pem(key(1)))
    believed = ("--public-key", str(key_file))

    def run(number: int, **answers: Answers) -> list[int]:
        last, out, now, before = (tmp_path / name for name in ("last", "out", "now", "before"))
        for path in (now, before):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        monkeypatch.setenv("CLOUDTRAIN_NOW", str(rfc3339(START + number * DAY)))
        codes = []
        with monkeypatch.context() as machine:
            machine.setenv("CLOUDTRAIN_PRICES", str(now))
            if last.exists():
                assert cloudtrain("prices", "pull", "--file", last, *believed).code == 0
                shutil.copytree(now, before, dirs_exist_ok=True)
            for provider, answer in answers.items():
                answer_with(machine, provider, answer)
                codes.append(cloudtrain("prices", "refresh", "--provider", provider).code)
            codes.append(cloudtrain("prices", "gate", now, "--against", before).code)
            words = ("prices", "publish", now, "--against", before, "--to", out, "--key-env", "PRICES_KEY")
            codes.append(cloudtrain(*words).code)
        shutil.rmtree(last, ignore_errors=True)
        out.rename(last)
        return [*codes, cloudtrain("prices", "pull", "--file", last, *believed).code]

    return run


def days(provider: str) -> set[str]:
    """The days on which the user's prices of a provider were seen."""
    return {seen_in(row, cell.market)[0] for cell, row in current(provider).cells if cell in prices(current(provider))}


def test_a_jump_waits_a_night_and_a_failure_keeps_dates(night: Callable[..., list[int]]) -> None:
    """What waits travels with what is published; who does not answer keeps what was published of it last."""
    jumping = a_cell("runpod")
    old = prices(shipped("runpod"))[jumping]
    jump = times("1.3", lambda cell: cell == jumping)
    assert night(0, runpod=jump, gcp=silent) == [0, 7, 0, 0, 0]
    assert set(folder.refreshed()) == {"runpod"}
    assert prices(current("runpod"))[jumping] == old
    assert night(1, runpod=jump, gcp=times("1.1")) == [0, 0, 0, 0, 0]
    assert prices(current("runpod"))[jumping] == old * Decimal("1.3")
    assert days("gcp") == {"2026-11-30"}
    assert night(2, runpod=same, gcp=silent) == [0, 7, 0, 0, 0]
    assert days("gcp") == {"2026-11-30"}
    assert days("runpod") == {"2026-12-01"}
    assert all(prices(current("gcp"))[cell] == usd * Decimal("1.1") for cell, usd in prices(shipped("gcp")).items())
