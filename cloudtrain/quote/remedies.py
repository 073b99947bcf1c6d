"""The cheapest change that would make a rejected line work: what a user would try next, checked before printed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import ROUND_CEILING
from functools import cache
from typing import TYPE_CHECKING

from cloudtrain.estimate import budget, memory
from cloudtrain.models import registry
from cloudtrain.quote.assess import devices_of
from cloudtrain.quote.chips import chips
from cloudtrain.quote.compatibility import loads
from cloudtrain.quote.disk import disk
from cloudtrain.quote.recipes import recipe

if TYPE_CHECKING:
    from cloudtrain.estimate.hardware import Hardware
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.offer import Offer
    from cloudtrain.quote.request import Request
    from cloudtrain.quote.row import Quote, QuoteRow

SHORTEST_SEQUENCE = 256
METHODS_BY_NEED = ("qlora", "lora", "freeze")  # least memory first


def advisor(quote: Quote) -> Callable[[QuoteRow], str]:
    """A function from a rejected line of the quote to its remedy as text; "" when nothing is known to help.

    Answers are kept per kind of machine, because many lines are the same machine in another place.
    """
    known: dict[int, str] = {}

    def advise(line: QuoteRow) -> str:
        key = id(line.assessment)
        if line.assessment.fits == "no" or line.assessment.loads == "no trainer":
            if key not in known:
                known[key] = machine_remedy(quote, line)
            return known[key]
        return place_remedy(quote, line)

    return advise


def machine_remedy(quote: Quote, line: QuoteRow) -> str:
    """What would make this kind of machine work."""
    chip = chips().get(line.offer.hardware)
    if chip is None or chip.backend in ("none", "gaudi") or line.assessment.recipe is None:
        return ""
    request, offer = quote.request, line.offer
    if line.assessment.loads == "no trainer":
        positions = request.spec.published.positions
        if 0 < positions < request.sequence_length:
            shorter = replace(request, sequence_length=positions)
            return f"--seq {positions}" if is_viable(shorter, offer, chip) else ""
        for method in METHODS_BY_NEED:
            other = replace(request, method=method, targets=None)
            if method != request.method and is_viable(other, offer, chip):
                return f"--method {method}"
        return another_model(request, offer, chip)
    for message, other in smaller_jobs(request):
        if is_viable(other, offer, chip):
            return message
    return more_chips(quote, line) or another_model(request, offer, chip)


def smaller_jobs(request: Request) -> Iterator[tuple[str, Request]]:
    """Changes of the job, the least first."""
    if request.batch > 1:
        yield "--batch 1", replace(request, batch=1)
    length = request.sequence_length // 2
    while length >= SHORTEST_SEQUENCE:
        yield f"--seq {length}", replace(request, batch=1, sequence_length=length)
        length //= 2
    if request.method != "qlora":
        yield "--method qlora", replace(request, method="qlora", targets=None)
    if request.method == "full":
        yield "--method lora", replace(request, method="lora", targets=None)


def is_viable(request: Request, offer: Offer, chip: Hardware) -> bool:
    """Whether the machine loads and holds the job, in memory and on its disk."""
    found = loads(request.spec, request.method, request.sequence_length, chip.backend, chip.architecture)
    if found.verdict == "no trainer":
        return False
    ours = recipe(request, chip.backend, devices_of(chip, offer), chip.key)
    if ours is None:
        return False
    estimated = memory.estimate(request.spec, ours.options)
    if disk(request, offer, ours, estimated.params_trainable, at_home=False).shortage:
        return False
    return budget.verdict(ours.required_bytes(estimated), budget.usable_bytes(chip, offer.memory_bytes)) != "no"


def more_chips(quote: Quote, line: QuoteRow) -> str:
    """A larger machine of the same provider and chip in this quote that fits."""
    larger = [
        other
        for other in quote.lines
        if other.offer.provider == line.offer.provider
        and other.offer.hardware == line.offer.hardware
        and other.assessment.fits != "no"
        and other.assessment.loads != "no trainer"
    ]
    if not larger:
        return ""
    best = min(larger, key=lambda other: (other.offer.count, other.rank))
    return f"{best.offer.name} has enough memory"


def another_model(request: Request, offer: Offer, chip: Hardware) -> str:
    """The largest model of the registry, not larger than the one asked for, that this machine loads and holds."""
    sizes, candidates = trained_by_size(chip.backend, request.method, request.sequence_length)
    low, high = 0, bisect_left(sizes, request.spec.params_total)
    # memory grows with size nearly always: bisect, then check what was found
    while low < high:
        middle = (low + high) // 2
        if is_viable(replace(request, spec=candidates[middle], targets=None), offer, chip):
            low = middle + 1
        else:
            high = middle
    return f"{candidates[low - 1].name} would fit" if low else ""


@cache
def by_size() -> list[tuple[int, str, ModelSpec]]:
    """(parameters, name, model) of the registry, smallest first."""
    return sorted((spec.params_total, spec.name, spec) for spec in registry.all_models())


@cache
def trained_by_size(backend: str, method: str, sequence_length: int) -> tuple[list[int], list[ModelSpec]]:
    """The registry's models that a trainer takes, smallest first, after their parameter counts: a quote asks often."""
    models = [
        (size, spec)
        for size, _, spec in by_size()
        if loads(spec, method, sequence_length, backend).verdict != "no trainer"
    ]
    return [size for size, _ in models], [spec for _, spec in models]


def place_remedy(quote: Quote, line: QuoteRow) -> str:
    """What would make a machine that fits and loads work here."""
    if not line.priced:
        return "ask the provider for its price"
    if line.assessment.hours is None or line.offer.limits.barred:
        return ""
    if line.too_dear:
        return f"--max-cost {line.usd_likely.to_integral_value(ROUND_CEILING)}"
    if line.assessment.short_of_disk:
        roomy = [other for other in quote.lines if other.viable and other.offer.provider == line.offer.provider]
        return f"{roomy[0].offer.name} has the disk for it" if roomy else "a smaller model"
    faster = [
        other
        for other in quote.lines
        if other.viable and (other.offer.provider, other.offer.hardware) == (line.offer.provider, line.offer.hardware)
    ]
    if faster:
        return f"{faster[0].offer.name} ({faster[0].offer.market.replace('_', ' ')}) is in time"
    if line.assessment.late and line.assessment.hours.high != float("inf"):
        return more_hours(quote.request, math.ceil(line.assessment.hours.likely))
    return "fewer tokens or a smaller model" if line.assessment.barred else ""


def more_hours(request: Request, needed: int) -> str:
    """The higher ceiling, where it is said: --max-hours only lowers the one of the settings."""
    if request.settings_hours is not None and needed > request.settings_hours:
        return f"`cloudtrain config set max_hours {needed}`"
    return f"--max-hours {needed}"
