"""Printing data: a table, JSON, CSV or Markdown on stdout; messages on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

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
        Column(head, flush := right[i : i + 1] == "r", not flush) if isinstance(head, str) else head
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


def print_text(text: str) -> None:
    """A sentence of a result, on stdout; folded between words where that is a terminal."""
    click.echo(folded(text, terminal_width()))


def print_message(text: str = "") -> None:
    """A line for the person, on stderr; folded between words where that is a terminal.

    A full disk behind it ends nothing that is being done.
    """
    try:
        click.echo(folded(text, message_width()), err=True)
    except BrokenPipeError:
        raise
    except OSError:
        return


def print_labelled(label: str, message: str) -> None:
    """`error: ...`, `hint: ...` or without a label on stderr; the word error in red on a terminal."""
    text = folded(f"{label}: {message}" if label else message, message_width())
    if label == "error" and colour_wanted(sys.stderr):
        text = click.style("error", fg="red", bold=True) + text.removeprefix("error")
    click.echo(text, err=True)


def colour_wanted(stream: TextIO | None = None) -> bool:
    """Colour only on a terminal (of stdout, unless said otherwise), and never with NO_COLOR."""
    terminal = (stream or sys.stdout).isatty()
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


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


COLOURS = {
    **dict.fromkeys(("finished", "ok", "unchanged"), "green"),
    **dict.fromkeys(("running", "starting", "started", "open", "unknown"), "yellow"),
    **dict.fromkeys(("failed", "died", "problem", "missed"), "red"),
}
OVER = ("stopped", "cancelled", "skipped: budget")


def state_cell(state: str, output: str = "table") -> str:
    """A state in a table on a terminal: green good, yellow open, red bad, dim over; plain elsewhere."""
    if output != "table":
        return state
    return dim(state) if state in OVER else coloured(state, fg=COLOURS.get(state))


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


def folded(text: str, width: int | None) -> str:
    """A text in lines of at most `width` characters, those after a first one set in; None: as it is."""
    if width is None or all(len(line) <= width for line in text.split("\n")):
        return text
    from cloudtrain.cli.tables import indented

    return "\n".join(each for line in text.split("\n") for each in indented(line, width))


def ask(question: str, default: bool) -> bool:
    """A yes-or-no question on stderr. The end of the input is a no; KeyboardInterrupt passes through.

    Read without readline: after one prompt it keeps Ctrl-C to itself at the next, and here Ctrl-C is an answer.
    """
    while True:
        asked = folded(f"{question} [{'Y/n' if default else 'y/N'}]:", message_width())
        click.echo(f"{asked} ", err=True, nl=False)
        line = sys.stdin.readline()
        word = line.strip().lower()
        if not line or word in ("n", "no"):
            return False
        if word in ("y", "yes"):
            return True
        if not word:
            return default
        print_message("answer y or n")
