"""Where a machine is tried, in which order, and the memory of places that had none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from cloudtrain.providers import Stack, load, names
from cloudtrain.quote.row import QuoteRow
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import read_record, write_record

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.quote.row import Quote


class HasKey(Protocol):
    """A row of a quote, or one that is kept in the state."""

    @property
    def key(self) -> OfferKey:
        """Which machine, where, under which market."""


Keyed = TypeVar("Keyed", bound=HasKey)
FULL_FOR_S = 600.0  # a place without capacity is asked last for so long
KEY = "places.json"


def rentable(quote: Quote, experimental: bool) -> list[QuoteRow]:
    """Viable lines that some stack can make a machine for, cheapest first; over the cap of the request none."""
    clouds = {name: load("stacks", name, Stack).cloud for name in names("stacks")}
    found = []
    for line in quote.lines:
        cloud = clouds.get(line.offer.provider)
        wanted = line.viable and (experimental or line.assessment.loads == "yes")
        if wanted and cloud is not None and cloud.serves(line.key):
            found += by_zone(line)
    return found


def for_job(lines: Iterable[QuoteRow]) -> list[QuoteRow]:
    """Those of the lines on which a job can run, all by the cheapest one's recipe: a run has one bundle and one job."""
    able = sorted((line for line in lines if line.assessment.launch == "yes"), key=lambda line: line.rank)
    return [line for line in able if shipped(line) == shipped(able[0])]


def shipped(line: QuoteRow) -> tuple[str, str]:
    """The environment that the line's recipe needs, and what the job says that its weights are packed in."""
    recipe = line.assessment.recipe
    return (recipe.flavour, recipe.options.quantisation) if recipe else ("", "")


def by_zone(line: QuoteRow) -> list[QuoteRow]:
    """A line that names several zones as one line for each: they are tried one after the other."""
    zones = line.offer.zone.split() or [""]
    rank, expected = line.rank, line.expected_usd
    return [
        QuoteRow(line.offer._replace(zone=zone), line.assessment, rank, line.viable, None, expected) for zone in zones
    ]


def in_order(rows: Iterable[QuoteRow], full: Mapping[str, float], now: float) -> list[QuoteRow]:
    """The cheapest first; then its other zones, its provider's other machines, other providers; full places last."""
    by_cost = sorted(rows, key=lambda row: row.rank)
    fresh = [row for row in by_cost if full.get(row.key.place, 0.0) <= now] or by_cost
    return near(by_cost, fresh[0].key, full, now) if fresh else []


def near(rows: Iterable[Keyed], first: OfferKey, full: Mapping[str, float], now: float) -> list[Keyed]:
    """The rows of this machine first, then those of its provider; full places last; else in the order given."""

    def rank(row: Keyed) -> tuple[bool, bool, bool]:
        key = row.key
        return full.get(key.place, 0.0) > now, key.provider != first.provider, key.offer != first.offer

    return sorted(rows, key=rank)


def full_places(store: Store) -> Mapping[str, float]:
    """Place -> epoch seconds until which it is believed to be full."""
    from cloudtrain.records import FullPlacesRecord

    found = read_record(store, KEY, FullPlacesRecord)
    return {} if found is None else found.until


def remember_full(store: Store, key: OfferKey, now: float) -> None:
    """The place had none just now, or took one away."""
    from cloudtrain.records import FullPlacesRecord

    places = {place: until for place, until in full_places(store).items() if until > now}
    write_record(store, KEY, FullPlacesRecord(until={**places, key.place: now + FULL_FOR_S}))


def region_and_zone(key: OfferKey) -> str:
    """Where it is, for a person."""
    return "/".join(part for part in (key.region, key.zone) if part) or "anywhere"
