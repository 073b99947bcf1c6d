"""Price lists of a test's own, and a provider that answers a refresh with what a test says, in the place of a price source's own asking."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.listings import Answer, Listing, Shape
from cloudtrain.providers import PriceSource, load

Asked = Callable[[Sequence[Shape], float], Iterable[Answer]]


def answering(monkeypatch: pytest.MonkeyPatch, provider: str, refresh: Asked | None, **fields: Any) -> None:
    """Let this provider's record have that `refresh`, and these fields."""
    load("pricing", provider, PriceSource)
    module = sys.modules[f"cloudtrain.pricing.{provider}"]
    changed = load("pricing", provider, PriceSource)._replace(refresh=refresh, **fields)
    monkeypatch.setattr(module, "provider", changed)


def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider can be asked."""
    from cloudtrain.providers import names

    for name in names("pricing"):
        answering(monkeypatch, name, None)


COLUMNS = (
    "provider,offer,accelerator,accel_count,accel_mem_gib,accel_mem_total_gib,vcpus,ram_gib,region,zones,od_usd_h,"
    "spot_usd_h,min_billing,trainable,bnb_4bit,observed,source,confidence,note"
)
RUNPOD = """
runpod,AMD Instinct MI300X OAM x1,mi300x,1,192,192,24,283,EU-RO-1,,2.39,,,rocm torch,yes,2026-02-10,a page,VERIFIED,
runpod,AMD Instinct MI300X OAM x2,mi300x,2,192,384,48,566,EU-RO-1,,4.78,,,rocm torch,yes,2026-02-10,a page,VERIFIED,
runpod,AMD Instinct MI300X OAM x2,mi300x,2,192,384,48,566,US-TX-1,,,,,rocm torch,yes,2026-02-10,a page,VERIFIED,
"""
AWS = """
aws,trn1.2xlarge,trainium1,1,32,32,8,32,us-east-1,use1-az5,1.34375,0.1551,,neuron,no,2026-06..08,a list,VERIFIED,
aws,trn1.2xlarge,trainium1,1,32,32,8,32,us-east-1,use1-az6,1.34375,0.1915,,neuron,no,2026-06..08,a list,VERIFIED,
"""


def own_lists(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Ship these price lists in the place of ours, so that no test changes with today's prices."""
    pricing = import_module("cloudtrain.pricing")
    shutil.copytree(pricing.SNAPSHOTS, folder)
    for path in folder.glob("*.csv"):
        if path.stem not in ("disks", "extra_costs"):
            path.unlink()
    (folder / "runpod.csv").write_text(COLUMNS + RUNPOD)
    (folder / "aws.csv").write_text(COLUMNS + AWS)
    monkeypatch.setattr(pricing, "SNAPSHOTS", folder)


def selling(usd: Callable[[Shape], str | None]) -> Asked:
    """Who sells every row on demand at this many dollars an hour; None: not."""

    def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        for row in rows:
            price = usd(row)
            yield Listing(
                row.offer,
                row.region,
                row.zones,
                "on_demand",
                None if price is None else Decimal(price),
                "a test's price list",
            )

    return refresh
