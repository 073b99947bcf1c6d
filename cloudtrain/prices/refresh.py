"""Asks providers for today's prices, judges what they answer, and lets it count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cloudtrain.errors import CloudtrainError
from cloudtrain.listings import Unlisted
from cloudtrain.prices.gate import Fault
from cloudtrain.prices.records import Change, Held

TIMEOUT_S = 60.0
State = Literal["renewed", "unchanged", "refused", "no_credentials", "unanswered"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a refresh of one provider came to. Counts are of prices, one for each row and market.

    `renewed`: a new list counts (of a dry run: would). `unchanged`: the last one is younger than 20 minutes. `refused`:
    the gate keeps the old list. `no_credentials`, `unanswered`: `error` says why.
    """

    provider: str
    state: State
    taken: int = 0  # answered, and written with today's date; those that are gone are counted below
    kept: int = 0  # not answered, or of a region with a fault: the old price and its date
    gone: int = 0  # asked, and no longer offered
    held: tuple[Held, ...] = ()
    unlisted: tuple[Unlisted, ...] = ()
    faults: tuple[Fault, ...] = ()
    changes: tuple[Change, ...] = ()  # prices that differ from those that counted before
    error: CloudtrainError | None = None


def refreshable() -> list[str]:
    """Providers that can be asked, sorted."""
    raise NotImplementedError


def refresh(
    providers: Sequence[str] | None,
    *,
    now: float,
    dry_run: bool = False,
    accept_jumps: bool = False,
    timeout_s: float = TIMEOUT_S,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Ask the named providers, or all that can be asked, at once; one outcome each, in the order of their names.

    One provider's failure touches no other. Raises UsageError for an unknown name and for a folder that cannot be written.
    """
    raise NotImplementedError
