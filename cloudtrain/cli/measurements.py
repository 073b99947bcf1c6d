"""`cloudtrain measurements`: what the state's own runs have measured, and how to take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.tables import Column
from cloudtrain.cli.tables import figure as number
from cloudtrain.errors import UsageError
from cloudtrain.units import gib, rfc3339

if TYPE_CHECKING:
    from cloudtrain.records import MeasurementRecord

COLUMNS = (Column("run", fold=False), Column("ended", fold=False, drop=4), Column("model"), Column("machine"),
           Column("method", drop=8), Column("software", drop=1), number("tokens/s"), number("steps", drop=5),
           number("tokens", drop=3), number("length", drop=6), number("load", drop=7), number("peak", drop=2),
           number("worth"))  # fmt: skip


@click.group("measurements", short_help="List or forget what your runs have measured.")
def command() -> None:
    """List or forget what finished runs have measured here. A quote corrects the shipped figures with it."""


@command.command("list")
@output_option()
def list_(output: str) -> None:
    """Every measurement, oldest first.

    `load` is the share of the processors that others had, `worth` how much it counts for the same job: 1 is a long run
    on an idle machine.
    """
    from cloudtrain import settings
    from cloudtrain.runs.results.measurements import known
    from cloudtrain.state.store import open_store

    found = known(open_store(settings.load().state))
    if output == "json":
        print_json([document(each) for each in found])
        return
    print_rows(output, COLUMNS, [row(each) for each in found])
    if output == "table" and not found:
        print_message("nothing has been measured here")


@command.command("forget")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--all", "everything", is_flag=True, help="All of them.")
def forget(runs: tuple[str, ...], everything: bool) -> None:
    """Take back what the RUNs have measured: later quotes know nothing of it. The runs themselves stay."""
    from cloudtrain import settings
    from cloudtrain.runs.results import measurements
    from cloudtrain.state.store import open_store

    if bool(runs) == everything:
        raise UsageError("it is not said what is to be forgotten", "name runs, or --all")
    count = measurements.forget(open_store(settings.load().state), None if everything else runs)
    print_message(f"{count} forgotten")


def document(measured: MeasurementRecord) -> dict[str, Any]:
    """A measurement for JSON."""
    return {
        "run": measured.run,
        "ended_at": rfc3339(measured.time),
        "model": measured.model,
        "provider": measured.provider,
        "hardware": measured.hardware,
        "count": measured.count,
        "method": measured.method,
        "stack": measured.stack,
        "out_of_memory": measured.out_of_memory,
        "tokens_per_second": measured.tokens_per_second,
        "steps": measured.steps,
        "tokens": measured.tokens,
        "sequence_length": measured.sequence_length,
        "load": measured.load,
        "peak_bytes": measured.peak_bytes,
        "worth": worth(measured),
    }


def row(measured: MeasurementRecord) -> list[str]:
    """A measurement as a table row."""
    machine = " ".join(filter(None, (measured.provider, f"{measured.count} x {measured.hardware}")))
    counts = worth(measured)
    return [
        measured.run or "-",
        rfc3339(measured.time) or "-",
        measured.model or "-",
        machine,
        measured.method or "-",
        measured.stack or "-",
        "out of memory" if measured.out_of_memory else figure(measured.tokens_per_second, ",.4g"),
        figure(measured.steps, ",.0f"),
        figure(measured.tokens, ",.0f"),
        figure(measured.sequence_length, ",.0f"),
        figure(measured.load, ".0%"),
        gib(int(measured.peak_bytes)) if measured.peak_bytes else "-",
        "-" if counts is None else f"{counts:.2f}",
    ]


def figure(value: float | None, form: str) -> str:
    """A number, or a dash for none."""
    return "-" if value is None else format(value, form)


def worth(measured: MeasurementRecord) -> float | None:
    """How much its speed counts for the same job, 0 to 1; None without one."""
    from cloudtrain.quote.lessons.weighting import RUN_SD, own_variance

    if measured.out_of_memory or not measured.flops_per_s:
        return None
    return round(RUN_SD**2 / own_variance(measured.steps, measured.tokens, measured.load), 3)
