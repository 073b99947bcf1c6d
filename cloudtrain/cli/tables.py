"""A table as lines that are no wider than a terminal: words are folded, then columns left out; no word is ever cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

HEADING_MARGIN = 2  # where there is room, a column is so much wider than its heading at the least
COMFORTABLE = 20  # characters to which a column is folded before others are left out
LONGEST_NAME = 28  # characters up to which the first cell always stands in its row
TALLEST = (8, 12)  # lines of a row from which on a column goes, and from which on there is no table
GAP = "  "
INDENT = "  "
ESCAPE = "\x1b["  # begins a colour, which ends with an `m`
RESET = "\x1b[0m"


class Column(NamedTuple):
    """A column: `fold` lets its cells break between words; `drop` is when a narrow terminal goes without it.

    1 goes first, then 2 and so on; 0 stays always, as a range, an id and an amount of money have to.
    """

    heading: str
    right: bool = False
    fold: bool = True
    drop: int = 0


def figure(heading: str, drop: int = 0) -> Column:
    """A column of figures: flush right, never folded."""
    return Column(heading, right=True, fold=False, drop=drop)


# A cell's lines without escape codes, and the codes with which it begins. A tuple: each class costs a command's start.
Cell = tuple[list[str], str]


def fitted(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]], width: int | None
) -> tuple[list[str], tuple[str, ...]]:
    """(lines of at most `width` characters, headings of the columns that were left out); None: as wide as it is.

    Colours of whole cells are kept and not counted.

    First cells are folded, then columns left out in their order, then cells folded to their longest words. A long name
    in the first column stands above its row where columns would have to go otherwise. A row whose words are too long
    even so is a block of lines, `heading: cell`, and shows every column. Only there, or in a name, can a line be wider
    than `width`: one word, alone.
    """
    cells = [[cell_of(text) for text in row] for row in rows]
    full = [
        max(wide, len(column.heading) + HEADING_MARGIN)
        for column, wide in zip(columns, naturals(columns, cells), strict=True)
    ]
    if width is None or table_width(full) <= width:
        return [line for row in (None, *cells) for line in drawn(columns, row, full)], ()
    hang = layout(columns, cells, width)[0] != list(range(len(columns)))
    return mixed(columns, cells, [hang and has_long_name(row, width) for row in cells], width)


def has_long_name(row: Sequence[Cell], width: int) -> bool:
    """Whether its first cell would take a great part of the line from the others."""
    return len(row) > 2 and len(row[0][0]) == 1 and longest_word(row[0][0][0]) > max(LONGEST_NAME, width // 3)


def mixed(
    columns: Sequence[Column], cells: list[list[Cell]], hangs: list[bool], width: int
) -> tuple[list[str], tuple[str, ...]]:
    """A table of the rows that fit, blocks of the others; blocks alone where these are more than a third.

    `hangs`: which rows have their first cell on lines of its own, above them.
    """
    below = [[([""], ""), *row[1:]] if hang else row for row, hang in zip(cells, hangs, strict=True)]
    least = columns_left(columns)[-1]
    fits = [table_width(floors(columns, [row], least, 0)) <= width for row in below]
    kept, widths = layout(columns, [row for row, fit in zip(below, fits, strict=True) if fit], width)
    if not widths or 3 * fits.count(False) > len(cells):
        return [line for row in cells for line in block(columns, row, width)], ()
    shown = [columns[c] for c in kept]
    lines = drawn(shown, None, widths)
    for row, rest, hang, fit in zip(cells, below, hangs, fits, strict=True):
        if fit and hang:
            lines += painted(fold(row[0][0][0], width), row[0][1])
        lines += drawn(shown, [rest[c] for c in kept], widths) if fit else block(columns, row, width)
    return lines, tuple(column.heading for c, column in enumerate(columns) if c not in kept)


def layout(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> tuple[list[int], list[int]]:
    """(indices of the columns that stay, their widths) of the fullest table that fits; no widths when none does.

    A table whose rows would be very tall counts as none: a column that goes makes room for the others.
    """
    every = naturals(columns, rows)
    steps = columns_left(columns)
    for tallest in TALLEST:
        for kept, comfort in (*((kept, COMFORTABLE) for kept in steps), (steps[-1], 0)):
            least = floors(columns, rows, kept, comfort)
            if table_width(least) > width:
                continue
            widths = narrowed([every[c] for c in kept], least, width)
            if height(rows, kept, widths) <= tallest:
                return kept, widths
    return steps[-1], []


def height(rows: Sequence[Sequence[Cell]], kept: Sequence[int], widths: Sequence[int]) -> int:
    """Lines of the tallest row."""
    return max(
        (
            sum(len(fold(line, wide)) for line in row[c][0])
            for row in rows
            for c, wide in zip(kept, widths, strict=True)
        ),
        default=1,
    )


def columns_left(columns: Sequence[Column]) -> list[list[int]]:
    """Indices of the columns that stay: all, then without the first that goes, and so on."""
    kept = list(range(len(columns)))
    steps = [kept]
    for going in sorted((c for c in kept if columns[c].drop), key=lambda c: columns[c].drop):
        kept = [c for c in kept if c != going]
        steps.append(kept)
    return steps


def naturals(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[int]:
    """Characters that each column takes with nothing folded."""
    return [
        max([len(column.heading), *(len(line) for row in rows for line in row[c][0])])
        for c, column in enumerate(columns)
    ]


def floors(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], kept: Sequence[int], comfort: int) -> list[int]:
    """To how few characters each column can be folded: its longest word, or `comfort` where it has as much to say."""
    found = []
    for c in kept:
        wide = longest_word(columns[c].heading)
        for row in rows:
            for line in row[c][0]:
                least = max(longest_word(line), min(comfort, len(line))) if columns[c].fold else len(line)
                wide = max(wide, least)
        found.append(wide)
    return found


def narrowed(natural: list[int], least: list[int], width: int) -> list[int]:
    """Widths that fit, the widest column made narrower first, none below its least. They can be made to fit."""
    widths = [max(two) for two in zip(natural, least, strict=True)]
    excess = table_width(widths) - width
    while excess > 0:
        excess -= 1
        widest = max((c for c in range(len(widths)) if widths[c] > least[c]), key=lambda c: widths[c])
        widths[widest] -= 1
    return widths


def table_width(widths: Sequence[int]) -> int:
    """Characters of a line."""
    return sum(widths) + len(GAP) * (len(widths) - 1)


def drawn(columns: Sequence[Column], row: Sequence[Cell] | None, widths: Sequence[int]) -> list[str]:
    """The lines of one row, or of the headings for None."""
    cells = row if row is not None else [([column.heading], "") for column in columns]
    folded = [[part for line in cell[0] for part in fold(line, wide)] for cell, wide in zip(cells, widths, strict=True)]
    lines = []
    for number in range(max(map(len, folded), default=0)):
        parts = []
        for column, cell, texts, wide in zip(columns, cells, folded, widths, strict=True):
            text = texts[number] if number < len(texts) else ""
            blanks = " " * (wide - len(text))
            shown = f"{cell[1]}{text}{RESET}" if cell[1] and text else text
            parts.append(blanks + shown if column.right else shown + blanks)
        lines.append(GAP.join(parts).rstrip())
    return lines


def block(columns: Sequence[Column], row: Sequence[Cell], width: int) -> list[str]:
    """A row as lines `heading: cell`, all but the first set in; what is empty is left out."""
    lines: list[str] = []
    for column, (texts, style) in zip(columns, row, strict=True):
        text = " ".join(" ".join(texts).split())
        if not text:
            continue
        heading = f"{column.heading}: " if column.heading else ""
        indent = INDENT if lines else ""
        first, *more = fold(heading + text, width - len(indent), len(INDENT))
        if style and first.startswith(heading):
            first = f"{heading}{style}{first[len(heading) :]}{RESET}"
        lines += [
            indent + first,
            *(f"{indent}{INDENT}{style}{part}{RESET if style else ''}" for part in more),
        ]
    return lines


def listed(pairs: Iterable[tuple[str, str]], width: int | None, label: int = 8) -> list[str]:
    """Lines of a label, perhaps in a colour, and a text that is folded in a column of its own."""
    lines = []
    for head, text in pairs:
        (name, *_), style = cell_of(head)
        left = max(label, len(name))
        before = f"{INDENT}{style}{name}{RESET if style else ''}{' ' * (left - len(name))} "
        parts = [text] if width is None else fold(text, width - len(INDENT) - left - 1)
        lines += [before + parts[0], *(" " * (len(INDENT) + left + 1) + part for part in parts[1:])]
    return lines


def fold(text: str, width: int, hang: int = 0) -> list[str]:
    """A text in lines of at most `width` characters, `hang` fewer after the first, broken at blanks only.

    A longer word stands alone.
    """
    if len(text) <= width:
        return [text]
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width - (hang if len(lines) > 1 else 0):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def cell_of(value: Any) -> Cell:
    """A cell's text in lines, and the colour it begins with."""
    text, style = str(value), ""
    if ESCAPE not in text:
        return text.split("\n"), ""
    while text.startswith(ESCAPE):
        code, _, text = text.partition("m")
        style += f"{code}m"
    return uncoloured(text).split("\n"), style


def uncoloured(text: str) -> str:
    """A text without its colours: what a terminal gives room to."""
    first, *others = text.split(ESCAPE)
    return first + "".join(other.partition("m")[2] for other in others)


def longest_word(text: str) -> int:
    """Characters of the longest word."""
    return max(map(len, text.split()), default=0)


def indented(text: str, width: int) -> list[str]:
    """A sentence, perhaps in one colour, in lines that fit; those after the first are set in by two blanks more."""
    (plain, *_), style = cell_of(text)
    lead = plain[: len(plain) - len(plain.lstrip())]
    lines = [lead + part for part in fold(plain.lstrip(), width - len(lead), len(INDENT))]
    return painted([f"{INDENT if number else ''}{line}" for number, line in enumerate(lines)], style)


def painted(lines: list[str], style: str) -> list[str]:
    """Each line in a colour that ends with it."""
    return [f"{style}{line}{RESET}" for line in lines] if style else lines
