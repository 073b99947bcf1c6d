"""Collect the offers of every price source, assess each, rank them, choose one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudtrain.errors import ProviderError
from cloudtrain.offer import Offer, Range
from cloudtrain.providers import Context, PriceSource, Stack, load, names
from cloudtrain.quote import environments
from cloudtrain.quote.assess import Measured, assess
from cloudtrain.quote.catalog import version
from cloudtrain.quote.chips import chips
from cloudtrain.quote.row import Assessment, Quote, QuoteRow, too_long

if TYPE_CHECKING:
    from cloudtrain.quote.request import Request
    from cloudtrain.settings import Settings

# The assessment of a kind of machine; its billed hours, hourly and fixed extras in dollars; does only a price decide.
Kind = tuple[Assessment, float, float, float, bool]

INFINITE = float("inf")
TIGHT_PREMIUM = 1.25  # a tight row is not chosen while one that fits costs less than a quarter more


def quote_here(request: Request, settings: Settings) -> Quote:
    """A quote with the shipped or replaced catalogue and what the state of the settings has measured."""
    from cloudtrain.quote.catalog import context
    from cloudtrain.quote.lessons.measured import Measurements

    here = replace(context(settings), boxes=request.boxes)
    return quote(request, here, Measurements.of_state(settings.state))


def quote(request: Request, context: Context, measured: Measured | None = None) -> Quote:
    """Every offer that the request wants to see, judged and ranked. A source that fails becomes a failure line."""
    lines: list[QuoteRow] = []
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
    lines.sort(key=lambda line: (not line.viable, line.rank))
    viable = [line for line in lines if line.viable]
    dates = {line.offer.price.as_of for line in lines}
    return Quote(
        tuple(lines),
        tuple(failures),
        choose(viable, request),
        min(dates - {""}, default=""),
        version(),
        request.tokens * request.flops_per_token(),
        request,
        measured,
    )


def judged(
    request: Request, source: PriceSource, offers: Iterable[Offer], stack: Stack | None, measured: Measured | None
) -> list[QuoteRow]:
    """The offers of one source as lines, but those that are hidden. Cases are shared by offers of the same machine."""
    cases: dict[tuple[object, ...], Kind | None] = {}
    lines = []
    everything = request.wants_everything
    for offer in offers:
        if not (everything or request.wants(offer)):
            continue
        key = (offer.name, offer.market, offer.count, offer.memory_bytes, offer.vcpus)
        if key in cases:
            kind = cases[key]
        else:
            kind = cases[key] = (
                None if is_hidden(request, offer) else assess_with_terms(request, source, offer, stack, measured)
            )
        if kind is not None:
            lines.append(priced(offer, kind, request))
    return lines


def priced(offer: Offer, kind: Kind, request: Request) -> QuoteRow:
    """The line of an offer whose kind of machine was assessed for the request."""
    assessment, hours, hourly, fixed, is_viable = kind
    price = offer.usd_per_hour
    rank = INFINITE if price is None else (float(price) + hourly) * hours + fixed
    return QuoteRow(offer, assessment, rank, is_viable and rank < INFINITE, request.max_cost)


def is_hidden(request: Request, offer: Offer) -> bool:
    """Whether the offer is an NVIDIA one and `--include-nvidia` is off."""
    return is_nvidia(offer) and not request.include_nvidia


def is_nvidia(offer: Offer) -> bool:
    """Whether the chip is one of NVIDIA's, also one that the accelerator table lacks."""
    chip = chips().get(offer.hardware)
    return chip.vendor == "nvidia" if chip else offer.hardware.startswith("nvidia")


