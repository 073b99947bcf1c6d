"""How long each machine of a run existed, and at what price: the metered side of the cost report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from decimal import Decimal

    from cloudtrain.records import AttemptRecord, MachineRecord, RowRecord

SELF_END_S = 120.0  # from the exit record of a rented machine to its end, at the most


class Machine(NamedTuple):
    """One machine of a run: what it was, for how long it existed, and why it ended ("" while it exists)."""

    id: str
    offer: str
    place: str
    seconds: float
    usd_per_hour: Decimal | None
    reason: str


def machine_of(attempt: AttemptRecord, line: RowRecord | None, direct: bool) -> Machine | None:
    """The machine of an attempt on a quoted row, by its documents; None when it had none."""
    machine, ended = attempt.machine, attempt.exit
    if machine is None:
        return None
    seconds = _span(attempt, machine) if direct else _billed_s(attempt, machine)
    reason = ended.reason if ended else "gone" if attempt.gone else ""
    if attempt.addresses_ended:
        reason = "addresses end"
    offer, price = ("", None) if line is None else (line.offer, line.price_usd_per_hour)
    return Machine(machine.id, offer, machine.place, seconds, price, reason)


def _billed_s(attempt: AttemptRecord, machine: MachineRecord) -> float:
    """Seconds that a rented machine stood: until its end was proven, at the longest until its guards fired.

    One that left an exit record ends itself at once, however late a client checks. Its clock may be wrong.
    """
    until = [attempt.gone.time if attempt.gone else time.time()]
    if attempt.deadline is not None:
        until.append(attempt.deadline)
    ended_at = attempt.exit.ended_at if attempt.exit else None
    if attempt.gone and ended_at and ended_at > machine.created:
        until.append(ended_at + SELF_END_S)
    return max(0.0, min(until) - machine.created)


def _span(attempt: AttemptRecord, machine: MachineRecord) -> float:
    """Seconds between a machine's creation and the last thing known of it."""
    end = (attempt.exit.ended_at if attempt.exit else None) or attempt.last_seen or machine.created
    return max(0.0, end - machine.created)
