"""Figures as a person reads them, the same in the terminal, in Markdown and on the page. An unknown says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

from cloudtrain import units
from cloudtrain.units import hours, money_text

UNKNOWN = "unknown"
NONE = "-"
Words = Callable[[float], str]
CENT = Decimal("0.01")
_LARGE = ((Decimal(10) ** 12, "T"), (Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 4, "k"))


def as_told(amount: Decimal | None) -> Decimal | None:
    """An amount as `-o json` has it, to six places: sums of these are the sums of what is printed there."""
    text = money_text(amount)
    return None if text is None else Decimal(text)


def dollars(amount: Decimal | None) -> str:
    """Dollars to the cent, four places below one cent."""
    if amount is None:
        return UNKNOWN
    if 0 < abs(amount) < CENT:
        return f"${amount:.4f}" if abs(amount) >= Decimal("0.0001") else "<$0.0001"
    return f"${amount:,.2f}" if abs(amount) < 10**12 else short_dollars(amount)


def short_dollars(amount: Decimal) -> str:
    """Dollars for an axis: no more digits than are needed, large ones with k, M, B, T."""
    for unit, letter in _LARGE:
        if abs(amount) >= unit:
            scaled = amount / (1000 if letter == "k" else unit)
            return f"${scaled:.3g}{letter}" if abs(scaled) < 1000 else f"${scaled:.1e}{letter}"
    text = f"{amount:.6f}".rstrip("0").rstrip(".")
    return f"${text}" if "." not in text or len(text.partition(".")[2]) > 2 else f"${amount:.2f}"


def count(value: float | int | None) -> str:
    """A number of tokens or steps."""
    return NONE if value is None else f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.2e}"


def speed(value: float | None) -> str:
    """Tokens per second."""
    if value is None:
        return NONE
    return units.speed(value) if abs(value) < 1e12 else f"{value:.2e}"


def loss(value: float | None) -> str:
    """A loss."""
    return NONE if value is None else f"{value:.3f}" if abs(value) < 1e6 else f"{value:.2e}"


def ratio(value: Decimal | None) -> str:
    """One amount as a multiple of another."""
    return NONE if value is None else f"{value:.2f}" if abs(value) < 1000 else f"{value:.1e}"


def several(number: int, what: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def took(seconds: float | None) -> str:
    """How long machines stood."""
    return NONE if seconds is None else hours(seconds) if seconds < 1e12 else UNKNOWN


def dollars_of(value: float) -> str:
    """A mean or median of dollars."""
    return dollars(Decimal(f"{value:.9g}"))


def finite(value: float | int | None) -> float | int | None:
    """A figure of a machine, None for one that is no number: JSON and axes have none."""
    return value if value is not None and math.isfinite(value) else None
