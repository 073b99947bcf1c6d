"""Faults on demand: which call fails next, how, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import Literal

Kind = Literal[
    "lost_reply",  # performed; the connection drops before the answer
    "dropped",  # not performed; the connection drops
    "late",  # the connection drops; performed `seconds` later
    "cut",  # performed; the connection drops in the middle of the answer
    "throttled",  # 429, not performed
    "unavailable",  # 503, not performed
    "no_capacity",  # refused at once: nothing to be had here
    "no_capacity_later",  # accepted, and abandoned by the provider `seconds` later
    "quota",
    "permission",
    "balance",
    "stale",  # what this call makes is missing in lists for `seconds`
    "slow",  # what this call makes needs `seconds` until it is ready
    "refused",  # a delete is refused
]
FaultTable = list[tuple[str, tuple[Kind, ...]]]  # (call, what may happen to it)
DECISIVE = ("create", "insert", "runinstances", "delete", "terminate")
TRANSPORT: frozenset[str] = frozenset({"lost_reply", "dropped", "late", "cut", "throttled", "unavailable"})


@dataclass
class Fault:
    """The next `times` calls whose name matches `call` (with * and ?) fail like this."""

    call: str
    kind: Kind
    times: int = 1
    seconds: float = 0.0


@dataclass
class Faults:
    """The faults that are still to come, and those that happened."""

    waiting: list[Fault] = field(default_factory=list)
    happened: list[tuple[str, str]] = field(default_factory=list)

    def add(self, call: str, kind: Kind, times: int = 1, seconds: float = 0.0) -> None:
        """Let it fail."""
        self.waiting.append(Fault(call, kind, times, seconds))

    def take(self, call: str, *kinds: str) -> Fault | None:
        """The fault that this call meets now, if any of these kinds; it is used up by that."""
        for fault in self.waiting:
            if fault.times > 0 and fault.kind in kinds and fnmatchcase(call, fault.call):
                fault.times -= 1
                self.happened.append((call, fault.kind))
                return fault
        return None

    def clear(self) -> None:
        """No more faults."""
        self.waiting.clear()

    def scatter(self, random: Random, fault_table: FaultTable, count: int, longest_s: float, lag_s: float) -> None:
        """`count` random faults out of a cloud's menu, those of making and deleting more often than others.

        A call is late by up to `longest_s`, a list by up to `lag_s`.
        """
        weights = [4 if any(verb in call.lower() for verb in DECISIVE) else 1 for call, _ in fault_table]
        for _ in range(count):
            call, kinds = random.choices(fault_table, weights)[0]
            kind = random.choice(kinds)
            seconds = random.uniform(0.0, lag_s if kind == "stale" else longest_s)
            self.add(call, kind, random.choice((1, 1, 1, 2, 3)), seconds)
