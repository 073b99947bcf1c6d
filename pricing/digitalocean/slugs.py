"""What the slug of a size says of it."""

from __future__ import annotations

from cloudtrain.offer import Market


def market_of(slug: str) -> Market:
    """The one market of a size."""
    return "spot" if slug.endswith("-spot") else "on_demand"
