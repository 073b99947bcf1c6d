"""`cloudtrain events`: what happened to a run, when, and who did it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_rows
from cloudtrain.cli.tables import Column
from cloudtrain.errors import DamagedRecord
from cloudtrain.runs import claims
from cloudtrain.runs.listing import find
from cloudtrain.runs.record import Run
from cloudtrain.state.layout import EVENTS
from cloudtrain.units import rfc3339

if TYPE_CHECKING:
    from cloudtrain.records import EventRecord

COLUMNS = (Column("time", fold=False), Column("actor", drop=1), Column("event"), Column("details"))


@click.command("events")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@output_option()
def command(run_name: str | None, output: str) -> None:
    """The events of RUN, or of the newest run, oldest first."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    found = events(find(open_store(settings.load().state), run_name))
    if output == "json":
        print_json([document(event) for event in found])
        return
    rows = [[rfc3339(event.time) or "", event.actor, event.event, details(event)] for event in found]
    print_rows(output, COLUMNS, rows)


def events(run: Run) -> Iterable[EventRecord]:
    """The run's events; a line that was cut off by a crash, or is none, is passed over."""
    found = lines(run.store.read(run.key(EVENTS)) or b"")
    if run.machine_folder != f"runs/{run.id}":
        claimed = lines(claims.events(run.store, f"{run.machine_folder}/{EVENTS}"))
        found += [event if event.actor in claims.ACTORS else event.replace(actor="machine") for event in claimed]
    return sorted(found, key=lambda event: event.time)


def lines(data: bytes) -> list[EventRecord]:
    """The events in these lines."""
    from cloudtrain.records import EventRecord, read

    found = []
    for line in data.splitlines():
        with contextlib.suppress(DamagedRecord):
            found.append(read(EventRecord, line, f"`{EVENTS}`"))
    return found


def document(event: EventRecord) -> dict[str, Any]:
    """An event for JSON: as it was written, with its time as an instant."""
    written = event.as_document()
    del written["version"]
    return {**written, "time": rfc3339(event.time)}


def details(event: EventRecord) -> str:
    """An event's fields in addition to its name."""
    said = ", ".join(f"{key} {value}" for key, value in event.more.items())
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in said)
