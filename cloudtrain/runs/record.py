"""A run read from its documents: what state it is in, what it has cost so far, where its log is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from cloudtrain.errors import ProviderError, RunNotFound
from cloudtrain.providers import Stack, load
from cloudtrain.runs import claims
from cloudtrain.runs.metering import Machine, machine_of
from cloudtrain.state import layout
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import read_record, write_record
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from cloudtrain.records import (
        AttemptRecord,
        ExitRecord,
        Figures,
        GoneRecord,
        Heartbeat,
        IntentRecord,
        MachineRecord,
        QuoteRecord,
        Record,
        RowRecord,
    )

R = TypeVar("R", bound="Record")

RESUMABLE = {"stopped", "failed", "died", "cancelled"}
OVER_CAP = "over_cap"  # why a machine ended itself: its own rate said that the cap might not do
ADDRESSES_END = "addresses end"  # why a machine of a run in segments ended
EARLY_S = 600.0  # a machine stops before its deadline, to save; and its clock is another one
ENDED_STATES = {
    "done": "finished",
    "cancelled": "cancelled",
    "deadline": "stopped",
    "preempted": "stopped",
    OVER_CAP: "stopped",
}


@dataclass(frozen=True)
class Run:
    """One run in a state folder. Documents are read when asked for and kept; make a new Run to look again."""

    store: Store
    id: str

    def key(self, name: str) -> str:
        """The state key of one of the run's documents, of those that its machine writes too."""
        return f"{self.machine_folder}/{name}" if layout.is_machines(name) else layout.run_key(self.id, name)

    @property
    def machine_folder(self) -> str:
        """The state key of the folder in which its machine writes; of a run that has not begun as of a new one."""
        return layout.machine_folder(self.id, layout.NEWEST if self.begun is None else self.begun.layout)

    def document(self, name: str, kind: type[R]) -> R | None:
        """One of the run's documents, or None. Raises DamagedRecord."""
        return read_record(self.store, self.key(name), kind)

    def write(self, name: str, record: Record) -> None:
        """Write one of the run's documents."""
        write_record(self.store, self.key(name), record)

    def event(self, what: str, **more: Any) -> None:
        """Add a line to the run's events."""
        from cloudtrain.records import EventRecord

        line = EventRecord(time=time.time(), actor="client", event=what, **more)
        self.store.append(self.key("events.jsonl"), line.as_line())

    def journal(self, phase: str, call: str, **more: Any) -> None:
        """Write ahead: `intent` before a call that makes or ends something, `done` or `failed` after it."""
        from cloudtrain.records import JournalRecord

        line = JournalRecord(time=time.time(), phase=phase, call=call, **more)
        self.store.append(self.key("journal.jsonl"), line.as_line())

    @cached_property
    def begun(self) -> IntentRecord | None:
        """What is wanted; None for a run that has not begun: its folder may exist before."""
        from cloudtrain.records import IntentRecord

        return self.document("intent.json", IntentRecord)

    @property
    def intent(self) -> IntentRecord:
        """What is wanted of a run that has begun. Raises RunNotFound for another one."""
        if self.begun is None:
            raise RunNotFound(f"run `{self.id}` has not begun", "`cloudtrain ps -a` lists the runs")
        return self.begun

    @property
    def wanted(self) -> str:
        """up | down, "" for a run that has not begun."""
        return "" if self.begun is None else self.begun.wanted

    @cached_property
    def quote(self) -> QuoteRecord | None:
        from cloudtrain.records import QuoteRecord

        return self.document("quote.json", QuoteRecord)

    @property
    def line(self) -> RowRecord | None:
        """The row that the newest attempt was launched on, its price frozen."""
        return None if self.quote is None else self.quote.line

    @cached_property
    def machine(self) -> MachineRecord | None:
        from cloudtrain.records import MachineRecord

        return self.document("machine.json", MachineRecord)

    @cached_property
    def exit(self) -> ExitRecord | None:
        """How its newest attempt ended, in the words of its machine."""
        attempt = None if self.begun is None else self.begun.attempt
        return claims.exit_record(self.store, self.key("exit.json"), attempt)

    @cached_property
    def heartbeat(self) -> Heartbeat | None:
        return claims.heartbeat(self.store, self.key("hb.json"))

    @property
    def figures(self) -> Figures | None:
        """The newest figures that the machine left."""
        return self.exit or self.heartbeat

    @cached_property
    def gone(self) -> GoneRecord | None:
        from cloudtrain.records import GoneRecord

        return self.document("gone.json", GoneRecord)

    @cached_property
    def stack(self) -> Stack:
        """The stack that launched it."""
        return load("stacks", self.intent.provider, Stack)

    @property
    def is_rented(self) -> bool:
        """Whether it has begun, and not on this machine."""
        return self.begun is not None and not self.stack.direct

    @cached_property
    def alive(self) -> bool:
        """Whether its machine answers for it now."""
        return self.machine is not None and self.gone is None and self.stack.alive(self.machine)

    @cached_property
    def state(self) -> str:
        """starting | running | unknown | finished | stopped | failed | cancelled | died.

        `unknown`: the provider cannot be asked. `died`: supervisor or machine are gone and left no exit record.
        `stopped`, `failed`, `cancelled` and `died` can be resumed by `up` with the same spec.
        """
        if self.exit is not None:
            return ENDED_STATES.get(self.exit.reason, "failed")
        try:
            if self.alive:
                return "running"
        except ProviderError:
            return "unknown"
        if self.gone is not None and self.wanted == "down":
            return "cancelled"
        if self.machine is None:
            return self._state_without_machine()
        if not self.stack.direct and time.time() >= self.intent.deadline:
            return "stopped"
        return "died"

    def _state_without_machine(self) -> str:
        if self.wanted != "up":
            return "cancelled"
        if self.gone is not None:
            return "failed"
        if self.is_abandoned and self.stack.direct and not self._has_processes():
            return "died"
        return "starting"

    def _has_processes(self) -> bool:
        """Whether anything of it exists at a direct stack."""
        return (self.id, self.intent.state) in _owners(self.stack, int(time.monotonic()))

    @cached_property
    def addresses_ended(self) -> bool:
        """Whether its newest machine, of a run in segments, lived as long as its addresses; then the run may go on.

        By what the client wrote down before and after: no machine's word can bring it about before that time.
        """
        if self.begun is None or self.begun.run_deadline is None or self.begun.run_deadline <= self.begun.deadline:
            return False
        if self.exit is not None and self.exit.reason not in ("deadline", "preempted"):
            return False
        return (self.gone.time if self.gone else time.time()) >= self.begun.deadline - EARLY_S

    @property
    def stop_reason(self) -> str:
        """Why its newest machine ended, as far as that is known."""
        if self.addresses_ended:
            return ADDRESSES_END
        return self.exit.reason if self.exit else self.state

    @property
    def ends(self) -> float:
        """When the whole run is over at the latest, in epoch seconds."""
        return self.intent.run_deadline or self.intent.deadline

    @cached_property
    def is_abandoned(self) -> bool:
        """Whether it has no machine that is known, and the client that was to make one is gone.

        At a provider it may have one all the same: `poll` finds it, `down` ends it.
        """
        return self.machine is None and self.wanted == "up" and not self.store.is_held(self.key("client.lock"))

    @cached_property
    def attempts(self) -> list[AttemptRecord]:
        """Earlier attempts, oldest first."""
        from cloudtrain.records import AttemptRecord

        names = self.store.children(self.key("attempts"))
        return [self.document(f"attempts/{name}", AttemptRecord) or AttemptRecord() for name in names]

    @property
    def places(self) -> tuple[RowRecord, ...]:
        """Where else a machine may be looked for."""
        from cloudtrain.records import CandidatesRecord

        found = self.document("candidates.json", CandidatesRecord)
        return () if found is None else found.places

    def metered_s(self) -> float:
        """Seconds for which a machine stood, over all attempts; a running one counts up to now."""
        return sum(machine.seconds for machine in self.machines())

    def machines(self, claims_count: bool = True) -> list[Machine]:
        """Every machine that the run has had, oldest first; see `spent_usd`."""
        from cloudtrain.records import AttemptRecord

        now = AttemptRecord(
            machine=self.machine,
            exit=self.exit,
            gone=self.gone,
            last_seen=self._last_seen(),
            line=self.line,
            deadline=None if self.begun is None else self.begun.deadline,
            addresses_ended=self.gone is not None and self.addresses_ended,
        )
        direct = self.begun is None or self.stack.direct
        attempts = [*self.attempts, now]
        if not (claims_count or direct):
            attempts = [attempt.replace(exit=None) for attempt in attempts]
        found = [machine_of(attempt, attempt.line or self.line, direct) for attempt in attempts]
        return [machine for machine in found if machine is not None]

    def _last_seen(self) -> float | None:
        """Until when the machine is known to have stood."""
        if self.machine is None or not self.stack.direct:
            return None
        if self.alive:
            return time.time()
        return None if self.heartbeat is None else self.heartbeat.time

    @property
    def usd_per_hour(self) -> Decimal | None:
        """The price frozen at launch."""
        return None if self.line is None else self.line.price_usd_per_hour

    def spent_usd(self, claims_count: bool = True) -> Decimal | None:
        """Metered time at the frozen prices; None when one of them is unknown.

        Without claims a rented machine counts until its end was proven, whatever it says of its own end.
        """
        machines = self.machines(claims_count)
        if not machines and self.usd_per_hour is None:
            return None
        if any(machine.usd_per_hour is None for machine in machines):
            return None
        return sum(
            (machine.usd_per_hour or Decimal(0)) * Decimal(machine.seconds) / SECONDS_PER_HOUR for machine in machines
        ) or Decimal(0)


@lru_cache(maxsize=1)
def _owners(stack: Stack, second: int) -> frozenset[tuple[str, str]]:
    """(run, id of its state) of what exists at a direct stack; looked at once a second, however many runs ask."""
    return frozenset((owned.run, owned.inputs.get("state", "")) for owned in stack.list_owned())
