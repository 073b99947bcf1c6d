"""A job's data files as rows: those to train on, those held back, and the bad ones as BadData with their line."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import lines
from failures import BadData
from job import Job
from rows import BadRow, Row, Shape


def read_rows(job: Job) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows to evaluate on. Raises BadData, with the line, for the first bad one."""
    train, held_out = split(list(read(Path(job.data.path), job.data.format)), job)
    if job.data.eval_path is not None:
        held_out = list(read(Path(job.data.eval_path), job.data.format))
    return train, held_out


def read(path: Path, kind: str | None) -> Iterator[Row]:
    """The rows of a `.jsonl` (or `.csv` with a header) file in the format `kind`, or in the one its first row shows.

    Raises BadData, with the line, for the first row that cannot be trained on, and for a file without rows.
    """
    empty = True
    for found in problems(path, kind):
        if isinstance(found, BadData):
            raise found
        yield found
        empty = False
    if empty:
        raise BadData(f"{path.name} has no rows")


def problems(path: Path, kind: str | None) -> Iterator[Row | BadData]:
    """Like `read`, but a bad row comes as its BadData and the reading continues; an unreadable file still raises it."""
    shape = Shape(kind)
    try:
        for line, record in lines.records(path, lines.open_lines(path)):
            if isinstance(record, str):
                yield BadData(record, line)
                continue
            try:
                yield shape.row(record, line)
            except BadRow as bad:
                yield BadData(str(bad), line)
    except lines.Unreadable as unreadable:
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