def assess_with_terms(
    request: Request, source: PriceSource, offer: Offer, stack: Stack | None, measured: Measured | None
) -> Kind:
    """An offer's machine under its provider's terms and limits, and whether `up` can start it."""
    assessment = assess(request, offer, source.terms, measured)
    launch, why_not = launch_status(request, offer, assessment, stack)
    assessment = replace(
        assessment,
        launch=launch,
        reasons=(*assessment.reasons, *why_not),
        forbidden=reason_disallowed(offer, assessment.hours),
        late=reason_too_late(request, assessment.hours),
        guards=tuple(guard.name for guard in stack.guards(offer.name, offer.market)) if stack else (),
    )
    billed = assessment.billed_hours
    hours = INFINITE if billed is None or billed.high == INFINITE else billed.likely
    return (
        assessment,
        hours,
        float(assessment.extras.hourly_usd),
        float(assessment.extras.fixed_usd),
        assessment.is_viable,
    )


def launch_status(
    request: Request, offer: Offer, assessment: Assessment, stack: Stack | None
) -> tuple[str, tuple[str, ...]]:
    """yes | by hand | not yet; with the reason when what we ship would not work on a machine that we can rent."""
    if assessment.short_of_disk:
        return "not yet", ()
    if offer.limits.by_hand:
        return "by hand", ()
    if stack is not None and assessment.recipe is not None and assessment.recipe.backend in stack.backends:
        known = environment_verdict(request, offer, assessment, stack)
        if known.word != "no":
            return "yes", ()
        return "not yet", (f"`up` cannot use it yet: {known.reason}",)
    return "not yet", ()


def environment_verdict(request: Request, offer: Offer, assessment: Assessment, stack: Stack) -> environments.Verdict:
    """Whether the environment that `up` ships runs this job on the offer's machine; on our own one it was made here."""
    if assessment.recipe is None:
        return environments.Verdict("no", "there is no recipe for it")
    if stack.cloud is None:
        return environments.Verdict("yes")
    image = stack.cloud.image(offer.key)
    job = environments.Job(assessment.recipe.flavour, request.spec.family, request.method)
    return environments.verdict(job, offer.hardware, assessment.devices, image)


def reason_disallowed(offer: Offer, hours: Range | None) -> str:
    """Why the provider's rules forbid it; "" when they do not."""
    limits = offer.limits
    if limits.barred:
        return limits.barred
    if hours is None:
        return ""
    if limits.session_hours is not None and hours.likely > limits.session_hours:
        return too_long(hours, f"a session ends after {limits.session_hours:g} h")
    if limits.weekly_hours is not None and hours.likely > limits.weekly_hours:
        return too_long(hours, f"the week has {limits.weekly_hours:g} h")
    return ""


def reason_too_late(request: Request, hours: Range | None) -> str:
    """Why it does not end in time; "" when it does."""
    if hours is None:
        return ""
    if hours.high == INFINITE:
        return "may never end: interruptions can come faster than the job is set up again"
    if request.max_hours is None or hours.likely <= request.max_hours:
        return ""
    return too_long(hours, f"the ceiling is {request.max_hours:g} h")


def choose(viable: list[QuoteRow], request: Request) -> int | None:
    """The cheapest viable line that `up` can start today, or None.

    Experimental lines only when asked for, NVIDIA never, and a tight one only when no fitting one is nearly as cheap.
    """
    return best(list(choosable(viable, request.experimental)))


def choosable(lines: Sequence[QuoteRow], experimental: bool) -> Iterator[tuple[int, QuoteRow]]:
    """The lines that `up` can take, with their indices."""
    table = chips()
    for index, line in enumerate(lines):
        if (
            line.viable
            and line.assessment.launch == "yes"
            and (experimental or line.assessment.loads == "yes")
            and table[line.offer.hardware].vendor != "nvidia"
        ):
            yield index, line


def best(candidates: Sequence[tuple[int, QuoteRow]]) -> int | None:
    """The index of the one that is chosen of these, which are ranked."""
    if not candidates:
        return None
    index, first = candidates[0]
    if first.assessment.fits == "tight":
        for other, line in candidates:
            if line.assessment.fits == "fits" and line.rank <= first.rank * TIGHT_PREMIUM:
                return other
    return index
