"""Collect the offers of every price source, assess each, rank them, choose one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import ProviderError
from cloudtrain.offer import Offer
from cloudtrain.providers import Context, PriceSource, Stack, load, names
from cloudtrain.quote.assess import Measured, assess
from cloudtrain.quote.assessment import Assessment
from cloudtrain.quote.catalog import version
from cloudtrain.quote.chips import chips
from cloudtrain.quote.machine import environments, sharing
from cloudtrain.quote.row import Quote, QuoteRow
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from decimal import Decimal

    from cloudtrain.quote.request import Request
    from cloudtrain.settings import Settings


class Kind(NamedTuple):
    """The assessment of a kind of machine, and what makes a price into the expected dollars of finishing."""

    assessment: Assessment
    hours: float  # mean billed hours until it is done or cut off, usual ones of a rejected row; infinite: unknown
    waited_usd: float  # what the wall hours are worth to the person
    hourly_usd: float  # in addition to the price
    fixed_usd: float
    p_done: float
    is_viable: bool  # but for a price

    def expected_usd(self, usd_per_hour: Decimal | None) -> float:
        """Expected dollars per run that is finished; infinite where they are unknown."""
        if usd_per_hour is None or self.p_done <= 0 or self.hours == INFINITE:
            return INFINITE
        return ((float(usd_per_hour) + self.hourly_usd) * self.hours + self.fixed_usd) / self.p_done


INFINITE = float("inf")
TIGHT_PREMIUM = 1.25  # a tight row is not chosen while one that fits costs less than a quarter more


def quote_here(request: Request, settings: Settings) -> Quote:
    """A quote with the shipped or replaced catalogue and what the state of the settings has measured."""
    from cloudtrain.quote.catalog import context
    from cloudtrain.quote.lessons.measured import Measurements

    here = context(settings)._replace(boxes=request.boxes)
    scheme, is_bucket, _ = settings.state.partition("://")
    return quote(request._replace(bucket=scheme if is_bucket else ""), here, Measurements.of_state(settings.state))


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
    lines.sort(key=in_order(request))
    viable = [line for line in lines if line.viable]
    dates = {line.offer.price.as_of for line in lines}
    return Quote(
        tuple(lines),
        tuple(failures),
        choose(viable, request),
        min(dates - {""}, default=""),
        version(context.refreshed),
        request.tokens * request.flops_per_token(),
        request,
        measured,
    )


def in_order(request: Request) -> Callable[[QuoteRow], tuple[bool, float]]:
    """How the lines of a quote are sorted: by the expected dollars of finishing, or by the hours that one waits."""
    if request.sort == "hours":
        return lambda line: (not line.viable, line.assessment.usual_h if line.viable else line.rank)
    return lambda line: (not line.viable, line.rank)


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
    expected = kind.expected_usd(offer.usd_per_hour)
    rank = expected + (kind.waited_usd / kind.p_done if kind.waited_usd else 0.0)
    is_viable = kind.is_viable and expected < INFINITE
    return QuoteRow(offer, kind.assessment, rank, is_viable, request.max_cost, expected)


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
    launch, loads, why_not = launch_status(request, offer, assessment, stack)
    assessment = replace(
        assessment,
        launch=launch,
        loads=loads,
        reasons=(*assessment.reasons, *why_not),
        limits=offer.limits,
        ceiling_h=request.max_hours,
        guards=tuple(guard.name for guard in stack.guards(offer.name, offer.market)) if stack else (),
    )
    is_viable = assessment.is_viable
    hours, waited_usd, p_done = INFINITE, 0.0, 1.0
    if is_viable and assessment.expected_h:
        hours, wall_h = assessment.expected_h
        waited_usd = float(request.hour_usd) * wall_h
        p_done = assessment.p_done or 0.0
    elif assessment.clock:
        hours = assessment.clock.stretches.usual_s() / SECONDS_PER_HOUR
    extras = assessment.extras
    return Kind(assessment, hours, waited_usd, float(extras.hourly_usd), float(extras.fixed_usd), p_done, is_viable)


def launch_status(
    request: Request, offer: Offer, assessment: Assessment, stack: Stack | None
) -> tuple[str, str, tuple[str, ...]]:
    """yes | by hand | not yet; how it loads there; why what we ship would not, or may not, work on a machine there."""
    loads = assessment.loads
    if assessment.short_of_disk:
        return "not yet", loads, ()
    if offer.limits.by_hand:
        return "by hand", loads, ()
    if stack is not None and assessment.recipe is not None and assessment.recipe.backend in stack.backends:
        known = environment_verdict(request, offer, assessment, stack)
        if (
            known.word == "experimental" and loads == "yes"
        ):  # `up` takes it only when asked to, as it does such software
            return "yes", known.word, (known.reason,)
        if known.word != "no":
            return "yes", loads, ()
        return "not yet", loads, (f"`up` cannot use it yet: {known.reason}",)
    return "not yet", loads, ()


def environment_verdict(request: Request, offer: Offer, assessment: Assessment, stack: Stack) -> environments.Verdict:
    """Whether the environment that `up` ships runs this job on the offer's machine; on our own one it was made here.

    What is not started yet can be looked at: a dry run with `--experimental` plans it.
    """
    if assessment.recipe is None:
        return environments.Verdict("no", "there is no recipe for it")
    if stack.cloud is None:
        return environments.Verdict("yes")
    image = stack.cloud.image(offer.key)
    job = environments.Job(assessment.recipe.flavour, request.spec.family, request.method)
    hosts = assessment.disk.hosts if assessment.disk else 1
    found = environments.verdict(job, offer.hardware, assessment.devices, image, hosts)
    if found.word in ("yes", "experimental") and (uneven := sharing.uneven(request.spec, assessment.recipe.options)):
        found = environments.Verdict("later", uneven, "the same with `grad_accum` as said, or a single chip")
    if found.word == "later":
        return found._replace(word="experimental" if request.experimental and request.only_planned else "no")
    return found


def choose(viable: list[QuoteRow], request: Request) -> int | None:
    """The cheapest viable line that `up` can start today, or None: E[cost] / P(done), with what hours are worth.

    Experimental lines only when asked for, NVIDIA never, and a tight one only when no fitting one is nearly as cheap.
    """
    return best(list(choosable(viable, request.experimental)))


def choosable(lines: Sequence[QuoteRow], experimental: bool) -> Iterator[tuple[int, QuoteRow]]:
    """The lines that `up` can take, with their indices."""
    table = chips()
    for index, line in sorted(enumerate(lines), key=lambda numbered: numbered[1].rank):
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
