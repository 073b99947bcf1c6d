"""EC2 shapes: Trainium, Gaudi, Radeon V520 and large CPU hosts, per region and where known per zone id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.offer import Offer, Pace, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .._snapshot import Reading, read_offers

if TYPE_CHECKING:
    from cloudtrain.listings import Answer, Shape

# A job computes all day: at the worst it gets what is guaranteed, likely that for the rest of the day.
_FLEX = Pace(
    0.4,
    0.95 + 0.05 * 0.4,
    1.0,
    "a flex size guarantees 40 % of the processor, and all of it 95 % of a day (AWS, from memory): made for machines "
    "that are not always busy",
)


def offers(context: Context) -> Iterable[Offer]:
    """The dated EC2 rows of the catalogue. Zones are zone ids (`use1-az5`); "" means the cheapest of the region."""
    found = read_offers(context.price_list("aws"), "aws", Reading())
    for index, offer in enumerate(found):
        if "-flex." in offer.name:
            found[index] = offer._replace(pace=_FLEX)
    return found


def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What AWS says of each row now: list and spot price. Raises a provider error where it answers for none."""
    from .answers import answers

    return answers(rows, seconds)


def past(row: Shape, days: int) -> Iterable[tuple[float, str, Decimal]]:
    """Changes of a row's spot price in the last days (90 at most), oldest first: epoch seconds, zone id, dollars."""
    from . import spot_prices

    return spot_prices.past(row, days)


provider = PriceSource(
    "aws",
    offers,
    terms=Terms(
        boot_s=Range(45, 90, 300),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(200e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal("0.08"),
        disk_usd_per_mb_s_month=Decimal("0.04"),
        address_usd_per_hour=Decimal("0.005"),
        egress_usd_per_gb=Decimal("0.09"),
        minimum_billed_s=60,
        bucket="s3",
        source=(
            "disk gp3, IPv4, egress and minimum: snapshots/extra_costs.csv (us-east-1, 2026), without the 100 GB of "
            "free egress a month; image: a 12 GB image pulls cold in 2 to 8 minutes (blog.zmalik.dev, February 2026); "
            "download 200 MB/s to 1 GB/s and boot are assumptions"
        ),
    ),
    credentials=("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    credential_files=("$AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", "~/.aws/config"),
    refresh=refresh,
    past=past,
)
