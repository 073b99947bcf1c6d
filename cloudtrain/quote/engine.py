"""Collect the offers of every price source, judge each, rank them, choose one."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

from cloudtrain.errors import ProviderError
from cloudtrain.quote.catalog import version
from cloudtrain.quote.chips import chips
from cloudtrain.quote.judge import Measured, judge
from cloudtrain.quote.line import Case, Dollars, Line, Quote
from cloudtrain.seams import Context, Offer, PriceSource, Range, Stack, load, names

if TYPE_CHECKING:
    from cloudtrain.quote.request import Request

TIGHT_PREMIUM = Decimal("1.25")  # a tight row is not chosen while one that fits costs less than a quarter more


def quote(request: Request, context: Context, measured: Measured | None = None) -> Quote:
    """Every offer that the request wants to see, judged and ranked. A source that fails becomes a failure line."""
    lines: list[Line] = []
    failures: list[tuple[str, str]] = []
    stacks = {name: load("stacks", name, Stack) for name in names("stacks")}
    for name in names("pricing"):
        if request.places and not any(place.provider == name for place in request.places):
            continue
        source = load("pricing", name, PriceSource)
        try:
            lines.extend(judged(request, source, source.offers(context), stacks.get(name), measured))
        except ProviderError as error:
            failures.append((name, error.message))
    viable = sorted((line for line in lines if line.viable), key=attrgetter("usd_likely"))
    rest = sorted((line for line in lines if not line.viable), key=attrgetter("usd_likely"))
    ranked = (*viable, *rest)
    dates = [line.offer.price.as_of for line in ranked if line.offer.price.as_of]
    return Quote(
        ranked,
        tuple(failures),
        choose(viable, request),
        min(dates, default=""),
        version(),
        request.tokens * request.flops_per_token(),
        request,
    )


def judged(
    request: Request, source: PriceSource, offers: Iterable[Offer], stack: Stack | None, measured: Measured | None
) -> list[Line]:
    """The offers of one source as lines. Cases are shared between offers of the same machine."""
    cases: dict[tuple[object, ...], Case] = {}
    table = chips()
    lines = []
    for offer in offers:
        if not request.wants(offer):
            continue
        chip = table.get(offer.hardware)
        nvidia = chip.vendor == "nvidia" if chip else offer.hardware.startswith("nvidia")
        if nvidia and not request.include_nvidia:
            continue
        key = (
            *(offer.name, offer.hardware, offer.count, offer.memory_bytes, offer.vcpus),
            *(offer.host_memory_bytes, offer.market == "spot"),
        )
        case = cases.get(key)
        if case is None:
            case = cases[key] = judge(request, offer, source.terms, measured)
        lines.append(line_of(request, offer, case, launch_word(offer, case, stack)))
        lines[-1].guards = tuple(guard.name for guard in stack.guards) if stack else ()
    return lines


def launch_word(offer: Offer, case: Case, stack: Stack | None) -> str:
    """yes | by hand | not yet."""
    if stack is not None and case.recipe is not None and case.recipe.backend in stack.backends:
        return "yes"
    return "by hand" if offer.limits.by_hand else "not yet"


def line_of(request: Request, offer: Offer, case: Case, launch: str) -> Line:
    """One judged line: the place's price on the machine's case."""
    line = Line(offer, case, launch)
    line.priced = offer.usd_per_hour is not None
    if case.hours is not None and case.billed_hours is not None and offer.usd_per_hour is not None:
        line.usd = dollars(offer.usd_per_hour + case.beside.hourly_usd, case.billed_hours, case.beside.fixed_usd)
    line.allowed = disallowed(offer, case.hours)
    line.late = too_late(request, case.hours)
    line.viable = (
        case.fits != "no" and case.loads != "no trainer" and line.usd is not None and not line.allowed and not line.late
    )
    return line


def dollars(usd_per_hour: Decimal, hours: Range, fixed_usd: Decimal) -> Dollars | None:
    """Billed hours times the price, plus what is paid once; None when a bound is not finite."""
    if hours.high == float("inf"):
        return None
    return Dollars(
        usd_per_hour * Decimal(hours.low) + fixed_usd,
        usd_per_hour * Decimal(hours.likely) + fixed_usd,
        usd_per_hour * Decimal(hours.high) + fixed_usd,
    )


def disallowed(offer: Offer, hours: Range | None) -> str:
    """Why the provider's rules forbid it; "" when they do not."""
    limits = offer.limits
    if limits.barred:
        return limits.barred
    if hours is None:
        return ""
    if limits.session_hours is not None and hours.likely > limits.session_hours:
        return f"takes {hours.likely:,.1f} h, a session ends after {limits.session_hours:g} h"
    if limits.weekly_hours is not None and hours.likely > limits.weekly_hours:
        return f"takes {hours.likely:,.1f} h, the week has {limits.weekly_hours:g} h"
    return ""


def too_late(request: Request, hours: Range | None) -> str:
    """Why it does not end in time; "" when it does."""
    if hours is None:
        return ""
    if hours.high == float("inf"):
        return "may never end: interruptions can come faster than the job is set up again"
    if request.max_hours is None or hours.likely <= request.max_hours:
        return ""
    return f"takes {hours.likely:,.0f} h, the ceiling is {request.max_hours:g} h"


def choose(viable: list[Line], request: Request) -> int | None:
    """The cheapest viable line that `up` can start today, or None.

    Experimental lines only when asked for, NVIDIA never, and a tight one only when no fitting one is nearly as cheap.
    """
    table = chips()
    candidates = [
        (index, line)
        for index, line in enumerate(viable)
        if line.launch == "yes"
        and (request.experimental or line.case.loads == "yes")
        and table[line.offer.hardware].vendor != "nvidia"
        and (request.max_cost is None or line.usd_likely <= request.max_cost)
    ]
    if not candidates:
        return None
    index, first = candidates[0]
    if first.case.fits == "tight":
        for other, line in candidates:
            if line.case.fits == "fits" and line.usd_likely <= first.usd_likely * TIGHT_PREMIUM:
                return other
    return index
