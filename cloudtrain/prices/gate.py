"""What a new price list must pass before it counts: whole, plausible, and without a jump that nobody has confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cloudtrain.prices.records import Held
from cloudtrain.prices.table import Table


class Fault(NamedTuple):
    """What keeps the prices of a region ("": of the whole list) from counting, as a sentence."""

    region: str
    message: str


class Verdict(NamedTuple):
    """Faults, and prices that jumped and wait for a second answer. A list may count when there is neither."""

    faults: tuple[Fault, ...]
    held: tuple[Held, ...]


def judge(
    provider: str, old: Table, new: Table, now: float, held: Sequence[Held] = (), accept_jumps: bool = False
) -> Verdict:
    """Compare a new list of a provider with the one that counts. Pure; `held` are the prices that wait already."""
    raise NotImplementedError


def reread(provider: str, folder: object) -> None:
    """Read `<folder>/<provider>.csv` as a quote would. Raises UsageError, naming the line."""
    raise NotImplementedError
