"""Printing data: a table, JSON, CSV or Markdown on stdout; messages on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

HEADING_MARGIN = 2  # a column is so much wider than its heading at the least


def print_json(document: Any) -> None:
    """One JSON document, keys in the order they were made."""
    import json

    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def print_rows(output: str, headers: Sequence[str], rows: Sequence[Sequence[Any]], right: str = "") -> None:
    """Rows as `table`, `csv` or `md`; `right` has an `r` at each column that is set flush right."""
    if output == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(headers)
        writer.writerows(rows)
        return
    flush_right = [i < len(right) and right[i] == "r" for i in range(len(headers))]
    if output == "table":
        click.echo("\n".join(plain_table(headers, rows, flush_right)))
        return
    from tabulate import tabulate

    alignment = ["right" if flush else "left" for flush in flush_right]
    click.echo(tabulate(rows, headers, tablefmt="github", colalign=alignment if rows else None, disable_numparse=True))


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], flush_right: Sequence[bool]) -> list[str]:
    """The lines of a table without rules, as tabulate's `plain` draws them: its import is a tenth of a quote's time."""
    lines = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    widths = [max(width, len(head) + HEADING_MARGIN) for width, head in zip(widths, headers, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, flush_right, strict=True)
        ).rstrip()
        for line in lines
    ]


def print_message(text: str = "") -> None:
    """A line for the person, on stderr. A full disk behind it ends nothing that is being done."""
    try:
        click.echo(text, err=True)
    except BrokenPipeError:
        raise
    except OSError:
        return


def colour_wanted() -> bool:
    """Colour only on a terminal, and never with NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def bold(text: str) -> str:
    """Bold on a terminal, plain elsewhere."""
    return click.style(text, bold=True) if colour_wanted() else text


def dim(text: str) -> str:
    """Dim on a terminal, plain elsewhere."""
    return click.style(text, dim=True) if colour_wanted() else text


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is, or None when it is none: then nothing is cut or wrapped."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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
