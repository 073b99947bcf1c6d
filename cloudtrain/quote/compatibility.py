"""Which software loads and trains an architecture on a back end: the table `compatibility.csv`, first match wins."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("compatibility.csv")


class Compatibility(NamedTuple):
    """`verdict`: yes, experimental or `no trainer`; `stack`: packages with versions; `reason`: why not yes."""

    verdict: str
    stack: str
    reason: str


class _Entry(NamedTuple):
    backend: str
    families: frozenset[str]
    methods: frozenset[str]
    found: Compatibility


@cache
def entries() -> tuple[_Entry, ...]:
    """The table in its order."""
    with open(TABLE, encoding="utf-8", newline="") as file:
        return tuple(
            _Entry(
                row["backend"],
                frozenset(row["families"].split("|")),
                frozenset(row["methods"].split("|")),
                Compatibility(row["verdict"], row["stack"], row["reason"]),
            )
            for row in csv.DictReader(file)
        )


@cache
def compatibility(backend: str, family: str, method: str) -> Compatibility:
    """What is known of training `family` with `method` on `backend`; nothing known means no trainer."""
    for entry in entries():
        if (
            entry.backend == backend
            and not entry.families.isdisjoint((family, "*"))
            and not entry.methods.isdisjoint((method, "*"))
        ):
            return entry.found
    return Compatibility("no trainer", "", f"no entry for {family} with {method} on {backend or 'this hardware'}")
