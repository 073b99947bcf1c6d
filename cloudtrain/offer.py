"""An offer: what can be rented or is owned, its price, its limits, and what its provider charges in addition."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple

Market = Literal["on_demand", "spot", "free", "units", "owned"]
ASSUMED = "ASSUMED"  # confidence of a price of which a part is a guess


class Price(NamedTuple):
    """Where a price comes from. `as_of` and `since` are the last and the first day of the range in which it was seen.

    YYYY-MM-DD, or "" where that is unknown. `up` counts from the last day, what is printed as age from the first.
    """

    origin: str  # snapshot | live | settings | assumed
    as_of: str
    source: str
    confidence: str
    since: str = ""

    @property
    def is_assumed(self) -> bool:
        """Whether nobody said it: own electricity without watts, or without its price."""
        return self.confidence == ASSUMED


class Limits(NamedTuple):
    """What the provider's rules allow on an offer; None means no limit is known."""

    session_hours: float | None = None
    weekly_hours: float | None = None
    by_hand: str = ""  # not empty: only a person or a notebook can start it, and why
    barred: str = ""  # not empty: never allowed, and why
    purchase_usd: Decimal | None = None  # the least that can be bought; what is used is paid out of it


NO_LIMITS = Limits()


class Box(NamedTuple):
    """A machine of one's own, wherever it stands. `memory_bytes` is per chip, of a processor's machine the whole RAM.

    `watts` is what all of it draws while it trains; None: not known. `said` is false where the memory is the table's.
    """

    hardware: str  # a key of the accelerator table
    title: str  # what people call one of it
    count: int  # type: ignore[assignment]  # chips, or vCPUs of a processor; shadows tuple.count
    memory_bytes: int
    is_host: bool = False  # a processor
    watts: Decimal | None = None
    said: bool = True
    note: str = ""


class OfferKey(NamedTuple):
    """What of an offer decides which machine is made, where, under which market: stacks and price sources go by it."""

    provider: str
    offer: str  # the provider's name of it
    region: str
    zone: str
    hardware: str
    count: int  # type: ignore[assignment]  # shadows tuple.count
    market: Market

    @property
    def place(self) -> str:
        """Where it is looked for, as one word: provider, machine, region, zone, market."""
        return "/".join((self.provider, self.offer, self.region, self.zone, self.market))


class StepCosts(NamedTuple):
    """What a step costs on a machine beside its products, in one number type: see `estimate/steps.py`.

    Seconds of a step, a layer in it, an element of a token, a number of the head for each token, a 4-bit weight;
    attention operations per second.
    """

    step_s: float
    layer_s: float
    element_s: float
    head_s: float
    unpack_s: float
    attention_flops_per_s: float


class Products(NamedTuple):
    """Matrix products measured on a machine, in operations per second of all its cores; `load` is what others had."""

    bf16_flops_per_s: float
    fp32_flops_per_s: float
    time: float  # epoch seconds
    load: float | None  # share of the processors, 0 to 1
    bf16_costs: StepCosts | None = None
    fp32_costs: StepCosts | None = None


class Probe(NamedTuple):
    """What was measured on a machine while it had so many cores of this class."""

    hardware: str
    cores: int
    products: Products


class Pace(NamedTuple):
    """The share of its processor's speed that a machine gives, and who says so."""

    low: float
    likely: float
    high: float
    source: str


class Offer(NamedTuple):
    """One thing that can be rented, or is owned, in one place under one market.

    `count` counts what the hardware table's peak is given for: chips, or vCPUs of a CPU host. `memory_bytes` is per
    chip (for a CPU host: its whole RAM). `usd_per_hour` is for all of it together; None means unknown, never free.
    """

    provider: str
    name: str
    region: str
    zone: str
    hardware: str  # a key of the accelerator table, or "" when the table has no such chip
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody asks an offer for
    memory_bytes: int
    vcpus: int | None
    host_memory_bytes: int | None
    market: Market
    usd_per_hour: Decimal | None
    price: Price
    limits: Limits = NO_LIMITS
    note: str = ""
    products: Products | None = None  # measured on this very machine
    threads_per_core: int | None = None  # of this very machine; None: by its provider and family
    pace: Pace | None = None  # None: the whole speed of its processor, always

    @property
    def key(self) -> OfferKey:
        """Which machine, where, under which market."""
        return OfferKey(self.provider, self.name, self.region, self.zone, self.hardware, self.count, self.market)


class Range(NamedTuple):
    """A figure and how sure it is."""

    low: float
    likely: float
    high: float

    def scaled(self, factor: float) -> Range:
        """Every bound times `factor`."""
        return Range(self.low * factor, self.likely * factor, self.high * factor)


class Terms(NamedTuple):
    """What a provider's machines need and cost in addition to the hourly price. Unknown prices are None, never zero."""

    boot_s: Range
    image_bytes_per_s: Range
    download_bytes_per_s: Range
    disk_usd_per_gb_month: Decimal | None
    address_usd_per_hour: Decimal | None
    egress_usd_per_gb: Decimal | None
    minimum_billed_s: int
    source: str
    image_needed: bool = True
    sees_client_files: bool = False  # a model folder of the client's is there already: no download
    bucket: str = ""  # scheme of the buckets beside its machines, traffic with which is free; "" for none
    disk_usd_per_mb_s_month: Decimal | None = None  # of each MB/s more than it has; None where none can be asked for
