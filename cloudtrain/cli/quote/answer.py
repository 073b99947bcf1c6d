"""The answer of a quote in at most ten lines of 80 columns, with the next command for each of its rows."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.cli.quote import owned
from cloudtrain.quote import renewal
from cloudtrain.quote.answer.start import name_of
from cloudtrain.quote.called import called
from cloudtrain.units import billions, money

if TYPE_CHECKING:
    from cloudtrain.offer import Range
    from cloudtrain.quote.answer.picks import Answer, Option
    from cloudtrain.quote.row import Dollars, Quote, QuoteRow

WIDTH, MOST = 80, 10
INDENT = "  "
LABELS = {"cheapest": "cheapest", "fastest": "fastest", "owned": "yours", "free": "free", "chosen": "up takes",
          "barely_dearer": "faster"}  # fmt: skip
CENT = Decimal("0.01")
SURE = 0.95  # a probability of ending in time below it is shown
NOT_BY_UP = ("by hand", "not yet")
CHOSEN = 4


Cells = tuple[str, ...]  # label, machine, hours, dollars


class Entry(NamedTuple):
    """One row of the answer: the cells of its line, what stands below it, and what remains of that without room."""

    cells: Cells
    below: list[str]
    brief: list[str]  # one line that stands there where `below` has no room; empty where the mark is enough
    mark: str
    keep: int  # of several entries those with the least lose what stands below them first


def lines(quote: Quote, found: Answer) -> list[str]:
    """The answer of a quote with viable rows. Only a word that is longer than a line makes one wider than 80."""
    alone = len(found.options) == 1
    entries = [entry(quote, option, alone) for option in in_order(quote, found)]
    head, tail = wrapped(header(quote)) + warning(quote), last(quote, found)
    room = MOST - len(head) - len(tail) - len(entries)
    # That a row is experimental comes before what a renewal of prices needs.
    spoken_for = sum(1 if each.brief else len(each.below) for each in entries if each.brief or each.keep >= CHOSEN)
    least = spoken_for if any(each.brief for each in entries) else 0
    renews = next((each for each in renewing(found) if len(each) <= max(1, room - least)), [])
    renews = renews if len(renews) <= room else []
    room, tail = room - len(renews), [*renews, *tail]
    kept: dict[int, list[str]] = {}
    for index in sorted(range(len(entries)), key=lambda index: -entries[index].keep):
        each = entries[index]
        choices = [each.below, each.brief] if each.brief else [each.below]
        fitting = next((said for said in choices if len(said) <= room), None)
        if fitting is not None:
            room -= len(fitting)
            kept[index] = fitting
    rows = []
    for index, each in enumerate(entries):
        rows.append(each.cells if index in kept or not each.mark else marked(each.cells, each.mark))
    shown = []
    for index, line in enumerate(in_columns(rows)):
        shown += [line, *(f"{INDENT}{more}" for more in kept.get(index, ()))]
    if all("owned" not in option.roles for option in found.options):
        shown += unfit(quote, room)
    return [*head, *shown, *tail]


def unfit(quote: Quote, room: int) -> list[str]:
    """Why the machine that is sat at cannot do it, as far as there is room for that."""
    line = next((line for line in quote.lines if owned.is_this_machine(line)), None)
    if line is None:
        return []
    case, ceiling = line.assessment, quote.request.max_hours
    if line.failures == 1 and case.late and case.hours and case.p_shown is not None and ceiling is not None:
        why = f"takes {three_hours(case.hours)}, {100 * case.p_shown:.0f} % sure to end within {ceiling:g} h"
    else:
        why = f"cannot: {'; '.join(line.reasons())}"
    said = wrapped(f"yours: {called(line.offer)} {why}")
    return said if len(said) <= room else []


def header(quote: Quote) -> str:
    """What was asked."""
    request = quote.request
    job = f"{request.method}, {request.tokens:,} tokens ({request.tokens_basis}), sequence {request.sequence_length}"
    batch = f", batch {request.batch}" if request.batch_given else ""
    return f"{request.spec.name}, {billions(request.spec.params_total)}: {job}{batch}"


def warning(quote: Quote) -> list[str]:
    """What makes the whole job impossible with the data that was named."""
    from cloudtrain.models.loadable import no_template

    refused = no_template(quote.request.spec, quote.request.rows)
    return wrapped(f"{refused.reason}: {refused.hint}") if refused else []


def renewing(found: Answer) -> Iterator[list[str]]:
    """How the prices of the shown rows are renewed that are stale: with what that needs here, and in one line."""
    askable = [provider for provider in found.stale if renewal.command(provider)]
    if not askable:
        return
    words = f"stale prices of {', '.join(askable)}"
    command = renewal.command(askable[0]) if len(askable) == 1 else "cloudtrain prices refresh"
    lacks = [needs for provider in askable if (needs := renewal.needs_shortly(provider))]
    if lacks:
        yield [*wrapped(f"{words}; needs {', '.join(lacks)}:"), f"{INDENT}{command}"]
    yield [f"{words}: {command}"]


def last(quote: Quote, found: Answer) -> list[str]:
    """What `up` takes and why, and how a spec for it is made."""
    if quote.chosen is None:
        able = any("--experimental" in option.start.flags for option in found.options)
        return [f"`up` {'takes none of these without --experimental' if able else 'starts none of these yet'}"]
    faster = found.picks.barely_dearer
    untried = quote.lines[quote.chosen].assessment.untried
    more = f", {untried}" if untried else ""
    more += "" if faster is None else f"; {difference(quote.lines[faster], quote.lines[quote.chosen])}"
    return [
        *wrapped(f"`up` takes {quote.id_of(quote.chosen)}: {found.why}{more}"),
        *wrapped(f"before `up`: cloudtrain init {shlex.quote(name_of(quote.request))} data.jsonl"),
    ]


def difference(faster: QuoteRow, chosen: QuoteRow) -> str:
    """`faster costs $0.20 more`."""
    more = faster.usd_likely - chosen.usd_likely
    return f"faster costs {money(more)} more" if more > 0 else "faster costs no more"


def in_order(quote: Quote, found: Answer) -> list[Option]:
    """The options as they are shown: a machine of one's own that was asked about stands first."""
    asked = quote.request.hardware and quote.request.boxes
    return sorted(found.options, key=lambda option: not (asked and "owned" in option.roles))


