"""What the fake AWS knows by heart: which type is sold where and for how much, images, quotas."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import NamedTuple

VOLUME_USD_PER_GB_HOUR = 0.08 / 730  # gp3
VOLUME_USD_PER_MIB_S_HOUR = 0.04 / 730  # of each MiB/s over the least
LEAST_MIB_S, LARGEST_MIB_S = 125, 1000
FREE_IOPS, MIB_S_PER_IOPS = 3000, 0.25
IMAGES = {  # parameter: (image, architecture)
    "/aws/service/neuron/dlami/multi-framework/ubuntu-24.04/latest/image_id": ("ami-0feed0000000000a1", "x86_64"),
    "/aws/service/neuron/dlami/base/ubuntu-24.04/latest/image_id": ("ami-0feed0000000000a2", "x86_64"),
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": (
        "ami-0feed0000000000b1",
        "x86_64",
    ),
    "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id": (
        "ami-0feed0000000000b2",
        "arm64",
    ),
}
NEURON_IMAGE_GB = 200
LARGEST_VOLUME_GB = 65536  # of gp3, in GiB: EBS volume constraints, 2026-08
QUOTAS = (  # pattern of the type, on demand, spot, what this account has of it in vCPUs
    (r"trn", "L-2C3B7624", "L-6B0D517C", 256.0),
    (r"inf", "L-1945791B", "L-B5D1601B", 0.0),
    (r"dl", "L-6E869C2A", "L-85EED4F7", 0.0),
    (r"x", "L-7295265B", "L-E3A00192", 512.0),
    (r"u", "L-43DA4232", "", 1792.0),
    (r"[acdhimrtz]\d", "L-1216C47A", "L-34B43A08", 1152.0),
)


class Sold(NamedTuple):
    """A row of the shipped catalogue."""

    type: str
    region: str
    zones: tuple[str, ...]  # zone ids; empty: all of the region
    vcpus: int
    hardware: str
    usd_per_hour: float | None
    spot_usd_per_hour: float | None


@cache
def catalogue() -> tuple[Sold, ...]:
    """Every row that AWS has in the shipped snapshot."""
    text = files("cloudtrain.pricing").joinpath("snapshots", "aws.csv").read_text()
    return tuple(
        Sold(
            *(row["offer"], row["region"], tuple(row["zones"].split()), int(row["vcpus"] or 0), row["accelerator"]),
            *(float(row[price]) if row[price] else None for price in ("od_usd_h", "spot_usd_h")),
        )
        for row in csv.DictReader(text.splitlines())
    )


def rows(sold: Iterable[Sold], instance_type: str, region: str) -> list[Sold]:
    """Where a type is sold in a region."""
    return [row for row in sold if row.type == instance_type and row.region == region]


def regions() -> tuple[str, ...]:
    """Every region of the catalogue."""
    return tuple(sorted({row.region for row in catalogue()}))


def price(here: Iterable[Sold], zone: str, market: str) -> float:
    """US dollars per hour of a machine that runs, by the rows of its type and region; ten where nobody knows."""
    fitting = [row for row in here if not row.zones or zone in row.zones]
    prices = [row.spot_usd_per_hour if market == "spot" else row.usd_per_hour for row in fitting]
    known = [usd for usd in prices if usd is not None]
    return known[0] if known else 10.0


def architecture(instance_type: str) -> str:
    """`arm64` for Graviton, by the letter g behind the generation."""
    return "arm64" if re.match(r"[a-z]+\d+g", instance_type) and not instance_type.startswith("g") else "x86_64"


def quota_code(instance_type: str, market: str) -> str:
    """The quota that a type counts against, "" for none."""
    for pattern, on_demand, spot, _ in QUOTAS:
        if re.match(pattern, instance_type):
            return spot if market == "spot" else on_demand
    return ""


def quotas() -> dict[str, float]:
    """What a new account of the fake has."""
    return {code: vcpus for _, on_demand, spot, vcpus in QUOTAS for code in (on_demand, spot) if code}
