"""`cloudtrain events`: what happened to a run, when, and who did it."""

from __future__ import annotations

import json
from typing import Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_rows
from cloudtrain.runs.record import Run, find
from cloudtrain.units import rfc3339


@click.command("events")
@click.argument("run_name", metavar="[RUN]", required=False)
@output_option()
def command(run_name: str | None, output: str) -> None:
    """The events of RUN, or of the newest run, oldest first."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    found = events(find(open_store(settings.load().state), run_name))
    if output == "json":
        print_json([{**event, "time": rfc3339(event["time"])} for event in found])
        return
    rows = [
        [rfc3339(event["time"]) or "", event.get("actor", ""), event.get("event", ""), details(event)]
        for event in found
    ]
    print_rows(output, ("time", "actor", "event", "details"), rows)


def events(run: Run) -> list[dict[str, Any]]:
    """The run's events; a line that was cut off by a crash is passed over."""
    found = []
    for line in (run.store.read(run.key("events.jsonl")) or b"").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return sorted(found, key=lambda event: float(event["time"]))


def details(event: dict[str, Any]) -> str:
    """What an event says beside its name."""
    return ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("time", "actor", "event"))
