"""Machines of one's own that every quote shows: `hardware.csv` beside the settings file, a line for each, as typed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cloudtrain.errors import UsageError, visible
from cloudtrain.settings.folders import config_path

NAME = "hardware.csv"
HEADER = ("hardware", "memory", "watts")


class Kept(NamedTuple):
    """One machine in the words of `quote --hardware --memory --watts`; "" where nothing was said."""

    hardware: str
    memory: str
    watts: str


def path() -> Path:
    """Where they are kept. Raises UsageError when there is no folder for settings."""
    settings = config_path()
    if settings is None:
        raise UsageError("there is no home folder for settings", "set CLOUDTRAIN_CONFIG to a file that can be written")
    return settings.with_name(NAME)


def read() -> tuple[Kept, ...]:
    """The machines in the order in which they were added. Raises UsageError with file and line of a fault."""
    settings = config_path()
    if settings is None or not os.path.exists(file := settings.with_name(NAME)):
        return ()
    import csv

    try:
        with open(file, encoding="utf-8", newline="") as stream:
            lines = list(csv.reader(stream))
    except (OSError, ValueError, csv.Error) as broken:
        raise UsageError(f"{file}: cannot be read ({visible(str(broken))})", "mend it, or move it away") from None
    for number, line in enumerate(lines, start=1):
        if len(line) != len(HEADER) or (number == 1) != (tuple(line) == HEADER) or not line[0].strip():
            raise UsageError(
                f"{file}:{number}: is not `{','.join(HEADER)}`", "`cloudtrain hardware add` writes such lines"
            )
    return tuple(Kept(*line) for line in lines[1:])


def write(machines: tuple[Kept, ...]) -> None:
    """Keep these and no others. Raises UsageError when the folder cannot be written."""
    import csv
    from io import StringIO

    from cloudtrain.settings.file import replace

    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows((HEADER, *machines))
    file = path()
    try:
        replace(file, text.getvalue())
    except OSError as refused:
        raise UsageError(
            f"{file}: cannot be written ({refused.strerror})", "set CLOUDTRAIN_CONFIG to another place"
        ) from None
