"""A quote as a table: viable lines above, the others below with their reason; many alike are folded into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.cli.output import HEADING_MARGIN, bold, dim, green, red, yellow
from cloudtrain.cli.tables import Column, figure, table_width
from cloudtrain.quote.chips import chips
from cloudtrain.quote.ids import says_chips
from cloudtrain.units import billions, gib, money

if TYPE_CHECKING:
    from cloudtrain.quote.request import Request
    from cloudtrain.quote.row import Quote, QuoteRow

# What a narrow terminal goes without, in this order: as of, folded, $/h, loads; never a range, nor whether it fits and
# starts. Before that place and market move below the offer, and a range below its likely value.
VIABLE = (figure("#"), Column("offer"), Column("where"), Column("market"), Column("fits"), Column("loads", drop=4),
          Column("launch"), figure("$/h", drop=3), figure("as of", drop=1), figure("hours"), figure("low .. high"),
          figure("$ to finish"), figure("low .. high"), Column("folded", drop=2))  # fmt: skip
OFFER, WHERE, MARKET = 1, 2, 3
HOURS, DOLLARS = 9, 11  # columns that a range follows
OTHERS = (Column("offer"), Column("market", drop=2), Column("fits", drop=6), Column("loads", drop=5),
          Column("allowed", drop=3), Column("priced", drop=1), Column("in time", drop=4),
          Column("why not -> what would work"))  # fmt: skip
VERDICTS = ("fits", "loads", "launch", "allowed", "priced", "in time")
PAINTS = {"fits": green, "yes": green, "tight": yellow, "experimental": yellow, "by hand": yellow, "not yet": dim,
          "no": red, "no trainer": red}  # fmt: skip
MEASURED, UNTRIED = "^", "?"  # behind the hours


class Group(NamedTuple):
    """Lines that are shown as one: the first is the cheapest."""

    first: QuoteRow
    lines: list[tuple[int, QuoteRow]]


def header(quote: Quote) -> list[str]:
    """What was asked, and how old the prices are."""
    from cloudtrain.models.loadable import no_template

    request, spec = quote.request, quote.request.spec
    experts = f" ({billions(spec.params_active)} active per token)" if spec.params_experts else ""
    ceiling = "no ceiling" if request.max_hours is None else f"ceiling {request.max_hours:g} h"
    about = [f"weights published in {spec.published.format}"] if spec.published.format else []
    about += ["gated: needs its licence accepted, and a token of the hub"] if spec.published.gated else []
    about += [f"{spec.shape.counted.how}, not estimated by phases"] if spec.shape.counted else []
    return [
        f"{spec.name}: {billions(spec.params_total)} parameters{experts}, family {spec.family}",
        *([", ".join(about)] if about else []),
        *(f"{refused.reason}: {refused.hint}" for refused in (no_template(spec, request.rows),) if refused),
        f"{request.method}, sequence {request.sequence_length}, {batch_text(request)}, rank {request.rank}, "
        f"{request.tokens:,} tokens ({request.tokens_basis}), {ceiling}",
    ]


def batch_text(request: Request) -> str:
    """`batch 4`, or whose it is where nobody said."""
    return f"batch {request.batch}" if request.batch_given else "batch: each row's own (--batch N for all)"


def viable_groups(quote: Quote, unfold: bool) -> list[Group]:
    """Viable lines, folded by provider, chip and market unless `unfold`."""
    return grouped(
        ((i, line) for i, line in enumerate(quote.lines) if line.viable),
        lambda line: (line.offer.provider, line.offer.hardware, line.offer.market, line.assessment.loads),
        unfold,
    )


def other_groups(quote: Quote, unfold: bool) -> list[Group]:
    """Lines that cannot work, folded by provider, chip and the verdicts that fail."""
    return grouped(
        ((i, line) for i, line in enumerate(quote.lines) if not line.viable),
        lambda line: (
            *(line.offer.provider, line.offer.hardware, line.assessment.fits == "no", line.assessment.loads),
            *(bool(line.assessment.barred), line.priced, bool(line.assessment.late), line.assessment.hours is None),
        ),
        unfold,
    )


def grouped(
    lines: Iterable[tuple[int, QuoteRow]], key: Callable[[QuoteRow], tuple[object, ...]], unfold: bool
) -> list[Group]:
    """Lines with an equal key, in order of first appearance."""
    groups: dict[object, Group] = {}
    for index, line in lines:
        groups.setdefault(index if unfold else key(line), Group(line, [])).lines.append((index, line))
    return list(groups.values())


def hours_mark(line: QuoteRow) -> str:
    """What stands behind hours that runs measured here have corrected, and behind those of what nobody ran."""
    return MEASURED if line.assessment.learnt else UNTRIED if line.assessment.untried else ""


def viable_rows(groups: list[Group], chosen: int | None) -> list[list[str]]:
    """The rows above the line."""
    rows = []
    for group in groups:
        index, line = next(((i, m) for i, m in group.lines if i == chosen), group.lines[0])
        hours, usd = line.assessment.hours, line.usd
        if hours is None or usd is None:
            continue
        more = len(group.lines) - 1
        rows.append(
            [
                f"{'*' if index == chosen else ''}{index}",
                offer_text(line),
                place(line),
                line.offer.market.replace("_", " "),
                line.assessment.fits,
                line.assessment.loads,
                line.assessment.launch,
                money(line.offer.usd_per_hour),
                line.offer.price.as_of or ("assumed" if line.offer.price.is_assumed else "today"),
                f"{hours_text(hours.likely)}{hours_mark(line)}",
                f"{hours_text(hours.low)} .. {hours_text(hours.high)}",
                money(usd.likely),
                f"{money(usd.low)} .. {money(usd.high)}",
                f"+{more} more expensive" if more else "",
            ]
        )
    return rows


def arranged(rows: list[list[str]], width: int | None) -> tuple[list[Column], list[list[str]]]:
    """(columns, rows) for a terminal of `width`: as they are where they fit, else with ranges below likely values."""
    natural = [max(len(VIABLE[c].heading) + HEADING_MARGIN, *(len(row[c]) for row in rows)) for c in range(len(VIABLE))]
    if width is None or table_width(natural) <= width:
        return list(VIABLE), rows
    kept = [c for c in range(len(VIABLE)) if c not in (WHERE, MARKET, HOURS + 1, DOLLARS + 1)]
    return [VIABLE[c] for c in kept], [[stacked(row, c) for c in kept] for row in rows]


def stacked(row: list[str], column: int) -> str:
    """A cell with what moves below it."""
    if column == OFFER:
        return f"{row[OFFER]}\n{row[MARKET]}{'' if row[WHERE] == '-' else f', {row[WHERE]}'}"
    return f"{row[column]}\n{row[column + 1]}" if column in (HOURS, DOLLARS) else row[column]


def coloured(columns: Sequence[Column], rows: list[list[str]]) -> list[list[str]]:
    """The rows with verdicts in colours: green works, yellow works but look, red does not; the chosen one is bold."""
    headings = [column.heading for column in columns]
    painted = []
    for row in rows:
        cells = [PAINTS[cell](cell) if head in VERDICTS and cell in PAINTS else cell
                 for head, cell in zip(headings, row, strict=True)]  # fmt: skip
        painted.append([bold(cells[0]) if cells[0].startswith("*") else cells[0], *cells[1:]])
    return painted


def other_rows(groups: list[Group], change: Callable[[QuoteRow], str]) -> list[list[str]]:
    """The rows below the line, those that fail least first; `change` gives the cheapest change that makes one work."""
    rows = []
    for group in sorted(groups, key=lambda group: group.first.failures):
        line = closest(group)
        advice = change_of(group, line, change)
        rows.append(
            [
                f"{line.offer.provider} {sizes(group)}",
                markets(group),
                line.assessment.fits if line.assessment.recipe else "-",
                line.assessment.loads,
                "no" if line.assessment.barred else "yes",
                "yes" if line.priced else "no",
                "-" if line.assessment.hours is None else in_time(line),
                f"{'; '.join(line.reasons())}{f' -> {advice}' if advice else ''}",
            ]
        )
    return rows


def change_of(group: Group, shown: QuoteRow, change: Callable[[QuoteRow], str]) -> str:
    """What would make the shown line of a group work, else the first other size of the group with its name."""
    if advice := change(shown):
        return advice
    others = {id(line.assessment): line for _, line in reversed(group.lines) if line.assessment is not shown.assessment}
    return next((f"on {machine(line)} {advice}" for line in reversed(others.values()) if (advice := change(line))), "")


def in_time(line: QuoteRow) -> str:
    """The verdict about its hours, marked when runs measured here have corrected these."""
    return f"{'no' if line.assessment.late else 'yes'}{MEASURED if line.assessment.learnt else ''}"


def closest(group: Group) -> QuoteRow:
    """The line of a group that is nearest to working: the largest when memory is what fails, else the first."""
    if group.first.assessment.fits != "no":
        return group.first
    return max((line for _, line in group.lines), key=lambda line: line.offer.count * line.offer.memory_bytes)


def offer_text(line: QuoteRow) -> str:
    """Provider, name and machine: `runpod 2 x MI300X`, `gcp v5p-8 = 4 x v5p`, `aws r8i.16xlarge, 64 vCPU ...`."""
    offer = line.offer
    if is_host(offer.hardware):
        return f"{offer.provider} {offer.name}, {offer.count} vCPU {chip_name(offer.hardware)}"
    named = (chip_name(offer.hardware).lower() in offer.name.lower() and " " in offer.name) or says_chips(offer)
    return f"{offer.provider} {machine(line)}" if named else f"{offer.provider} {offer.name} = {machine(line)}"


def machine(line: QuoteRow) -> str:
    """`2 x MI300X`, or the cores and memory of a CPU host."""
    offer = line.offer
    if is_host(offer.hardware):
        return f"{offer.count} vCPU {chip_name(offer.hardware)}, {gib(offer.memory_bytes)}"
    return f"{offer.count} x {chip_name(offer.hardware) or offer.name}"


def is_host(key: str) -> bool:
    """Whether a key of the accelerator table is a processor."""
    chip = chips().get(key)
    return chip is not None and chip.peak_unit == "per vCPU"


def chip_name(key: str) -> str:
    """The name by which people know a chip."""
    chip = chips().get(key)
    if chip is None or chip.peak_unit == "per vCPU":
        return {"cpu": "x86", "cpu-graviton4": "Graviton4"}.get(key, key.removeprefix("cpu-"))
    return chip.aliases[0] if chip.aliases else chip.name


def sizes(group: Group) -> str:
    """The sizes that a folded row covers."""
    offers = {line.offer.name for _, line in group.lines}
    if len(offers) == 1:
        return machine(group.first)
    counts = sorted({line.offer.count for _, line in group.lines})
    key = group.first.offer.hardware
    span = f"{counts[0]}..{counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"{span} {'vCPU' if is_host(key) else 'x'} {chip_name(key) or ', '.join(sorted(offers))}"


def markets(group: Group) -> str:
    """The markets that a folded row covers."""
    return ", ".join(sorted({line.offer.market.replace("_", " ") for _, line in group.lines}))


def place(line: QuoteRow) -> str:
    """The zone when there is one, else the region."""
    zones = line.offer.zone.split()
    return zones[0] if len(zones) == 1 else line.offer.region or "-"


def hours_text(hours: float) -> str:
    """Hours with two or three digits."""
    if hours == float("inf"):
        return "never"
    if hours >= 100:
        return f"{hours:,.0f}"
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"
