"""`cloudtrain ps`: which runs there are and what they cost so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, state_cell
from cloudtrain.cli.tables import Column, figure
from cloudtrain.runs import teardown
from cloudtrain.runs.listing import readable_runs, refuse_damaged, tell_each
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import remaining
from cloudtrain.units import exact_text, hours, money, money_text, rfc3339

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store

ACTIVE = ("running", "starting", "unknown", "died")
COLUMNS = (Column("run", fold=False), Column("state"), Column("provider", drop=3), Column("offer", drop=2),
           figure("step", drop=4), figure("$/h"), figure("spent"), Column("started", fold=False, drop=1),
           Column("ends by", fold=False))  # fmt: skip
REFRESH_S = 2.0


@click.command("ps", short_help="The active runs; -a shows ended ones too.")
@click.option("-a", "--all", "everything", is_flag=True, help="Ended runs too.")
@click.option("-w", "--watch", is_flag=True, help="Refresh every two seconds until Ctrl-C.")
@output_option()
def command(everything: bool, watch: bool, output: str) -> None:
    """The active runs of this state; -a shows ended ones too."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    store = open_store(settings.load().state)
    while True:
        found, damaged = readable_runs(store)
        line_of = document if output == "json" else partial(row, output=output)
        wanted = partial(line, everything=everything, line_of=line_of)
        lines, more = tell_each(found, wanted)
        if watch:
            click.clear()
        show([each for each in lines if each is not None], output)
        if output != "json":
            tell_rests(found)
        tell_last_ticks(store)
        if not watch:
            break
        for sentence in (*damaged, *more):
            print_message(sentence)
        time.sleep(REFRESH_S)
    refuse_damaged([*damaged, *more])
    if not any(lines) and output == "table" and not everything:
        print_message("nothing is running; -a shows ended runs")


def tell_rests(runs: list[Run]) -> None:
    """On stderr, what the rest of each living run comes to by its own rate, and what will not do."""
    for rest, run in ((rest_of(run), run) for run in runs):
        for sentence in () if rest is None else (rest.describe(), *rest.warnings()):
            print_message(f"{run.id}: {sentence}")


def rest_of(run: Run) -> remaining.Remaining | None:
    """The rest of a run that makes steps; None of another one, and of one whose records do not fit together."""
    told, _ = tell_each([run], lambda run: remaining.of_run(run, run.heartbeat) if run.state == "running" else None)
    return told[0] if told else None


def tell_last_ticks(store: Store) -> None:
    """On stderr, when each schedule's last tick was and what it did; nothing without schedules."""
    from cloudtrain import settings
    from cloudtrain.nights import history

    for sentence in history.last_ticks(store, settings.now()):
        print_message(sentence)


def line(run: Run, everything: bool, line_of: Callable[[Run], Any]) -> Any:
    """The run's line, or None for one that is over when only the active ones are wanted."""
    return line_of(run) if everything or run.state in ACTIVE or may_stand(run) or waits(run) else None


def may_stand(run: Run) -> bool:
    """Whether its machine says that it has ended, and nobody has proven yet that it is gone."""
    return run.is_rented and run.machine is not None and run.gone is None


def show(lines: list[Any], output: str) -> None:
    """Print the runs' lines as asked."""
    if output == "json":
        print_json(lines)
    else:
        print_rows(output, COLUMNS, lines)


def document(run: Run) -> dict[str, Any]:
    """A run for JSON; see `cloudtrain schema ps`."""
    line, seen, rest = run.line, run.figures, rest_of(run)
    return {
        "run": run.id,
        "state": run.state,
        "provider": run.intent.provider,
        "offer": line.offer if line else None,
        "price_usd_per_hour": exact_text(run.usd_per_hour),
        "spent_usd": money_text(run.spent_usd()),
        "started_at": rfc3339(run.intent.created),
        "deadline_at": rfc3339(run.intent.deadline),
        **(segments_of(run) if run.intent.run_deadline is not None else {}),
        "step": seen.step if seen else None,
        "of": seen.of if seen else None,
        "requoted": None if rest is None else rest.document(),
        "guards": list(run.intent.guards),
    }


def segments_of(run: Run) -> dict[str, Any]:
    """What only a run in segments has."""
    return {"run_deadline_at": rfc3339(run.ends), "goes_on": waits(run)}


def waits(run: Run) -> bool:
    """Whether no machine stands because the last one's addresses have ended, and `poll` starts the next."""
    return run.addresses_ended and teardown.wants_another(run)


def row(run: Run, output: str = "table") -> list[str]:
    """A run for a person."""
    left = run.intent.deadline - time.time()
    return [
        run.id,
        f"{run.state}, goes on" if waits(run) else state_cell(run.state, output),
        run.intent.provider,
        run.line.offer if run.line else "",
        run.figures.steps if run.figures else "-",
        money(run.usd_per_hour),
        money(run.spent_usd()),
        rfc3339(run.intent.created) or "",
        f"in {hours(left)}" if run.state in ACTIVE and left > 0 else "-",
    ]
