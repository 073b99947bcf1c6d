"""How a provider is asked for its own bill, and what it answers: the third figure beside quoted and metered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple


class BillQuestion(NamedTuple):
    """A run as a provider is asked for its bill. `key` is in its tags and names; `end` is None while it may stand."""

    run: str
    key: str
    machines: tuple[str, ...]  # their ids there
    places: tuple[Mapping[str, Any], ...]
    begin: float
    end: float | None


class Bills(NamedTuple):
    """What a provider has billed: run -> sort (compute, disk, egress, address, credit, tax, other) -> US dollars.

    A run of which the bill holds nothing so far is not in it. `message` says why it is so, or what a person has to do.
    """

    usd: Mapping[str, Mapping[str, Decimal]]
    message: str = ""


class Billing(NamedTuple):
    """A provider's own bill. `ask` raises provider errors; "not switched on" is an answer."""

    source: str  # who says so, for a person
    ask: Callable[[Sequence[BillQuestion], float], Bills]  # (runs, now)
    first_s: float  # after its beginning a run is not on the bill before
    settled_s: float  # after its end a run's figures change no more
    every_s: float  # it is asked at most so often
