"""The rows of a quote on paper or a terminal: both tables, what to know below them, a pager."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import click

from cloudtrain.cli.output import bold, colour_wanted, dim, print_message, print_rows, print_text, terminal_width

if TYPE_CHECKING:
    from cloudtrain.quote.ages import Ages
    from cloudtrain.quote.remedy.remedies import Advisor
    from cloudtrain.quote.row import Quote


@contextmanager
def paged(wanted: bool) -> Iterator[None]:
    """Show what is printed meanwhile in a pager, if that is wanted and stdout is a terminal."""
    if not wanted or not sys.stdout.isatty():
        yield
        return

    class Page(io.StringIO):
        def isatty(self) -> bool:
            return True

    page = Page()
    with redirect_stdout(page):
        yield
    click.echo_via_pager(page.getvalue(), color=colour_wanted())


def show(quoted: Quote, output: str, unfold: bool, remedy: Advisor) -> None:
    """The header and both tables."""
    from cloudtrain.cli.quote import table

    for line in table.header(quoted):
        print_text(bold(line) if output == "table" else line)
    click.echo()
    width = terminal_width() if output == "table" else None
    rows = table.viable_rows(table.viable_groups(quoted, unfold), quoted.chosen)
    if rows:
        columns, kept = table.arranged(rows, width)
        print_rows(output, columns, kept if output == "md" else table.coloured(columns, kept))
    others = table.other_rows(table.other_groups(quoted, unfold), remedy.change)
    if others:
        click.echo(f"\n{dim('cannot finish it' if rows else 'nothing can finish it')}\n")
        for sentence in remedy.instead if remedy.best else ():
            print_text(sentence)
        if remedy.best:
            click.echo()
        print_rows(output, table.OTHERS, others if output == "md" else table.coloured(table.OTHERS, others))


def show_foot(quoted: Quote, output: str) -> None:
    """What to know before money is spent."""
    from cloudtrain import settings
    from cloudtrain.cli.quote import owned
    from cloudtrain.quote import ages

    now = settings.now()
    for line in owned.notes(quoted, terminal_width() if output == "table" else None):
        click.echo(line)
    for provider, reason in quoted.failures:
        print_message(f"no prices from {provider}: {reason}")
    if any(line.assessment.learnt for line in quoted.lines):
        print_text("\n^ corrected by runs measured here: --why ROW says how, `cloudtrain measurements list` which")
    if untried := {line.assessment.untried for line in quoted.lines if line.viable} - {""}:
        print_text(f"\n? {', '.join(sorted(untried))}: the speed is foretold from other people's runs there")
    found = ages.by_provider((line.offer for line in quoted.lines if line.viable), now)
    click.echo()
    if found:
        warn = ages.is_worth_a_warning((line.offer for line in quoted.lines if line.viable), now)
        print_text(f"{read_ages(found)}{'; check before you pay' if warn else ''}")
    if quoted.chosen is None:
        click.echo("`up` would choose: none of these yet (launch says why)")
    else:
        click.echo(f"`up` would choose: #{quoted.chosen} {quoted.id_of(quoted.chosen)}")
        for sentence in ages.refusal(quoted.lines[quoted.chosen].offer, now):
            print_text(f"  {sentence}")
    print_text("--why ROW explains a row (its id, or as shown), --all unfolds the folded ones")


def read_ages(found: Mapping[str, Ages]) -> str:
    """How old each provider's prices are, and which list was read: `aws 0 (2026-11-30 ab12cd34); shipped: gcp 91`."""
    named = os.environ.get("CLOUDTRAIN_CATALOG")
    if named:
        return f"prices of {named}, days old: {', '.join(f'{name} {age}' for name, age in found.items())}"
    from cloudtrain.prices import folder

    lists = folder.refreshed()
    renewed = [
        f"{name} {age} ({folder.called(lists[name]).replace('(', '').replace(')', '')})"
        for name, age in found.items()
        if name in lists
    ]
    shipped = [f"{name} {age}" for name, age in found.items() if name not in lists]
    if not renewed:
        return f"shipped prices, days old: {', '.join(shipped)}"
    return "; shipped: ".join(filter(None, (f"prices, days old: {', '.join(renewed)}", ", ".join(shipped))))
