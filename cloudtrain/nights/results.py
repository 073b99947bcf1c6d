"""What has become of the runs that nights began: which go on, which have ended and how."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import CloudtrainError
from cloudtrain.nights import book
from cloudtrain.nights.outcome import Outcome, Tick
from cloudtrain.runs import reconcile, teardown
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements, outcome, pull
from cloudtrain.state.protocol import Store
from cloudtrain.units import money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtrain.records import NightRecord

OPEN = ("", "started")  # nights of which the end is not known


class Judged(NamedTuple):
    """What there is to say of a night's run. `outcome` is None while it goes on, or when nothing came of its start."""

    outcome: Outcome | None
    message: str = ""
    going: bool = False  # it has, or may have, a machine: it goes on


class Settled(NamedTuple):
    """What has ended, the records of nights whose runs go on, and all records as they are now, oldest first."""

    ticks: list[Tick]
    going: list[NightRecord]
    nights: list[NightRecord]


def had_machine(run: Run) -> bool:
    """Whether there has been a machine, or a process here, for the run at any time."""
    return run.machine is not None or any(attempt.machine is not None for attempt in run.attempts)


def judge(run: Run) -> Judged:
    """How a run stands, out of its records; its machine, if it is rented, was looked at just before."""
    if run.begun is None:
        return Judged(None, f"there are no records of run `{run.id}`")
    if reconcile.may_continue(run):
        return Judged(None, going=True)
    if not run.stack.direct and not reconcile.is_over(run):
        return Judged(None, "its machine is not proven gone", going=True)
    if not had_machine(run):
        return Judged(None, "its start came to nothing")
    if run.state == "finished":
        return Judged("finished", f"it cost {money(run.spent_usd())}")
    failed = outcome.unfinished(run)
    return Judged("failed", f"{failed.message} ({failed.hint})" if failed.hint else failed.message)


def settle(store: Store, schedule: str, nights: Sequence[NightRecord], notes: list[str]) -> Settled:
    """Write down the end of every night's run that has one. What cannot be read is a note, and stops no other."""
    ticks: list[Tick] = []
    going: list[NightRecord] = []
    now = list(nights)
    for number, night in enumerate(nights):
        if night.outcome not in OPEN or not night.run:
            continue
        run = Run(store, night.run)
        try:
            judged = judge(run)
        except CloudtrainError as error:
            notes.append(f"the night of {night.date}: {error.message}")
            judged = Judged(None, going=True)  # nobody can say that it does not
        if judged.going:
            going.append(night)
        elif judged.outcome is not None or night.outcome == "started":
            word = judged.outcome or "failed"
            message = judged.message + (brought_home(run) if run.begun and run.stack.direct else "")
            now[number] = book.write_night(store, schedule, night.replace(outcome=word, message=message[:2000]))
            ticks.append(Tick(word, schedule, night.date, run.id, message))
    return Settled(ticks, going, now)


def brought_home(run: Run) -> str:
    """What a client does at the end of a run on this machine: no process is left, the quote learns, the result comes.

    Returns a part of a sentence about it.
    """
    with contextlib.suppress(CloudtrainError):  # it has ended; `ps` and `sweep` say what is left
        run = teardown.certify(run)
        measurements.learn(run)
    if run.state != "finished":
        return ""
    try:
        return f"; its result is in {pull.pull(run, Path(run.id))}"
    except CloudtrainError as error:
        return f"; {error.message}"
