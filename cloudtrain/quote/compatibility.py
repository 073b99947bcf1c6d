"""Which software loads and trains an architecture on a back end: tables `compatibility.csv`, first match wins in each.

Every trainer back end has one of its own in its folder; the one here is for hardware that no trainer of ours drives.
Where several trainers have an architecture, the best verdict counts, then the trainer's own preference there.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cloudtrain import backends

TABLE = Path(__file__).with_name("compatibility.csv")
VERDICTS = ("yes", "experimental", "no trainer")  # the best first


class Compatibility(NamedTuple):
    """`verdict`: one of VERDICTS; `stack`: packages with versions; `reason`: why not yes; `trainer`: whose word it is.

    `trainer` is the name of a trainer back end, "" where none of ours has anything to say.
    """

    verdict: str
    stack: str
    reason: str
    trainer: str = ""


class _Entry(NamedTuple):
    backend: str
    families: frozenset[str]
    methods: frozenset[str]
    found: Compatibility

    def holds(self, backend: str, family: str, method: str) -> bool:
        """Whether this row is about training `family` with `method` on `backend`."""
        return (
            self.backend == backend
            and not self.families.isdisjoint((family, "*"))
            and not self.methods.isdisjoint((method, "*"))
        )


@cache
def entries() -> tuple[_Entry, ...]:
    """All tables, each in its order."""
    tables = [(backend.name, backend.table("compatibility.csv")) for backend in backends.all_backends()]
    return tuple(entry for trainer, path in [*tables, ("", TABLE)] if path for entry in _read(path, trainer))


def _read(path: Path, trainer: str) -> list[_Entry]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            _Entry(
                row["backend"],
                frozenset(row["families"].split("|")),
                frozenset(row["methods"].split("|")),
                Compatibility(row["verdict"], row["stack"], row["reason"], trainer),
            )
            for row in csv.DictReader(file)
        ]


@cache
def compatibility(backend: str, family: str, method: str) -> Compatibility:
    """What is known of training `family` with `method` on `backend`; nothing known means no trainer."""
    first: dict[str, Compatibility] = {}
    for entry in entries():
        if entry.holds(backend, family, method):
            first.setdefault(entry.found.trainer, entry.found)
    if not first:
        return Compatibility("no trainer", "", f"no entry for {family} with {method} on {backend or 'this hardware'}")
    order = list(backends.in_order(backend))
    return min(first.values(), key=lambda found: (VERDICTS.index(found.verdict), order.index(found.trainer)))
