"""Sums over runs: of all, and by week, month, provider or spec. An unknown amount is counted, and never summed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from cloudtrain.report import windows
from cloudtrain.report.cost_report import as_ratio, per_million, quotient
from cloudtrain.report.history import Entry, History
from cloudtrain.units import money_text

By = Literal["week", "month", "provider", "spec"]
BY: Final[tuple[By, ...]] = ("week", "month", "provider", "spec")


class Sum(NamedTuple):
    """Dollars that are known, and of how many runs they are not. `usd` is None when none of several is known."""

    usd: Decimal | None
    unknown: int

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"usd": money_text(self.usd), "unknown": self.unknown}


class Ratio(NamedTuple):
    """One amount as a multiple of another, over the `n` runs that have both."""

    value: Decimal | None
    n: int

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"ratio": as_ratio(self.value), "n": self.n}


class Totals(NamedTuple):
    """Figures of several runs together. `within`: how many of `metered_to_quoted.n` lie in their quoted range."""

    runs: int
    finished: int
    failed: int
    quoted: Sum
    metered: Sum
    billed: Sum
    metered_to_quoted: Ratio
    within: int
    billed_to_metered: Ratio
    usd_per_million_tokens: Ratio
    tokens: float
    metered_s: float

    def document(self) -> dict[str, Any]:
        """For JSON; see `cloudtrain schema report`."""
        return {
            "runs": self.runs,
            "finished": self.finished,
            "failed": self.failed,
            "quoted": self.quoted.document(),
            "metered": self.metered.document(),
            "billed": self.billed.document(),
            "metered_to_quoted": {**self.metered_to_quoted.document(), "within_range": self.within},
            "billed_to_metered": self.billed_to_metered.document(),
            "usd_per_million_tokens": {
                "usd": money_text(self.usd_per_million_tokens.value),
                "n": self.usd_per_million_tokens.n,
            },
            "tokens": round(self.tokens),
            "metered_s": round(self.metered_s, 3),
        }


def total(entries: Sequence[Entry]) -> Totals:
    """The figures of these runs together."""
    compared = [each for each in entries if each.metered_to_quoted is not None]
    billed = [
        each
        for each in entries
        if each.billed_status == "final" and quotient(each.billed_usd, each.metered_usd) is not None
    ]
    measured = [each for each in entries if each.usd_per_million_tokens is not None]
    tokens = sum(each.tokens or 0 for each in measured)
    return Totals(
        runs=len(entries),
        finished=sum(each.state == "finished" for each in entries),
        failed=sum(each.state in ("failed", "died") for each in entries),
        quoted=_sum(each.likely_usd for each in entries),
        metered=_sum(each.metered_usd for each in entries),
        billed=_sum(each.billed_usd for each in entries),
        metered_to_quoted=_ratio(compared, lambda each: each.metered_usd, lambda each: each.likely_usd),
        within=sum(_is_within(each) for each in compared),
        billed_to_metered=_ratio(billed, lambda each: each.billed_usd, lambda each: each.metered_usd),
        usd_per_million_tokens=Ratio(
            per_million(_sum(each.metered_usd for each in measured).usd, tokens), len(measured)
        ),
        tokens=sum(each.tokens or 0 for each in entries),
        metered_s=sum(each.metered_s for each in entries),
    )


def by(history: History, what: By) -> list[tuple[str, Totals]]:
    """The figures of each week, month, provider or spec; windows newest first, the rest by what they cost."""
    groups: dict[str, list[Entry]] = {}
    for entry in history.entries:
        groups.setdefault(key_of(entry, what, history), []).append(entry)
    found = [(key, total(each)) for key, each in groups.items()]
    if what in windows.WINDOWS:
        return sorted(found, key=lambda each: each[0], reverse=True)
    return sorted(found, key=lambda each: (-(each[1].metered.usd or 0), each[0]))


def key_of(entry: Entry, what: By, history: History) -> str:
    """What a run is summed under. It belongs to the week and month in which it began."""
    if what == "provider":
        return entry.provider or "unknown"
    if what == "spec":
        return entry.line
    return windows.title(what, windows.begins(what, entry.started, history.zone))


def _sum(amounts: Iterable[Decimal | None]) -> Sum:
    every = list(amounts)
    known = [each for each in every if each is not None]
    return Sum(sum(known, Decimal(0)) if known or not every else None, len(every) - len(known))


def _ratio(
    entries: Sequence[Entry], amount: Callable[[Entry], Decimal | None], of: Callable[[Entry], Decimal | None]
) -> Ratio:
    return Ratio(quotient(_sum(map(amount, entries)).usd, _sum(map(of, entries)).usd), len(entries))


def _is_within(entry: Entry) -> bool:
    known = entry.low_usd is not None and entry.metered_usd is not None and entry.high_usd is not None
    return known and entry.low_usd <= entry.metered_usd <= entry.high_usd  # type: ignore[operator]
