"""The rows of a quote on paper or a terminal: both tables, what to know below them, a pager."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import click

from cloudtrain.cli.output import bold, colour_wanted, dim, print_message, print_rows, print_text, terminal_width

if TYPE_CHECKING:
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
    found = ages.by_provider((line.offer for line in quoted.lines if line.viable), now)
    click.echo()
    if found:
        warn = ages.is_worth_a_warning((line.offer for line in quoted.lines if line.viable), now)
        shown = ", ".join(f"{provider} {age}{read_from(provider)}" for provider, age in found.items())
        print_text(f"prices, days old: {shown}{'; check before you pay' if warn else ''}")
    if quoted.chosen is None:
        click.echo("`up` would choose: none of these yet (launch says why)")
    else:
        click.echo(f"`up` would choose: #{quoted.chosen} {quoted.id_of(quoted.chosen)}")
        for sentence in ages.refusal(quoted.lines[quoted.chosen].offer, now):
            print_text(f"  {sentence}")
    print_text("--why ROW explains a row (its id, or as shown), --all unfolds the folded ones")


def read_from(provider: str) -> str:
    """Which list of a provider a quote has read: ` (2026-11-30 ab12cd34)`, ` (shipped)`."""
    if os.environ.get("CLOUDTRAIN_CATALOG"):
        return ""
    from cloudtrain.prices import folder

    path = folder.refreshed().get(provider)
    return " (shipped)" if path is None else f" ({folder.called(path).replace('(', '').replace(')', '')})"
