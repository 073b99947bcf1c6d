"""A provider that answers a refresh with what a test says, in the place of a price source's own asking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.listings import Answer, Listing, Shape
from cloudtrain.providers import PriceSource, load

Asked = Callable[[Sequence[Shape], float], Iterable[Answer]]


def answering(monkeypatch: pytest.MonkeyPatch, provider: str, refresh: Asked | None, **fields: Any) -> None:
    """Let this provider's record have that `refresh`, and these fields."""
    load("pricing", provider, PriceSource)
    module = sys.modules[f"cloudtrain.pricing.{provider}"]
    monkeypatch.setattr(module, "provider", replace(load("pricing", provider, PriceSource), refresh=refresh, **fields))


def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider can be asked."""
    from cloudtrain.providers import names

    for name in names("pricing"):
        answering(monkeypatch, name, None)


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
