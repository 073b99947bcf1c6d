"""Google Cloud: TPU slices by accelerator type (`v5p-8`) and large CPU hosts, per region."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .._snapshot import Reading, read_offers

if TYPE_CHECKING:
    from cloudtrain.listings import Answer, Shape


@cache
def _zone_names(region: str, letters: str) -> str:
    return " ".join(f"{region}-{letter}" for letter in letters.split())


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the catalogue. A TPU row names every zone in which its price holds, separated by blanks."""
    return read_offers(context.price_list("gcp"), "gcp", Reading(zone_names=_zone_names))


def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What the Cloud Billing catalogue says of them."""
    from .answers import answers

    return answers(rows, seconds)


provider = PriceSource(
    "gcp",
    offers,
    terms=Terms(
        boot_s=Range(60, 180, 900),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(200e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal("0.10"),
        address_usd_per_hour=Decimal("0.005"),
        egress_usd_per_gb=Decimal("0.12"),
        minimum_billed_s=60,
        bucket="gs",
        source=(
            "disk pd-balanced, IPv4 and egress: snapshots/extra_costs.csv (us-central1, 2026-07-30), listed per GiB "
            "and taken per GB, so at most 7 % too high; minimum is a VM's minute (from memory), a TPU has none; image: "
            "a 12 GB image pulls cold in 2 to 8 minutes (blog.zmalik.dev, February 2026); download 200 MB/s to 1 "
            "GB/s and boot are assumptions"
        ),
    ),
    credentials=("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"),
    credential_files=("~/.config/gcloud/application_default_credentials.json",),
    refresh=refresh,
    price_credentials=("GOOGLE_API_KEY",),
)
