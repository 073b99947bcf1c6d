"""What differs between two price lists, and what that does to a quote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.offer import Offer, OfferKey
from cloudtrain.providers import Context, PriceSource, load, names
from cloudtrain.quote.ids import row_ids

if TYPE_CHECKING:
    from pathlib import Path

    from cloudtrain.quote.request import Request
    from cloudtrain.quote.row import Quote


class Difference(NamedTuple):
    """A price that differs, in US dollars per hour; None: not offered there, or of unknown price.

    `old_as_of` and `new_as_of` are the days (YYYY-MM-DD) on which the prices were seen, "" where that is unknown.
    """

    id: str
    key: OfferKey
    old: Decimal | None
    new: Decimal | None
    old_as_of: str
    new_as_of: str

    @property
    def change(self) -> float | None:
        """By which part of the old one it moved; None where there is nothing to compare."""
        return None if self.old is None or self.new is None or not self.old else float(self.new / self.old - 1)


class Row(NamedTuple):
    """A row of a quote, by its id, and its likely dollars."""

    id: str
    likely_usd: Decimal


class Effect(NamedTuple):
    """Of a quote the first viable row and the one that `up` takes; None where there is none."""

    first: Row | None
    chosen: Row | None


def of_folder(context: Context, folder: Path | None) -> Context:
    """The same, but with the price lists of a folder alone; None: those that a quote reads anyway."""
    return context if folder is None else context._replace(catalog=folder, refreshed={})


def offers(context: Context, providers: Iterable[str] = ()) -> list[Offer]:
    """What the price lists offer for rent: of these providers, or of all."""
    sources = (load("pricing", name, PriceSource) for name in providers or names("pricing"))
    return [offer for source in sources if not source.owned for offer in source.offers(context)]


def differences(old: Iterable[Offer], new: Iterable[Offer]) -> list[Difference]:
    """Every price that differs, by provider and id. A row that one of the lists lacks has no price there."""
    before, after = by_key(old), by_key(new)
    every = {**before, **after}
    ids = dict(zip(every, row_ids(list(every.values())), strict=True))
    found = []
    for place, offer in every.items():
        was, now = before.get(place), after.get(place)
        old_usd, new_usd = (each.usd_per_hour if each else None for each in (was, now))
        if old_usd != new_usd:
            old_day, new_day = (each.price.as_of if each else "" for each in (was, now))
            found.append(Difference(ids[place], offer.key, old_usd, new_usd, old_day, new_day))
    return sorted(found, key=lambda each: (each.key.provider, each.id))


def by_key(offers: Iterable[Offer]) -> dict[tuple[OfferKey, int], Offer]:
    """The offers by what names them; those that are named alike are numbered in their order."""
    found: dict[tuple[OfferKey, int], Offer] = {}
    times: defaultdict[OfferKey, int] = defaultdict(int)
    for offer in offers:
        found[offer.key, times[offer.key]] = offer
        times[offer.key] += 1
    return found


def effect(request: Request, context: Context) -> Effect:
    """What a quote with these price lists comes to."""
    from cloudtrain.quote.engine import quote

    quoted = quote(request, context)
    is_any = bool(quoted.lines) and quoted.lines[0].viable
    return Effect(_row(quoted, 0 if is_any else None), _row(quoted, quoted.chosen))


def _row(quoted: Quote, index: int | None) -> Row | None:
    return None if index is None else Row(quoted.id_of(index), quoted.lines[index].usd_likely)
