"""A job's data files as rows: those to train on, those held back, and the bad ones as BadData with their line."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from failures import BadData
from job import Job
from rows import BadRow, Faults, Row, Source, Unreadable

SHOWN = 5  # kinds of faults in a message


def read_rows(job: Job) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows to evaluate on. Raises BadData, a sentence for each kind of fault, for bad ones."""
    train, held_out = split(list(read(Path(job.data.path), job.data.format, job.train_on)), job)
    if job.data.eval_path is not None:
        held_out = list(read(Path(job.data.eval_path), job.data.format, job.train_on))
    return train, held_out


def read(path: Path, kind: str | None, train_on: str = "assistant") -> Iterator[Row]:
    """The rows of a file in the format `kind`, or in the one its first row shows, up to the first bad one.

    Raises BadData at the end, with the kinds of faults and their lines, and for a file without rows.
    """
    empty, faults, unit = True, Faults(), ""
    for found in problems(path, kind, train_on):
        empty = False
        if isinstance(found, BadData):
            faults.add(found.line, found.problem, found.kind)
            unit = found.unit
        elif not faults.count:
            yield found
    if faults.count:
        raise told(faults, unit)
    if empty:
        raise BadData(f"{path.name} has no rows")


def told(faults: Faults, unit: str) -> BadData:
    """All faults as one: a line for each kind, the first without its place, which BadData says itself."""
    kinds = list(faults.told(unit))[:SHOWN]
    first, *others = kinds
    lines = [first.sentence, *(str(BadData(kind.sentence, kind.line, unit=unit)) for kind in others)]
    if more := faults.count - sum(kind.count for kind in kinds):
        lines.append(f"and {more} more")
    return BadData("\n".join(lines), first.line, unit=unit)


def problems(path: Path, kind: str | None, train_on: str = "assistant") -> Iterator[Row | BadData]:
    """Like `read`, but a bad row comes as its BadData and the reading continues; an unreadable file still raises it."""
    try:
        source = Source(path, kind, train_on)
        for line, found in source:
            yield BadData(str(found), line, found.kind, source.unit) if isinstance(found, BadRow) else found
    except Unreadable as unreadable:
        raise BadData(f"{path} {unreadable.message}", unreadable.line) from None


def split(found: list[Row], job: Job) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows held back by `eval_fraction`, the same ones in every process of a run.

    At least one of each when the fraction is above 0 and there are two.
    """
    count = 0
    if job.data.eval_path is None and job.data.eval_fraction > 0 and len(found) > 1:
        count = min(max(1, round(len(found) * job.data.eval_fraction)), len(found) - 1)
    held = set(random.Random(job.seed).sample(range(len(found)), count))  # noqa: S311
    return [row for at, row in enumerate(found) if at not in held], [found[at] for at in sorted(held)]
