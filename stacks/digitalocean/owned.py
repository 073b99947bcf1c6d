"""Everything of ours at DigitalOcean, found by tag or name without any record. A list has all regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from cloudtrain.providers import OwnedResource

from . import api, droplets, tags


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> list[OwnedResource]:
    """Every droplet of ours, of the run with that key or of all; one account is one place.

    All of it is read before anything is given, so that deleting what was found cannot move the pages to come. Raises
    MissingCredentials for a place that belongs to another account.
    """
    for place in places or ():
        api.check_place(place)
    return list(_ours(run, droplets.listed()))


def _ours(run: str | None, listed: Sequence[Mapping[str, Any]]) -> Iterator[OwnedResource]:
    for droplet in listed:
        ours, status = tags.said(droplet), str(droplet.get("status", ""))
        if not ours.key or run not in (None, ours.key):
            continue
        price = (droplet.get("size") or {}).get("price_hourly")
        region = str((droplet.get("region") or {}).get("slug", ""))
        yield OwnedResource(
            run=ours.key,
            id=str(droplet["id"]),
            what=" ".join(part for part in ("droplet", str(droplet.get("name", "")), status) if part),
            kind="droplet",
            inputs={"place": {"account": api.account(), "region": region}, "name": str(droplet.get("name", ""))},
            expires=ours.expires,
            usd_per_hour=Decimal(str(price)) if isinstance(price, Decimal | int) else None,
            console_url=console_url({}, str(droplet["id"])),
        )


def console_url(inputs: Mapping[str, Any], id: str) -> str:  # noqa: A002  # the seam's word
    """The droplet's page in the console; that of all droplets for what is no id."""
    return f"{api.CONSOLE}/droplets/{id}" if id.isdecimal() else f"{api.CONSOLE}/droplets"
