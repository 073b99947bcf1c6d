"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cloudtrain.errors import UsageError
from cloudtrain.units import parse_count, parse_duration_s, parse_memory

F = TypeVar("F", bound=Callable[..., Any])

METHODS = ["full", "lora", "qlora", "dora", "freeze"]
TARGETS = ["qv", "attention", "all-linear"]


class Count(click.ParamType[int]):
    """A whole number that may be written 10M."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            count = value if isinstance(value, int) else parse_count(value)
        except UsageError as error:
            self.fail(f"{error.message}\n{error.hint}", param, ctx)
        if count < 1:
            self.fail(f"`{value}` is less than one", param, ctx)
        return count


class Duration(click.ParamType[float]):
    """A length of time in seconds; a bare number counts in hours."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration_s(str(value))
        except UsageError as error:
            self.fail(f"{error.message}\n{error.hint}", param, ctx)
        if seconds <= 0:
            self.fail(f"`{value}` is not more than zero", param, ctx)
        return seconds


class Chips(click.ParamType[str]):
    """Hardware as NAME[:N]; the id of a quote's row stands for what it has, runpod/2xmi300x/eu-ro-1 for mi300x:2."""

    name = "hardware"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        provider, slash, _ = str(value).strip().lower().partition("/")
        from cloudtrain.providers import names

        if not slash or provider not in names("pricing"):
            return str(value)
        from cloudtrain.cli import words
        from cloudtrain.errors import nearest

        ids = words.offers_by_id([provider])
        offer = ids.get(str(value).strip().lower())
        if offer is None:
            close = nearest(str(value).lower(), list(ids))
            self.fail(f"no row `{value}`{f'; did you mean `{close}`?' if close else ''}", param, ctx)
        if not offer.hardware:
            self.fail(f"`{value}` is a machine whose chip the accelerator table lacks", param, ctx)
        return f"{offer.hardware}:{offer.count}"


class Memory(click.ParamType[int]):
    """A size of memory in bytes, written 128GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_memory(value)
        except UsageError as error:
            self.fail(f"{error.message}\n{error.hint}", param, ctx)


class Watts(click.ParamType[Any]):
    """Electrical power in watts."""

    name = "watts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from decimal import Decimal, InvalidOperation

        try:
            watts = Decimal(str(value).removesuffix("W").strip())
        except InvalidOperation:
            watts = Decimal("NaN")
        if not watts.is_finite() or not 0 <= watts <= 100_000:
            self.fail(f"`{value}` is not a power between 0 and 100000 watts", param, ctx)
        return watts


class Dollars(click.ParamType[Any]):
    """An amount in US dollars."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from decimal import Decimal, InvalidOperation

        try:
            amount = Decimal(str(value).lstrip("$"))
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0:
            self.fail(f"`{value}` is not an amount in dollars", param, ctx)
        return amount


def output_option(*formats: str) -> Callable[[F], F]:
    """`-o`: how the result is printed."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats or ("table", "json", "csv", "md")),
        default="table",
        show_default=True,
        help="How to print the result on stdout.",
    )