def entry(quote: Quote, option: Option, alone: bool) -> Entry:
    """One row as it is shown."""
    line = quote.lines[option.row]
    hours, usd = line.assessment.hours, line.usd
    cells = (
        label(option.roles, alone),
        called(line.offer).removesuffix(" (units)"),
        three_hours(hours) if hours else "unknown",
        three_dollars(usd) if usd else "unknown",
    )
    launch = option.start.launch
    keep = (
        {"yes": 2, "by hand": 1}.get(launch, 0) + CHOSEN * ("chosen" in option.roles) + 8 * owned.is_asked(quote, line)
    )
    mark = launch if launch in NOT_BY_UP else ""
    if "--experimental" in option.start.flags and quote.chosen is not None:  # else the last line says it of all
        mark = "experimental"
    return Entry(cells, below(quote, option), brief(line, mark), mark, keep)


def marked(cells: Cells, mark: str) -> Cells:
    """`gcp v6e-16, not yet`; `experimental` only where the line still fits: the last sentence says it besides."""
    label, named, *rest = cells
    said = label, f"{named}, {mark}", *rest
    fits = len(label.ljust(len(LABELS["cheapest"]))) + sum(2 + len(cell) for cell in said[1:]) <= WIDTH
    return said if fits or mark in NOT_BY_UP else cells


def brief(line: QuoteRow, mark: str) -> list[str]:
    """What makes an experimental row one, in a line of its own."""
    return [", ".join(filter(None, (mark, line.assessment.untried)))] if mark == "experimental" else []


