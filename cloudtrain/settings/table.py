"""What can be set: one row per key, how the text of a value is read, and the record of the values in force."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.errors import UsageError, nearest, visible

# Texts, not compiled: most commands need none of them, and compiling costs a millisecond of every start.
_NUMBER = r"[0-9]{1,12}(\.[0-9]{1,12})?"
_PLACE = r"[a-z][a-z0-9_-]*(/[A-Za-z0-9_-]+){0,2}"
_CONTROL = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]"
_STATE_SCHEMES = ("s3", "gs")


class Settings(NamedTuple):
    """The values in force. Money and power are Decimal; None or an empty value means not set."""

    state: str  # an absolute or relative folder, or s3://bucket/prefix, gs://bucket/prefix
    usd_per_kwh: Decimal | None
    watts: Decimal | None
    registry: str
    ask_above_usd: Decimal
    infra: tuple[str, ...]
    max_hours: Decimal
    hour_is_worth: Decimal
    origins: tuple[str, ...]  # one per key, in the order of KEYS: flag | environment | file | default

    def origin(self, key: str) -> str:
        """Where the value of `key` comes from: `flag`, `environment`, `file` or `default`. Raises UsageError."""
        return self.origins[KEYS.index(find(key))]

    def text(self, key: str) -> str:
        """The value of `key` as `config get` prints it: "" when not set. Raises UsageError."""
        value = getattr(self, find(key).key)
        if value is None:
            return ""
        return ",".join(value) if isinstance(value, tuple) else str(value)


class Setting(NamedTuple):
    """One row of the table: how the text of a value is read, and what it means."""

    key: str
    read: Callable[[str], Any]  # raises ValueError with what to write instead
    default: str
    environment: str
    help: str


def _text(text: str) -> str:
    if not text.isprintable() and re.search(_CONTROL, text):
        raise ValueError("write it on one line, without control characters")
    return text


def _state(text: str) -> str:
    scheme, separator, rest = _text(text).partition("://")
    if separator and (scheme not in _STATE_SCHEMES or not rest.strip("/")):
        raise ValueError("write a folder, s3://bucket/prefix or gs://bucket/prefix")
    return text


def _registry(text: str) -> str:
    if "://" in _text(text) or re.search(r"\s", text):
        raise ValueError("write host/path without a scheme, for example ghcr.io/acme")
    return text.rstrip("/")


def _places(text: str) -> tuple[str, ...]:
    places = tuple(place.strip() for place in _text(text).split(",") if place.strip())
    if not all(re.fullmatch(_PLACE, place) for place in places):
        raise ValueError("write provider[/region[/zone]], several separated by commas, for example local,aws/us-east-1")
    return places


def _number(low: str, high: str, unit: str) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        if not re.fullmatch(_NUMBER, text.strip()):
            raise ValueError(f"write a plain number of {unit}, for example 0.31 or 45")
        value = Decimal(text.strip())
        if not Decimal(low) <= value <= Decimal(high):
            raise ValueError(f"write a number of {unit} between {low} and {high}")
        return value

    return read


def _optional(low: str, high: str, unit: str) -> Callable[[str], Decimal | None]:
    read = _number(low, high, unit)
    return lambda text: read(text) if text else None


KEYS = (
    Setting("state", _state, "", "CLOUDTRAIN_STATE", "where runs are kept: a folder, s3:// or gs://"),
    Setting(
        "usd_per_kwh",
        _optional("0", "10", "US dollars per kWh"),
        "",
        "CLOUDTRAIN_USD_PER_KWH",
        "price of electricity for machines you own, in US dollars per kWh; not set: 0.20 is assumed",
    ),
    Setting(
        "watts",
        _optional("0", "100000", "watts"),
        "",
        "CLOUDTRAIN_WATTS",
        "what this machine draws while it trains, in watts; not set: assumed by its cores or chips",
    ),
    Setting("registry", _registry, "", "CLOUDTRAIN_REGISTRY", "container registry that images are pushed to"),
    Setting(
        "ask_above_usd",
        _number("0", "1000000", "US dollars"),
        "5",
        "CLOUDTRAIN_ASK_ABOVE_USD",
        "`up` asks before it starts a run that may cost more than this, in US dollars",
    ),
    Setting("infra", _places, "", "CLOUDTRAIN_INFRA", "where runs may go: provider[/region[/zone]], comma between"),
    Setting(
        "max_hours",
        _number("0.01", "8760", "hours"),
        "168",
        "CLOUDTRAIN_MAX_HOURS",
        "a run that is expected to take longer than this, in hours, is not viable",
    ),
    Setting(
        "hour_is_worth",
        _number("0", "100000", "US dollars"),
        "0",
        "CLOUDTRAIN_HOUR_IS_WORTH",
        "what an hour of waiting for a run is worth to you, in US dollars: quotes and `up` choose by it",
    ),
)


def find(key: str) -> Setting:
    """The row of the table for `key`. Raises UsageError with the nearest known key."""
    for setting in KEYS:
        if setting.key == key:
            return setting
    known = [setting.key for setting in KEYS]
    close = nearest(key.replace("-", "_"), known)
    raise UsageError(
        f"unknown setting `{visible(key)}`", f"did you mean `{close}`?" if close else f"known: {', '.join(known)}"
    )


def value_of(setting: Setting, text: str, place: str) -> Any:
    """The value of `text`, found at `place` (a flag, an environment name, `file:line`). Raises UsageError."""
    try:
        return setting.read(text)
    except ValueError as wrong:
        raise UsageError(f"{place}: `{visible(text)}` is not a value of `{setting.key}`", str(wrong)) from None
