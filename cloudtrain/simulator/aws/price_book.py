"""What the fake AWS sells for how much, and how its price interfaces behave: a test changes what it likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple

from cloudtrain.simulator.aws import tables
from cloudtrain.simulator.price_faults import PriceFaults


class Change(NamedTuple):
    """From `time` on (epoch seconds) a type costs so much on spot in a zone."""

    type: str
    region: str
    zone: str  # its id
    time: float
    usd: Decimal


@dataclass
class PriceBook:
    """The prices, the pages, the tokens, the refusals and the faults of one account."""

    sold: Sequence[tables.Sold] = field(default_factory=tables.catalogue)
    changes: Sequence[Change] | None = None  # None: what `sold` says, since yesterday
    page: int = 2  # the most entries on a page, whatever is asked for
    token_s: float = 300.0  # how long the token of a next page is good
    several: Literal["commas", "refused", "literally"] = "commas"  # how ANY_OF takes a value
    refused_regions: set[str] = field(default_factory=set)  # not switched on: EC2 says AuthFailure there
    faults: PriceFaults = field(default_factory=PriceFaults)
    tokens: dict[str, float] = field(default_factory=dict)  # until when, by the fake's clock
    requests: list[tuple[str, str]] = field(default_factory=list)  # (call, region), one for each that came
