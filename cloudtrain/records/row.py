"""The quote's row as a run keeps it: what it was launched on, with its price frozen.

The same fields as a line of `cloudtrain quote -o json`; `quote/document.py` makes both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from cloudtrain.offer import Market, OfferKey
from cloudtrain.records.form import Form, Number, Usd

# Of a kept row that says less of its disk: what an older version took at least, on a processor and on accelerators.
OLD_CPU_DISK_GB, OLD_DISK_GB = 20, 250


class Bounds(Form):
    """A figure and how sure it is; None for one without an end."""

    low: Number | None
    likely: Number | None
    high: Number | None


class UsdBounds(Form):
    """Dollars and how sure they are."""

    low: Usd
    likely: Usd
    high: Usd


class PriceRecord(Form):
    """Where the price comes from; see `offer.Price`."""

    origin: str
    as_of: str
    source: str
    confidence: str
    since: str = ""


class CostPartRecord(Form):
    """A named cost line: quantity x unit price."""

    name: str
    quantity: Usd
    unit: str
    unit_usd: Usd | None
    usd: Usd | None = None


class RecipeRecord(Form):
    """How the job is run; see `quote/recipes.py`."""

    stack: str
    method: str
    targets: str | None = None
    rank: int | None = None
    batch: int | None = None  # sequences at once; None: of a row that an older version kept
    loss: str = ""
    dtype: str = "bf16"
    adapter_dtype: str = ""
    quantisation: str = ""  # of the frozen weights under qlora
    experts: str = ""
    sharding: str = ""
    checkpointing: bool = True
    optimizer: str = ""
    packing: bool = False


class MeasuredShare(Form):
    """By how many runs that were measured here its speed was corrected, and their weight in it."""

    runs: int
    weight: float


class RowRecord(Form):
    """One row. What decides which machine is made is required; of the rest a kept row may lack what was not known."""

    provider: str
    offer: str
    region: str
    zone: str
    hardware: str
    count: int
    market: Market
    price_usd_per_hour: Usd | None
    price: PriceRecord
    smallest_purchase_usd: Usd | None = None
    memory_bytes: int = 0  # both per device
    required_bytes: int = 0
    devices: int = 1
    disk_gb: int | None = None  # of each host: what a machine is made with
    disk_needed_gb: int | None = None
    disk_most_gb: int | None = None  # None also where nobody says
    disk_mb_per_s: int | None = None  # that it is asked for; None where no speed is
    disk_parts_bytes: Mapping[str, int] = {}  # what the job writes; see `quote/machine/disk.py`
    fits: str = ""
    loads: str = ""
    allowed: bool = True
    priced: bool = True
    in_time: bool = True
    launch: str = ""
    recipe: RecipeRecord | None = None
    stack: str = ""
    hours: Bounds | None = None
    billed_hours: Bounds | None = None
    time_parts_s: Mapping[str, Bounds] = {}
    cost_parts: tuple[CostPartRecord, ...] = ()
    tokens_per_second: Bounds | None = None
    basis: str = ""
    measured: MeasuredShare | None = None
    total_usd: UsdBounds | None = None
    viable: bool = True
    reasons: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    p_done: float | None = None  # probability that it ends within the ceiling and the session
    expected_usd: Usd | None = None  # E[cost] / P(done)
    beside_usd_per_hour: Usd | None = None  # disk and address; only of a place that is kept to be tried later

    @property
    def key(self) -> OfferKey:
        """Which machine, where, under which market."""
        return OfferKey(self.provider, self.offer, self.region, self.zone, self.hardware, self.count, self.market)

    @property
    def disk_to_ask_gb(self) -> int:
        """GB of disk that a machine is made with; of a row that an older version kept, what its quote charged for."""
        if self.disk_gb is not None:
            return self.disk_gb
        hours = self.billed_hours.likely if self.billed_hours else None
        charged = [float(part.quantity) / hours for part in self.cost_parts if part.name == "disk" and hours]
        least = OLD_CPU_DISK_GB if self.hardware.startswith("cpu") else OLD_DISK_GB
        return max(least, math.ceil(max(charged, default=0)))

    def at_price(self, usd_per_hour: Decimal | None) -> RowRecord:
        """The row at another price per hour."""
        return self.replace(price_usd_per_hour=usd_per_hour)

    def bounds(self, name: str) -> dict[str, Any] | None:
        """`hours`, `total_usd` ... as JSON; None when unknown."""
        found: Form | None = getattr(self, name)
        return None if found is None else found.model_dump(mode="json")
