"""The two seams a provider fills: an Offer's shape, the records at the end of a provider file, and how they are found.

A provider is a file: `pricing/<key>.py` makes it quotable, `stacks/<key>.py` makes it launchable; the file name is the
key everywhere. Files are discovered; nothing lists them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from cloudtrain.errors import UsageError, nearest

if TYPE_CHECKING:
    from cloudtrain.runs.plan import Plan

Market = Literal["on_demand", "spot", "free", "units", "owned"]
T = TypeVar("T")


class Price(NamedTuple):
    """Where a price comes from. `as_of` is the last day of the range in which it was observed (YYYY-MM-DD or "")."""

    origin: str  # snapshot | live | settings
    as_of: str
    source: str
    confidence: str


class Limits(NamedTuple):
    """What the provider's rules allow on an offer; None means no limit is known."""

    session_hours: float | None = None
    weekly_hours: float | None = None
    by_hand: str = ""  # not empty: only a person or a notebook can start it, and why
    barred: str = ""  # not empty: never allowed, and why


NO_LIMITS = Limits()


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


class Range(NamedTuple):
    """A figure and how sure it is."""

    low: float
    likely: float
    high: float

    def scaled(self, factor: float) -> Range:
        """Every bound times `factor`."""
        return Range(self.low * factor, self.likely * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a provider's machines need and cost beside the hourly price. Unknown prices are None, never zero."""

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


@dataclass(frozen=True, slots=True)
class Context:
    """What a price source may look at: the catalogue folder and the user's settings for owned machines."""

    catalog: Path
    usd_per_kwh: Decimal = Decimal(0)
    watts: Decimal | None = None


@dataclass(frozen=True)
class PriceSource:
    """The record at the end of `pricing/<name>.py`."""

    name: str
    offers: Callable[[Context], Iterable[Offer]]
    terms: Terms
    credentials: tuple[str, ...] = ()  # environment names, for doctor and for the skip message


@dataclass(frozen=True)
class Guard:
    """One thing that ends a run's cost by itself. `alone`: it works with the client gone."""

    name: str
    alone: bool


@dataclass(frozen=True)
class Owned:
    """Something of ours that exists at a provider, whatever our records say."""

    run: str
    id: str
    what: str


@dataclass(frozen=True)
class Absence:
    """A death certificate: who said that it is gone, in which words, and when (epoch seconds)."""

    said_by: str
    answer: str
    time: float


@dataclass(frozen=True)
class Stack:
    """The record at the end of `stacks/<name>.py`: how a plan becomes a machine here and stops being one.

    `direct` stacks have nothing to provision. `stop` asks, waits, forces, looks, and returns what the provider (here:
    the operating system) answered; it raises TeardownIncomplete when something is left.
    """

    name: str
    guards: tuple[Guard, ...]
    backends: frozenset[str]  # back ends of the accelerator table that `up` can start here today
    direct: bool
    start: Callable[[Plan, Path], dict[str, Any]]  # (plan, the run's folder) -> machine document
    alive: Callable[[dict[str, Any]], bool]  # machine document -> does it still answer for the run
    stop: Callable[[str, float], Absence]  # (run, grace seconds) -> the word that nothing of it is left
    list_owned: Callable[[], Iterable[Owned]]  # everything of ours here, found without any record


def names(package: str) -> list[str]:
    """Provider keys that have a file in `pricing` or `stacks`, without importing one."""
    parent = import_module(f"cloudtrain.{package}")
    return sorted(module.name for module in pkgutil.iter_modules(parent.__path__) if not module.name.startswith("_"))


def load(package: str, name: str, kind: type[T]) -> T:
    """The `provider` record of `<package>/<name>.py`. Raises UsageError for an unknown name only."""
    known = names(package)
    if name not in known:
        close = nearest(name, known)
        raise UsageError(
            f"unknown provider `{name}`", f"did you mean `{close}`?" if close else f"known: {', '.join(known)}"
        )
    record = import_module(f"cloudtrain.{package}.{name}").provider
    if not isinstance(record, kind) or record.name != name:  # type: ignore[attr-defined]
        raise TypeError(f"{package}/{name}.py must end with `provider = {kind.__name__}({name!r}, ...)`")
    return record
