"""What prices were: a line for each change, per provider, bounded."""

from __future__ import annotations

from cloudtrain.prices.records import Change


def changes(
    provider: str,
    offer: str | None = None,
    region: str | None = None,
    zones: str | None = None,
    market: str | None = None,
) -> list[Change]:
    """The changes of these prices, oldest first; None stands for any."""
    raise NotImplementedError
