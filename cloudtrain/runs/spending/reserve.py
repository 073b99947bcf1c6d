"""Reserve what a run may cost before anything is made for it, so that two starts cannot both take what is left.

The check and the write are done under a lease, and checked again after the write: a holder that slept until its lease
was another's then sees what that one has reserved, and withdraws. Nobody removes what counts: a reservation is settled
by the records of its run's end, which `down`, `poll` and `sweep` write without knowing of any budget.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import NotFinished, OverBudget
from cloudtrain.runs.events import Emit, Message, ignore
from cloudtrain.runs.listing import refuse_damaged
from cloudtrain.runs.record import Run
from cloudtrain.runs.spending import budget, standing, sums
from cloudtrain.runs.spending.standing import LAPSE_S, RESERVATIONS, Scan
from cloudtrain.settings import now
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import write_record

if TYPE_CHECKING:
    from cloudtrain.records import BudgetsRecord, ReservationRecord

LEASE = "budgets/lock"
WAIT_S, PAUSE_S, TELL_S = 150.0, 0.1, 5.0  # longer than a dead client's lease in a bucket lasts
KEPT_S = 86400.0  # a settled reservation stays so long: whoever has read the runs before it was settled counts it
FRESH_S = 600.0  # a look at all runs is good for so long: what is reserved is read each time
BEFORE_LAPSE_S = 120.0  # a run's record is begun to be written so long before, or not at all


class Wanted(NamedTuple):
    """What a run wants: the most that it may cost from now on (None: unknown), and when its last machine ends."""

    run: Run
    usd: Decimal | None
    until: float


@dataclass
class Funds:
    """What one session may spend. `month_usd` tightens the state's limit for the month."""

    store: Store
    month_usd: Decimal | None = None
    emit: Emit = ignore
    _seen: Scan | None = field(default=None, init=False)
    _seen_at: float = field(default=0.0, init=False)

    def check(self, wanted: Wanted) -> None:
        """Raises OverBudget with the sum when it is too much; nothing is reserved. Raises as `budget.read`."""
        limits = budget.in_force(self.store, self.month_usd)
        if budget.is_limited(limits) and wanted.usd != 0:
            self._refuse_or_pass(limits, wanted)

    def reserve(self, wanted: Wanted) -> float | None:
        """Reserve it, in place of what was reserved for the run before. Returns until when its run may begin with it.

        None where nothing limits it, or it costs nothing. Raises OverBudget as `check`, and NotFinished while another
        client holds the lease for too long.
        """
        limits = budget.in_force(self.store, self.month_usd)
        if not budget.is_limited(limits) or wanted.usd == 0:
            if wanted.run.begun is not None:
                release(wanted.run)  # of another attempt
            return None
        with held(self.store, self.emit):
            before = standing.reservation(self.store, wanted.run.id)
            total = self._refuse_or_pass(limits, wanted)
            made = now()
            write_record(self.store, key(wanted.run), record(wanted, total, made))
            try:
                self._refuse_or_pass(limits, wanted)
            except BaseException:
                put_back(wanted.run, before)
                raise
            self._remove_settled()
        return made + LAPSE_S - BEFORE_LAPSE_S

    def _refuse_or_pass(self, limits: BudgetsRecord, wanted: Wanted) -> Decimal:
        """What all machines of the run cost together. Looks at all runs again before it raises OverBudget."""
        if self._seen is not None and time.monotonic() - self._seen_at < FRESH_S:
            with contextlib.suppress(OverBudget):
                return self._within(limits, wanted, self._seen)
        self._seen, self._seen_at = standing.scan(self.store, now()), time.monotonic()
        return self._within(limits, wanted, self._seen)

    def _within(self, limits: BudgetsRecord, wanted: Wanted, seen: Scan) -> Decimal:
        refuse_damaged(list(seen.damaged))
        at = now()
        accounts = standing.with_reservations(self.store, seen.accounts, at)
        accounts.pop(wanted.run.id, None)
        total = with_its_earlier_machines(wanted)
        others = standing.summed(limits, accounts.values(), at)
        sums.refuse(others, total)
        assert total is not None  # what is unknown was refused
        return total

    def _remove_settled(self) -> None:
        """Remove the reservations of runs that are over, or never began, a day after they were made."""
        for name in self.store.children(RESERVATIONS):
            run = Run(self.store, name.removesuffix(".json"))
            kept = standing.reservation(self.store, run.id)
            if kept is not None and now() > kept.made + KEPT_S and not standing.account(run, now(), kept).lives:
                release(run)


def with_its_earlier_machines(wanted: Wanted) -> Decimal | None:
    """What all machines of the run cost together at the most; None when a price is unknown."""
    if wanted.usd is None or not wanted.usd.is_finite():
        return None
    begun = Run(wanted.run.store, wanted.run.id)  # what is in the state now, not when the session began
    if begun.begun is None:
        return wanted.usd
    before = standing.metered_usd(begun)
    return None if before is None else before + wanted.usd


def record(wanted: Wanted, total: Decimal, made: float) -> ReservationRecord:
    """What is kept of it, for the attempt that comes next."""
    from cloudtrain.records import ReservationRecord

    attempt = next_attempt(Run(wanted.run.store, wanted.run.id))
    return ReservationRecord(run=wanted.run.id, usd=total, made=made, until=wanted.until, attempt=attempt)


def next_attempt(run: Run) -> int:
    """The number of the attempt that a start of the run begins now; see `launch.archive_attempt`."""
    is_archived = run.begun is not None and (run.machine is not None or not run.stack.direct)
    return len(run.attempts) + is_archived + 1


def put_back(run: Run, before: ReservationRecord | None) -> None:
    """What was reserved for it before, or nothing."""
    if before is None:
        release(run)
    else:
        write_record(run.store, key(run), before)


def release(run: Run) -> None:
    """Give back what was reserved for a run that has come to nothing."""
    run.store.delete(key(run))


def key(run: Run) -> str:
    """The state key of its reservation."""
    return f"{RESERVATIONS}/{run.id}.json"


@contextlib.contextmanager
def held(store: Store, emit: Emit) -> Iterator[None]:
    """Hold the lease on what is left of the budget, as soon as its holder is done. Raises NotFinished."""
    begun, told = time.monotonic(), False
    with contextlib.ExitStack() as lease:
        while True:
            try:
                lease.enter_context(store.hold(LEASE))
                break
            except AlreadyThere as other:
                waited = time.monotonic() - begun
                if waited > WAIT_S:
                    raise NotFinished(
                        f"another client has been reserving its budget for {waited:.0f} s: {other.message}",
                        "the same again in a moment",
                    ) from None
                if waited > TELL_S and not told:
                    told = True
                    emit(Message("waiting for another client that is reserving its budget"))
            time.sleep(PAUSE_S + min(2.0, waited / 10))
        yield
