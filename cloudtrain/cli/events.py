"""`cloudtrain events`: what happened to a run, when, and who did it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_rows
from cloudtrain.errors import DamagedRecord
from cloudtrain.runs.listing import find
from cloudtrain.runs.record import Run
from cloudtrain.state.layout import EVENTS
from cloudtrain.units import rfc3339

if TYPE_CHECKING:
    from cloudtrain.records import EventRecord


@click.command("events")
@click.argument("run_name", metavar="[RUN]", required=False)
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
    print_rows(output, ("time", "actor", "event", "details"), rows)


def events(run: Run) -> Iterable[EventRecord]:
    """The run's events; a line that was cut off by a crash, or is none, is passed over."""
    from cloudtrain.records import EventRecord, read

    found = []
    for key in dict.fromkeys((run.key(EVENTS), f"{run.machine_folder}/{EVENTS}")):
        for line in (run.store.read(key) or b"").splitlines():
            try:
                found.append(read(EventRecord, line, f"`{EVENTS}`"))
            except DamagedRecord:
                continue
    return sorted(found, key=lambda event: event.time)


def document(event: EventRecord) -> dict[str, Any]:
    """An event for JSON: as it was written, with its time as an instant."""
    written = event.as_document()
    del written["version"]
    return {**written, "time": rfc3339(event.time)}


def details(event: EventRecord) -> str:
    """An event's fields in addition to its name."""
    return ", ".join(f"{key} {value}" for key, value in event.more.items())
