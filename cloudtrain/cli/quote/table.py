"""A quote as a table: viable lines above, the others below with their reason; many alike are folded into one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.quote.chips import chips
from cloudtrain.units import billions, gib, money

if TYPE_CHECKING:
    from cloudtrain.quote.line import Line, Quote

VIABLE_HEADERS = ("#", "provider", "offer", "hardware", "where", "market", "fits", "loads", "launch", "$/h", "hours",
                  "$ to finish", "low .. high", "")  # fmt: skip
VIABLE_RIGHT = "r--------rrrr"
OTHER_HEADERS = ("provider", "hardware", "market", "fits", "loads", "allowed", "priced", "in time", "why not, and what would work")


class Group(NamedTuple):
    """Lines that are shown as one: the first is the cheapest."""

    first: Line
    lines: list[tuple[int, Line]]


def header(quote: Quote) -> list[str]:
    """What was asked, and how old the prices are."""
    request, spec = quote.request, quote.request.spec
    experts = f" ({billions(spec.params_active)} active per token)" if spec.params_experts else ""
    ceiling = "no ceiling" if request.max_hours is None else f"ceiling {request.max_hours:g} h"
    return [
        f"{spec.name}: {billions(spec.params_total)} parameters{experts}, family {spec.family}",
        f"{request.method}, sequence {request.sequence_length}, batch {request.batch}, rank {request.rank}, "
        f"{request.tokens:,} tokens ({request.tokens_basis}), {ceiling}",
    ]


def viable_groups(quote: Quote, unfold: bool) -> list[Group]:
    """Viable lines, folded by provider, chip and market unless `unfold`."""
    return grouped(
        ((i, line) for i, line in enumerate(quote.lines) if line.viable),
        lambda line: (line.offer.provider, line.offer.hardware, line.offer.market, line.case.loads),
        unfold,
    )


def other_groups(quote: Quote, unfold: bool) -> list[Group]:
    """Lines that cannot work, folded by provider, chip and the verdicts that fail."""
    return grouped(
        ((i, line) for i, line in enumerate(quote.lines) if not line.viable),
        lambda line: (
            *(line.offer.provider, line.offer.hardware, line.case.fits == "no", line.case.loads),
            *(bool(line.allowed), line.priced, bool(line.late), line.case.hours is None),
        ),
        unfold,
    )


def grouped(
    lines: Iterable[tuple[int, Line]], key: Callable[[Line], tuple[object, ...]], unfold: bool
) -> list[Group]:
    """Lines with an equal key, in order of first appearance."""
    groups: dict[object, Group] = {}
    for index, line in lines:
        groups.setdefault(index if unfold else key(line), Group(line, [])).lines.append((index, line))
    return list(groups.values())


def viable_rows(groups: list[Group], chosen: int | None) -> list[list[str]]:
    """The rows above the line."""
    rows = []
    for group in groups:
        index, line = next(((i, m) for i, m in group.lines if i == chosen), group.lines[0])
        hours, usd = line.case.hours, line.usd
        if hours is None or usd is None:
            continue
        more = len(group.lines) - 1
        rows.append(
            [
                f"{'*' if index == chosen else ''}{index}",
                line.offer.provider,
                line.offer.name,
                machine(line),
                place(line),
                line.offer.market.replace("_", " "),
                line.case.fits,
                line.case.loads,
                line.launch,
                money(line.offer.usd_per_hour),
                f"{hours_text(hours.likely)} ({hours_text(hours.low)}..{hours_text(hours.high)})",
                money(usd.likely),
                f"{money(usd.low)} .. {money(usd.high)}",
                f"+{more} dearer" if more else "",
            ]
        )
    return rows


def other_rows(groups: list[Group], remedy: Callable[[Line], str]) -> list[list[str]]:
    """The rows below the line."""
    rows = []
    for group in groups:
        line = closest(group)
        why = "; ".join(line.reasons())
        advice = remedy(line)
        rows.append(
            [
                line.offer.provider,
                sizes(group),
                markets(group),
                line.case.fits if line.case.recipe else "-",
                line.case.loads,
                "no" if line.allowed else "yes",
                "yes" if line.priced else "no",
                "-" if line.case.hours is None else ("no" if line.late else "yes"),
                f"{why}{f' -> {advice}' if advice else ''}",
            ]
        )
    return rows


def closest(group: Group) -> Line:
    """The line of a group that is nearest to working: the largest machine when memory is what fails, else the cheapest."""
    if group.first.case.fits != "no":
        return group.first
    return max((line for _, line in group.lines), key=lambda line: line.offer.count * line.offer.memory_bytes)


def machine(line: Line) -> str:
    """`2 x MI300X`, or the cores and memory of a CPU host."""
    offer = line.offer
    chip = chips().get(offer.hardware)
    if chip is None:
        return f"{offer.count} x {offer.hardware}"
    if chip.peak_unit == "per vCPU":
        return f"{offer.count} vCPU {chip_name(offer.hardware)}, {gib(offer.memory_bytes)}"
    return f"{offer.count} x {chip_name(offer.hardware)}"


def chip_name(key: str) -> str:
    """The name by which people know a chip."""
    chip = chips().get(key)
    if chip is None or chip.peak_unit == "per vCPU":
        return key.removeprefix("cpu-").replace("cpu", "x86")
    return chip.aliases[0] if chip.aliases else chip.name


def sizes(group: Group) -> str:
    """The sizes that a folded row stands for."""
    if len({line.offer.name for _, line in group.lines}) == 1:
        return machine(group.first)
    counts = sorted({line.offer.count for _, line in group.lines})
    name = chip_name(group.first.offer.hardware)
    chip = chips().get(group.first.offer.hardware)
    unit = " vCPU " if chip and chip.peak_unit == "per vCPU" else " x "
    span = f"{counts[0]}..{counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    return f"{span}{unit}{name}"


def markets(group: Group) -> str:
    """The markets that a folded row stands for."""
    return ", ".join(sorted({line.offer.market.replace("_", " ") for _, line in group.lines}))


def place(line: Line) -> str:
    """Region and zone, short."""
    offer = line.offer
    return f"{offer.region} {offer.zone}".strip() or "-"


def hours_text(hours: float) -> str:
    """Hours with two or three digits."""
    if hours == float("inf"):
        return "never"
    if hours >= 100:
        return f"{hours:,.0f}"
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"
