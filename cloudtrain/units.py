"""Bytes, money, time and counts: parsing and printing. The only place that knows 2**30."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from cloudtrain.errors import UsageError

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
SECONDS_PER_HOUR = 3600
HOURS_PER_MONTH = 730  # the month that disk and storage prices mean
GB = 10**9

_COUNT = r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kKmMbBgGtT]?)\s*$"
_COUNT_SCALE = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_MEMORY = r"(?i)\s*(\d{1,9}(?:\.\d{1,3})?)\s*(?:([gt])i?b?)?\s*$"
_DURATION = r"(?i)(\d+(?:\.\d+)?)\s*([smhdw])"
_DURATION_SCALE = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_count(text: str) -> int:
    """`10M`, `1_000_000` or `2.5k` as a whole number. Raises UsageError."""
    match = re.match(_COUNT, text)
    if not match:
        raise UsageError(f"`{text}` is not a count", "write a number such as 1000000, 500k or 10M")
    return int(Decimal(match[1].replace("_", "")) * _COUNT_SCALE[match[2].lower()])


def parse_memory(text: str) -> int:
    """`128GB`, `192 GiB`, `1.5TB` or `24` in bytes, as memory is sold: in powers of two. Raises UsageError."""
    match = re.match(_MEMORY, text)
    size = int(Decimal(match[1]) * (TIB if (match[2] or "").lower() == "t" else GIB)) if match else 0
    if size < 1:
        raise UsageError(f"`{text}` is not a size of memory", "write for example 128GB")
    return size


def parse_duration_s(text: str, bare_unit: str = "h") -> float:
    """`90m`, `1h30m`, `2d` in seconds; a bare number counts in `bare_unit`. Raises UsageError."""
    text = text.strip()
    try:
        return float(text) * _DURATION_SCALE[bare_unit]
    except ValueError:
        pass
    parts = re.findall(_DURATION, text)
    if not parts or re.sub(_DURATION, "", text).strip():
        raise UsageError(f"`{text}` is not a length of time", "write for example 90m, 1h30m or 2d")
    return sum(float(number) * _DURATION_SCALE[unit.lower()] for number, unit in parts)


def gib(count: int | float) -> str:
    """Bytes as GiB for a person: three digits at most; what is too little for it in MiB or bytes."""
    value = count / GIB
    if 0 < value < 0.005:
        return f"{count / MIB:.1f} MiB" if count >= MIB / 10 else f"{count:,.0f} bytes"
    if value >= 100:
        return f"{value:,.0f} GiB"
    return f"{value:.1f} GiB" if value >= 1 else f"{value:.2f} GiB"


def billions(count: int) -> str:
    """A parameter count for a person: `560.7 B`, `135 M`, `0.4 M`."""
    if count < 950_000:
        return f"{count / 1e6:.1f} M" if count >= 50_000 else f"{count:,}"
    return f"{count / 1e9:.1f} B" if count >= 999_500_000 else f"{count / 1e6:.0f} M"


def money(amount: Decimal | None) -> str:
    """Dollars for a person; `unknown` when there is no figure. Rounded only here."""
    if amount is None:
        return "unknown"
    if amount == 0:
        return "$0"
    if abs(amount) < Decimal("0.01"):
        return f"${amount:.4f}" if abs(amount) >= Decimal("0.0001") else "<$0.0001"
    return f"${amount:,.2f}" if abs(amount) < 1000 else f"${amount:,.0f}"


def speed(per_second: float) -> str:
    """Tokens per second for a person: two digits at the least, and never 0 for something above it."""
    return f"{per_second:.2g}" if abs(per_second) < 10 else f"{per_second:,.0f}"


def money_text(amount: Decimal | None) -> str | None:
    """Dollars for a machine: a plain decimal string with at most six places, or None when unknown."""
    if amount is None:
        return None
    text = format(amount, ".6f")  # unlike quantize, of any size
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact_text(amount: Decimal | None) -> str | None:
    """Dollars for a machine as they were frozen, to the last place; None when unknown."""
    return None if amount is None else format(amount, "f")


def hours(seconds: float | None) -> str:
    """A length of time for a person: `45 s`, `12 min`, `3.4 h`, `9 days`."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return "under 1 s" if 0 < seconds < 0.5 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 96 * SECONDS_PER_HOUR:
        return f"{seconds / SECONDS_PER_HOUR:.1f} h"
    return f"{seconds / 86400:,.0f} days"


LAST_INSTANT = 2e11  # epoch seconds: the year 8307


def rfc3339(epoch: float | None) -> str | None:
    """An instant as RFC 3339 in UTC, to the second; None for one that no calendar has."""
    if epoch is None or not abs(epoch) < LAST_INSTANT:
        return None
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
