"""The ids of a quote's rows: short names that stay when the ranking, the model or the settings change."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from cloudtrain.offer import Offer

UNSAID = ("on_demand", "owned")  # markets that an id leaves out: what is meant where none is named


def row_ids(offers: Sequence[Offer]) -> list[str]:
    """An id for each offer, in the same order: `runpod/2xmi300x/eu-ro-1`, `gcp/c3-highmem-88/us-central1/spot`.

    Made of provider, offer, count, place and market alone, so that rank and job do not matter. Offers whose short ids
    would be equal take the offer's whole name and all its zones; those that are still alike are numbered `~2`, `~3`
    by what else tells them apart.
    """
    found = [_id(offer, _machine(offer), _place(offer)) for offer in offers]
    for again in (_whole, _numbered):
        times = Counter(found)
        if len(times) == len(found):
            break
        again(offers, found, [index for index, each in enumerate(found) if times[each] > 1])
    return found


def id_of(offer: Offer, offers: Sequence[Offer]) -> str:
    """The id of one of these offers; cheaper than all of them, because only its own provider and place matter to it."""
    place = _place(offer)
    there = [each for each in offers if each.provider == offer.provider and _place(each) == place]
    return row_ids(there)[next(index for index, each in enumerate(there) if each is offer)]


def _whole(offers: Sequence[Offer], found: list[str], alike: list[int]) -> None:
    for index in alike:
        offer = offers[index]
        found[index] = _id(offer, _slug(offer.name), "+".join(map(_slug, offer.zone.split())) or _slug(offer.region))


def _numbered(offers: Sequence[Offer], found: list[str], alike: list[int]) -> None:
    """Number what is left; a number that is somebody's name already is passed over."""
    taken = set(found)
    seen: Counter[str] = Counter()
    for index in sorted(alike, key=lambda index: (found[index], _details(offers[index]))):
        base = found[index]
        seen[base] += 1
        while seen[base] > 1 and f"{base}~{seen[base]}" in taken:
            seen[base] += 1
        if seen[base] > 1:
            found[index] = f"{base}~{seen[base]}"
            taken.add(found[index])


def _details(offer: Offer) -> tuple[object, ...]:
    """Everything else of an offer, as something to sort by; the price last, because it changes most."""
    usd = offer.usd_per_hour
    sizes = (offer.count, offer.memory_bytes, offer.vcpus or 0, offer.host_memory_bytes or 0)
    words = (offer.name, offer.hardware, offer.region, offer.zone, offer.market)
    return (*words, *sizes, usd is None, usd or 0, offer.price, offer.note)


def _id(offer: Offer, machine: str, place: str) -> str:
    market = "" if offer.market in UNSAID else offer.market
    return "/".join(filter(None, (_slug(offer.provider), machine or "-", place, market)))


def _place(offer: Offer) -> str:
    """The zone when there is one, else the region: what the table shows."""
    zones = offer.zone.split()
    return _slug(zones[0] if len(zones) == 1 else offer.region)


def _machine(offer: Offer) -> str:
    """The name of a type as it is; of a name that says the chip, the chip and how many."""
    name, chip = _slug(offer.name), offer.hardware
    if chip and ((" " in offer.name and f"-{chip}-" in f"-{name}-") or says_chips(offer)):
        return chip if offer.count == 1 else f"{offer.count}x{chip}"
    return name


def says_chips(offer: Offer) -> bool:
    """Whether a name of one word is made of the chip and how many, as `gpu-mi350x1-288gb` is of `mi350x` and 1."""
    return bool(offer.hardware) and f"-{offer.hardware}{offer.count}-" in f"-{offer.name}-"


@cache
def _slug(text: str) -> str:
    """Lower case, with one hyphen for all that a shell, a comma-separated list or an id would trip over."""
    return re.sub(r"[^\w.+]+", "-", text.lower()).strip("-")
