"""A run as its documents tell it: which there are, what state each is in, what it has cost so far."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

from cloudtrain.errors import ProviderError, RunNotFound, UsageError, nearest
from cloudtrain.providers import Stack, load
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import read_json, write_json
from cloudtrain.units import SECONDS_PER_HOUR

RESUMABLE = {"stopped", "failed", "died", "cancelled"}
SELF_END_S = 120.0  # from the last word of a rented machine to its end, at the most
ENDED_STATES = {"done": "finished", "cancelled": "cancelled", "deadline": "stopped", "preempted": "stopped"}


@dataclass(frozen=True)
class Run:
    """One run in a state folder. Documents are read when asked for and kept; make a new Run to look again."""

    store: Store
    id: str

    def key(self, name: str) -> str:
        """The state key of one of the run's documents."""
        return f"runs/{self.id}/{name}"

    def document(self, name: str) -> Any:
        """A JSON document of the run, or None."""
        return read_json(self.store, self.key(name))

    def write(self, name: str, document: Any) -> None:
        """Write a JSON document of the run."""
        write_json(self.store, self.key(name), document)

    def event(self, what: str, **more: Any) -> None:
        """Add a line to the run's events."""
        line = {"time": time.time(), "actor": "client", "event": what, **more}
        self.store.append(self.key("events.jsonl"), json.dumps(line).encode())

    def journal(self, phase: str, call: str, **more: Any) -> None:
        """Write ahead: `intent` before a call that makes or ends something, `done` or `failed` after it."""
        line = {"time": time.time(), "phase": phase, "call": call, **more}
        self.store.append(self.key("journal.jsonl"), json.dumps(line).encode())

    @cached_property
    def intent(self) -> dict[str, Any]:
        return self.document("intent.json") or {}

    @cached_property
    def quote(self) -> dict[str, Any]:
        return self.document("quote.json") or {}

    @cached_property
    def machine(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.document("machine.json")
        return found

    @cached_property
    def exit(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.document("exit.json")
        return found

    @cached_property
    def heartbeat(self) -> dict[str, Any]:
        return self.document("hb.json") or {}

    @cached_property
    def gone(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.document("gone.json")
        return found

    @property
    def stack(self) -> Stack:
        """The stack that launched it."""
        return load("stacks", self.intent["provider"], Stack)

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
            return ENDED_STATES.get(self.exit["reason"], "failed")
        try:
            if self.alive:
                return "running"
        except ProviderError:
            return "unknown"
        if self.gone is not None and self.intent.get("wanted") == "down":
            return "cancelled"
        if self.machine is None:
            if self.intent.get("wanted") == "up":
                return "starting" if self.gone is None else "failed"
            return "cancelled"
        if not self.stack.direct and time.time() >= float(self.intent.get("deadline", 0)):
            return "stopped"
        return "died"

    @cached_property
    def attempts(self) -> list[dict[str, Any]]:
        """Earlier attempts ({machine, exit}), oldest first."""
        names = self.store.children(self.key("attempts"))
        return [self.document(f"attempts/{name}") or {} for name in names]

    def metered_s(self) -> float:
        """Seconds for which a machine stood, over all attempts; a running one counts up to now."""
        return sum(machine.seconds for machine in self.machines())

    def machines(self) -> list[Machine]:
        """Every machine that the run has had, oldest first."""
        now = {"machine": self.machine, "exit": self.exit, "gone": self.gone, "last_seen": self._last_seen()}
        attempts = [{"line": self.quote.get("line"), **attempt} for attempt in self.attempts]
        attempts.append({**now, "line": self.quote.get("line"), "deadline": self.intent.get("deadline")})
        direct = not self.intent or self.stack.direct
        return [machine_of(attempt, direct) for attempt in attempts if attempt.get("machine")]

    def _last_seen(self) -> float | None:
        """Until when the machine is known to have stood."""
        if self.machine is None or not self.stack.direct:
            return None
        return time.time() if self.alive else self.heartbeat.get("time")

    @property
    def usd_per_hour(self) -> Decimal | None:
        """The price frozen at launch."""
        text = self.quote.get("line", {}).get("price_usd_per_hour")
        return None if text is None else Decimal(text)

    def spent_usd(self) -> Decimal | None:
        """Metered time at the frozen prices; None when one of them is unknown."""
        machines = self.machines()
        if not machines and self.usd_per_hour is None:
            return None
        if any(machine.usd_per_hour is None for machine in machines):
            return None
        return sum(
            (machine.usd_per_hour or Decimal(0)) * Decimal(machine.seconds) / SECONDS_PER_HOUR for machine in machines
        ) or Decimal(0)


class Machine(NamedTuple):
    """One machine of a run: what it was, for how long it stood, and why it ended ("" while it stands)."""

    id: str
    offer: str
    place: str
    seconds: float
    usd_per_hour: Decimal | None
    reason: str


def machine_of(attempt: dict[str, Any], direct: bool) -> Machine:
    """The machine of an attempt as its documents tell it."""
    machine, line, ended = attempt["machine"], attempt.get("line") or {}, attempt.get("exit") or {}
    price = line.get("price_usd_per_hour")
    seconds = _span(machine, ended, attempt.get("last_seen")) if direct else _billed_s(attempt)
    reason = ended.get("reason") or ("gone" if attempt.get("gone") else "")
    text = None if price is None else Decimal(price)
    return Machine(str(machine["id"]), str(line.get("offer", "")), str(machine.get("place", "")), seconds, text, reason)


def _billed_s(attempt: dict[str, Any]) -> float:
    """Seconds that a rented machine stood: until its end was proven, at the longest until its guards fired.

    One that left its last word ends itself at once, however late somebody looks. Its clock may be wrong.
    """
    created = float(attempt["machine"]["created"])
    until = [float((attempt.get("gone") or {}).get("time") or time.time())]
    if attempt.get("deadline") is not None:
        until.append(float(attempt["deadline"]))
    ended_at = (attempt.get("exit") or {}).get("ended_at")
    if attempt.get("gone") and ended_at and float(ended_at) > created:
        until.append(float(ended_at) + SELF_END_S)
    return max(0.0, min(until) - created)


def _span(machine: Any, exit_record: Any, last_seen: Any) -> float:
    """Seconds between a machine's creation and the last thing known of it."""
    if not machine:
        return 0.0
    end = (exit_record or {}).get("ended_at") or last_seen or machine["created"]
    return max(0.0, float(end) - float(machine["created"]))


def log_size(run: Run) -> int:
    """Bytes of log so far."""
    names = run.store.children(run.key("log"))
    if not names:
        return 0
    return int(names[-1]) + run.store.size(run.key(f"log/{names[-1]}"))


def readable_runs(store: Store) -> tuple[list[Run], list[str]]:
    """Every run whose first document can be read, newest first; and a sentence about each that cannot.

    A state that cannot be reached is no damage: that is raised.
    """
    from cloudtrain.state.errors import BucketDenied, BucketUnreachable

    runs, damaged = [], []
    for name in store.children("runs"):
        run = Run(store, name)
        try:
            if run.intent:
                runs.append(run)
        except (BucketDenied, BucketUnreachable):
            raise
        except UsageError as error:
            damaged.append(error.message)
    return sorted(runs, key=lambda run: float(run.intent.get("created", 0)), reverse=True), damaged


def refuse_damaged(damaged: list[str]) -> None:
    """Raises UsageError when there is a sentence about a damaged record."""
    if damaged:
        raise UsageError("; ".join(damaged), "move it away; `cloudtrain sweep` finds what such a run may have rented")


def all_runs(store: Store) -> list[Run]:
    """Every run of the state, newest first. Raises UsageError when one of them cannot be read."""
    runs, damaged = readable_runs(store)
    refuse_damaged(damaged)
    return runs


def find(store: Store, text: str | None) -> Run:
    """The run with this id or unique beginning; the newest when no id is given. Raises RunNotFound.

    Another run's damaged record is no hindrance for one that is named in full.
    """
    if text is not None and (named := Run(store, text)).intent:
        return named
    runs = all_runs(store)
    if text is None:
        if not runs:
            raise RunNotFound("there is no run yet", "`cloudtrain up` starts one")
        return runs[0]
    matches = [run for run in runs if run.id.startswith(text)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RunNotFound(f"`{text}` begins several runs: {', '.join(run.id for run in matches)}", "write more of it")
    close = nearest(text, [run.id for run in runs])
    raise RunNotFound(
        f"no run `{text}` in `{store.url}`",
        f"did you mean `{close}`?" if close else "`cloudtrain ps -a` lists the runs",
    )
