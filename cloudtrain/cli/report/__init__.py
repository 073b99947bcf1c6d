"""`cloudtrain report`: what runs cost, quoted against metered against billed; sums, trends, and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from cloudtrain.cli import words
from cloudtrain.cli.options import Duration, output_option
from cloudtrain.cli.output import print_json, print_message
from cloudtrain.cli.ps import tell_last_ticks
from cloudtrain.cli.report import lists, one
from cloudtrain.errors import UsageError
from cloudtrain.report.cost_report import report
from cloudtrain.report.figures import several
from cloudtrain.runs.listing import find, readable_runs, refuse_damaged, tell_each

if TYPE_CHECKING:
    from cloudtrain.report.history import History
    from cloudtrain.report.totals import By
    from cloudtrain.state.protocol import Store

BY = ("week", "month", "provider", "spec")


@click.command("report", short_help="The account of RUN in full, or a line for each run.")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("--since", type=Duration(), help="Only runs begun in the last 7d, 12h ...")
@click.option("--billed", is_flag=True, help="First ask the providers what they have billed, where that is due.")
@click.option("--by", "by_what", type=click.Choice(BY), help="Sums of each week, month, provider or spec.")
@click.option("--trend", is_flag=True, help="How $/M tokens, tokens/s and losses of each spec move.")
@click.option("--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Write all of it as one page.")
@click.option("--share", is_flag=True, help="An anonymous line of each run's speed, to send to us.")
@output_option()
@click.pass_context
def command(  # noqa: PLR0913, PLR0917 - one argument for each option
    context: click.Context,
    run_name: str | None,
    since: float | None,
    billed: bool,
    by_what: By | None,
    trend: bool,
    page: Path | None,
    share: bool,
    output: str,
) -> None:
    """The account of RUN in full, or of all runs in a line each and a total.

    `-o md` is a summary of everything, for a CI step: sums, budget, the newest 30 nights. `--html FILE` writes a page
    that needs nothing else, and prints only what `-o` asks for. A spec is a schedule's name for runs that one began.
    """
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    if run_name is not None and (by_what or trend or page):
        raise UsageError("RUN is one run, and --by, --trend and --html are about all", "leave one of them out")
    if share and (by_what or trend or page or billed):
        raise UsageError("--share prints lines to send, and nothing else", "leave the other options out")
    if by_what and trend:
        raise UsageError("--by and --trend are two reports", "ask for one of them")
    store = open_store(settings.load().state)
    if billed:
        tell_billed(store)
    begun_after = settings.now() - since if since else 0.0
    if share:
        return lines_to_share(store, run_name, begun_after)
    if run_name is not None:
        account = report(find(store, run_name))
        return print_json(account.document()) if output == "json" else one.show(account, output)
    if page is None and not (by_what or trend or output == "md"):
        return every_run(store, begun_after, output)
    from cloudtrain.report.history import history

    sums_alone = page is None and bool(by_what or trend)
    found = history(store, settings.now(), begun_after, with_budget=not sums_alone)
    if page is not None:
        write_page(page, found)
    if page is None or context.get_parameter_source("output") is not ParameterSource.DEFAULT or by_what or trend:
        show(found, by_what, trend, output)
    refuse_damaged(list(found.faults))
    return None


def lines_to_share(store: Store, run_name: str | None, begun_after: float) -> None:
    """A line of JSON for each run that measured a speed. Raises UsageError where there is none."""
    from cloudtrain.report.share import document, shared

    runs, damaged = ([find(store, run_name)], []) if run_name is not None else readable_runs(store)
    lines = [line for run in runs if run.intent.created >= begun_after and (line := shared(run)) is not None]
    for line in lines:
        click.echo(json.dumps(document(line)))
    if not lines:
        what = f"run `{run_name}` has" if run_name is not None else "no run has"
        raise UsageError(
            f"{what} no speed to share", "a run that finished at least 1,000 tokens has one; a demo has not"
        )
    print_message("nothing else of these runs is in the lines: read them, then send them with an issue")
    refuse_damaged(damaged)


def tell_billed(store: Store) -> None:
    """Ask for the bills; what every provider says goes to stderr."""
    from cloudtrain import settings
    from cloudtrain.runs.results import bills

    for sentence in bills.refresh(store, settings.now()):
        print_message(sentence)


def every_run(store: Store, begun_after: float, output: str) -> None:
    """A line for each run. Raises UsageError at the end when there were damaged ones."""
    found, damaged = readable_runs(store)
    accounts, more = tell_each((run for run in found if run.intent.created >= begun_after), report)
    lists.show_runs(accounts, output)
    tell_last_ticks(store)
    refuse_damaged([*damaged, *more])


def show(found: History, by_what: By | None, trend: bool, output: str) -> None:
    """Print what was asked for."""
    if by_what:
        lists.show_sums(found, by_what, output)
    elif trend:
        lists.show_trend(found, output)
    elif output == "md":
        from cloudtrain.report.markdown import summary

        click.echo(summary(found), nl=False)
    else:
        lists.show_runs(list(found.accounts), output)


def write_page(path: Path, found: History) -> None:
    """Write the page, the old file or the whole new one. Raises UsageError when that cannot be done."""
    from cloudtrain.report.page.document import render
    from cloudtrain.report.page.file import write

    size = write(path, render(found))
    holds = f"{several(len(found.entries), 'run')}, {several(len(found.nights), 'night')}"
    print_message(f"wrote {path}: {holds}, {size / 1000:.0f} kB")
