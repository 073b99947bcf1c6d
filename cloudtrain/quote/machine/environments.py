"""Whether an environment of a trainer works on a machine: the back ends' tables `environments.csv`, first match wins.

A table without the column `hosts` is about any number of them.

`compatibility.csv` says which software trains an architecture on a back end; this says whether the packages that are
really shipped there fit what the machine brings: its accelerator, how many of it, and the image that it starts from.
"""

from __future__ import annotations

import csv
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cloudtrain import backends


class Job(NamedTuple):
    """What is to run: flavour of the environment, architecture, method."""

    flavour: str
    family: str
    method: str


class Verdict(NamedTuple):
    """`word`: yes, experimental, later or no; `reason`: why it is not yes; `instead`: the nearest thing that works.

    What is `later` can be planned, and is not started yet.
    """

    word: str
    reason: str = ""
    instead: str = ""


class _Entry(NamedTuple):
    flavour: str
    hardware: frozenset[str]
    families: frozenset[str]
    methods: frozenset[str]
    devices: str  # `1`, `2+` or `*`; so are the hosts
    hosts: str
    image: str  # a pattern
    verdict: Verdict

    def holds(self, job: Job, hardware: str, devices: int, hosts: int, image: str) -> bool:
        """Whether this is the row for a job on a machine."""
        return (
            self.flavour == job.flavour
            and not self.hardware.isdisjoint((hardware, "*"))
            and not self.families.isdisjoint((job.family, "*"))
            and not self.methods.isdisjoint((job.method, "*"))
            and self.devices in ("*", "1" if devices == 1 else "2+")
            and self.hosts in ("*", "1" if hosts == 1 else "2+")
            and fnmatchcase(image, self.image)
        )


@cache
def entries() -> tuple[_Entry, ...]:
    """All tables, each in its order; no two are about the same flavour."""
    tables = (backend.table("environments.csv") for backend in backends.all_backends())
    return tuple(entry for path in tables if path for entry in _read(path))


def _read(path: Path) -> list[_Entry]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            _Entry(
                row["flavour"],
                frozenset(row["hardware"].split("|")),
                frozenset(row["families"].split("|")),
                frozenset(row["methods"].split("|")),
                row["devices"],
                row.get("hosts", "*"),
                row["image"],
                Verdict(row["verdict"], row["reason"], row["instead"]),
            )
            for row in csv.DictReader(file)
        ]


def verdict(job: Job, hardware: str, devices: int, image: str, hosts: int = 1) -> Verdict:
    """What is known of the job on a machine; nothing known means no.

    `hardware` is a key of the accelerator table, `devices` what a framework sees of it, `image` what the machine starts
    from ("" where the stack does not say), `hosts` how many computers it is made of.
    """
    for entry in entries():
        if entry.holds(job, hardware, devices, hosts, image):
            found = entry.verdict
            return found._replace(reason=found.reason.format(devices=devices, hosts=hosts))
    return Verdict("no", f"nothing is known of the `{job.flavour}` environment on {hardware or 'this hardware'}")
