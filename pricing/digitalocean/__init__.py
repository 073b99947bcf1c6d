"""DigitalOcean's droplets with one AMD GPU: an offer is a size by its slug, and what is on spot has another slug."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .._snapshot import Reading, read_offers
from .slugs import market_of

if TYPE_CHECKING:
    from cloudtrain.listings import Answer, Shape


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the price list, each under the market of its slug alone."""
    found = read_offers(context.price_list("digitalocean"), "digitalocean", Reading())
    return [offer for offer in found if offer.market == market_of(offer.name)]


def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What the account's list of sizes says of these rows now. Raises MissingCredentials, Permission, Unavailable."""
    from .sizes import answers

    return answers(rows, seconds)


provider = PriceSource(
    "digitalocean",
    offers,
    terms=Terms(
        boot_s=Range(60, 240, 900),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(100e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal(0),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=Decimal("0.01"),
        minimum_billed_s=60,
        source=(
            "boot disk and address are part of a droplet, traffic out and 60 seconds at least: "
            "snapshots/extra_costs.csv (2026), without what is free of it; boot: a public session on a spot MI350X "
            "waited some minutes for the first boot (2026-10-01); the range, image and download are assumptions"
        ),
    ),
    credentials=("DIGITALOCEAN_TOKEN",),
    refresh=refresh,
)
