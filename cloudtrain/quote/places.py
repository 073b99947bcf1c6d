"""Places that nobody offers anything in: a misspelled region, said as such instead of as a machine that is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.errors import ProviderError, UsageError, nearest
from cloudtrain.providers import PriceSource, load

if TYPE_CHECKING:
    from cloudtrain.providers import Context
    from cloudtrain.quote.request import Place, Request


def check(request: Request, context: Context) -> None:
    """For a quote without any line. Raises UsageError for a region or zone that its provider offers nothing in."""
    for place in request.places:
        try:
            offers = list(load("pricing", place.provider, PriceSource).offers(context))
        except ProviderError:
            continue
        if offers and not any(place.holds(offer) for offer in offers):
            regions = sorted({offer.region for offer in offers if offer.region})
            zones = {zone for offer in offers if offer.region == place.region for zone in offer.zone.split()}
            raise UsageError(f"`{named(place)}` is no place of any offer", hint(place, regions, sorted(zones)))


def named(place: Place) -> str:
    """As it is written."""
    return "/".join(filter(None, (place.provider, place.region, place.zone)))


def hint(place: Place, regions: list[str], zones: list[str]) -> str:
    """The nearest place that there is, else all regions."""
    if place.region in regions:
        close, known = nearest(place.zone, zones), zones
        near = f"{place.provider}/{place.region}/{close}"
    else:
        close, known = nearest(place.region, regions), regions
        near = f"{place.provider}/{close}"
    if close:
        return f"did you mean `{near}`?"
    return f"known: {', '.join(known)}" if known else f"write `{place.provider}` alone: its offers have no regions"