def label(roles: Sequence[str], alone: bool) -> str:
    """What the row is, in a word or two: of words that follow from each other the one that says more.

    One that stands `alone` is all of them: then it is whose it is, or what it costs.
    """
    if alone:
        return next((LABELS[role] for role in ("owned", "free") if role in roles), "best")
    said = [role for role in roles if role not in ("chosen", "barely_dearer")] or list(roles)
    if "cheapest" in said and len(said) > 1:
        said.remove("cheapest")  # `up` takes it, or it costs nothing, or it is the best in every way
        if said == ["fastest"]:
            return "best"
    return ", ".join(LABELS[role] for role in said)


def below(quote: Quote, option: Option) -> list[str]:
    """What to know before the row is started, what is missing for that, and the next command, which is not divided."""
    line, start = quote.lines[option.row], option.start
    known = []
    if line.p_shown is not None and line.p_shown < SURE:
        known.append(f"{100 * line.p_shown:.0f} % sure to end in time")
    if line.assessment.learnt:
        known.append("measured here")
    if line.assessment.untried and "chosen" not in option.roles:  # of what `up` takes the last sentence says it
        known.append(line.assessment.untried)
    if owned.is_asked(quote, line):
        return wrapped("; ".join([*known, owned.note(line)]), WIDTH - len(INDENT))
    if line.offer.price.is_assumed:
        known.append("electricity assumed")
    if "--experimental" in start.flags:
        known.append("experimental")
    if start.launch == "not yet":
        known.append("`up` cannot start it yet")
    elif start.launch == "by hand":
        known.append("by hand")
    known += [f"needs {', '.join(start.missing)}"] if start.missing else []
    words = "; ".join(known)
    whole = f"{words}: {start.command}" if words and start.command else words or start.command
    if len(whole) <= WIDTH - len(INDENT):
        return [whole]
    return [*wrapped(words, WIDTH - len(INDENT)), *continued(start.command, WIDTH - len(INDENT))]


def continued(command: str, width: int) -> list[str]:
    """A command as a shell reads it over several lines, where it takes them."""
    *lines, last = wrap(command, width - len(INDENT) - 2, break_long_words=False, break_on_hyphens=False) or [""]
    if len(command) <= width or not lines:
        return [command] if command else []
    return [f"{INDENT if number else ''}{line} \\" for number, line in enumerate(lines)] + [f"{INDENT}{last}"]


def three_hours(hours: Range) -> str:
    """`21 min (5 .. 58)`: likely, low and high in the unit that suits the first."""
    for unit, size, below_h in (("min", 1 / 60, 1.5), ("h", 1.0, 96.0), ("days", 24.0, float("inf"))):
        if hours.likely < below_h:
            low, likely, high = (digits(each / size) for each in hours)
            return f"{likely} {unit} ({low} .. {high})"
    return "never"


def digits(value: float) -> str:
    """Two of them at the least."""
    if value == float("inf"):
        return "never"
    return f"{value:.2g}" if value < 9.95 else f"{value:,.0f}"


def three_dollars(usd: Dollars) -> str:
    """`$0.83 ($0.18 .. $2.34)`; one figure where there is only one."""
    low, likely, high = (dollars(each) for each in usd)
    return likely if low == high else f"{likely} ({low} .. {high})"


def dollars(amount: Decimal) -> str:
    """Without cents from ten dollars on: the range says how little they mean."""
    if 0 < amount < CENT / 2:
        return "<$0.01"
    return f"${amount:,.0f}" if amount >= 10 else money(amount.quantize(CENT))


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, cells below each other where every line then fits, else as far as that goes."""
    stops = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ["  ".join(cell.ljust(stop) for cell, stop in zip(row, stops, strict=True)).rstrip() for row in rows]
    if all(len(line) <= WIDTH for line in aligned):
        return aligned
    lines = []
    for row in rows:
        ways = (f"{row[0].ljust(stops[0])}  {'  '.join(row[1:])}", f"{row[0]}: {', '.join(row[1:])}")
        tightest = ways[-1].replace(" .. ", "..")
        lines.append(next((way for way in ways if len(way) <= WIDTH), tightest))
    return lines


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    """Lines no wider than `width`, as far as words allow."""
    return wrap(text, width, break_long_words=False, break_on_hyphens=False)
