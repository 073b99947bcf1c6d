"""Printing data: a table, JSON, CSV or Markdown on stdout; messages on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cloudtrain.cli.tables import Column

HEADING_MARGIN = 2  # a column is so much wider than its heading at the least


def print_json(document: Any) -> None:
    """One JSON document, keys in the order they were made."""
    import json

    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def print_rows(
    output: str, headers: Sequence[str | Column], rows: Sequence[Sequence[Any]], right: str = "", every: str = "csv"
) -> None:
    """Rows as `table`, `csv` or `md`. A table at a terminal is as wide as that at the most.

    `right` has an `r` at each column that is set flush right, for headers that are no Column. `every` is the `-o` that
    has all columns: it is named when some are left out.
    """
    from cloudtrain.cli.tables import Column, fitted

    columns = [
        Column(head, i < len(right) and right[i] == "r") if isinstance(head, str) else head
        for i, head in enumerate(headers)
    ]
    if output == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([column.heading for column in columns])
        writer.writerows(rows)
        return
    if output == "table":
        lines, left_out = fitted(columns, rows, terminal_width())
        click.echo("\n".join(lines))
        if left_out:
            print_message(dim(f"not shown: {', '.join(left_out)}; -o {every} has everything"))
        return
    from tabulate import tabulate

    alignment = ["right" if column.right else "left" for column in columns]
    names = [column.heading for column in columns]
    click.echo(tabulate(rows, names, tablefmt="github", colalign=alignment if rows else None, disable_numparse=True))


def print_message(text: str = "") -> None:
    """A line for the person, on stderr; folded between words where that is a terminal.

    A full disk behind it ends nothing that is being done.
    """
    try:
        click.echo(folded(text), err=True)
    except BrokenPipeError:
        raise
    except OSError:
        return


def colour_wanted() -> bool:
    """Colour only on a terminal, and never with NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, **style: Any) -> str:
    """A text in a colour on a terminal, plain elsewhere: `fg="green"`, `dim=True`."""
    return click.style(text, **style) if text and colour_wanted() else text


def bold(text: str) -> str:
    """Bold on a terminal, plain elsewhere."""
    return coloured(text, bold=True)


def dim(text: str) -> str:
    """Dim on a terminal, plain elsewhere: what was rejected, or is over."""
    return coloured(text, dim=True)


def green(text: str) -> str:
    """Green on a terminal, plain elsewhere: it works."""
    return coloured(text, fg="green")


def yellow(text: str) -> str:
    """Yellow on a terminal, plain elsewhere: it works, but look."""
    return coloured(text, fg="yellow")


def red(text: str) -> str:
    """Red on a terminal, plain elsewhere: it does not work, or costs money that it should not."""
    return coloured(text, fg="red")


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is, or None when it is none: then nothing is cut or wrapped."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def message_width() -> int | None:
    """Columns of the terminal that stderr is, or None when it is none or does not say."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None if sys.stderr.isatty() else None
    except (OSError, ValueError):
        return None


def folded(text: str) -> str:
    """A message as lines that fit the terminal of stderr, those after the first set in; as it is without one."""
    width = message_width()
    if width is None or all(len(line) <= width for line in text.split("\n")):
        return text
    from cloudtrain.cli.tables import indented

    return "\n".join(each for line in text.split("\n") for each in indented(line, width))


def ask(question: str, default: bool) -> bool:
    """A yes-or-no question on stderr. The end of the input is a no; KeyboardInterrupt passes through.

    Read without readline: after one prompt it keeps Ctrl-C to itself at the next, and here Ctrl-C is an answer.
    """
    while True:
        click.echo(f"{question} [{'Y/n' if default else 'y/N'}]: ", err=True, nl=False)
        line = sys.stdin.readline()
        word = line.strip().lower()
        if not line or word in ("n", "no"):
            return False
        if word in ("y", "yes"):
            return True
        if not word:
            return default
        print_message("answer y or n")
