"""Settings that outlive a run: one table, one TOML file, and the same precedence everywhere.

flag > environment > file > default. `config show` prints the table with where each value comes from; `config set` edits
one line of the file and leaves the others as they are. The clock and the cache folder are found here too, because
both can be moved by the environment.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.errors import UsageError, nearest, visible

MAXIMUM_FILE_BYTES = 2**20
# Texts, not compiled: most commands need none of them, and compiling costs a millisecond of every start.
_NUMBER = r"[0-9]{1,12}(\.[0-9]{1,12})?"
_PLACE = r"[a-z][a-z0-9_-]*(/[A-Za-z0-9_-]+){0,2}"
_CONTROL = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]"
_STATE_SCHEMES = ("s3", "gs")


class Settings(NamedTuple):
    """The values in force. Money and power are Decimal; None or an empty value means that nobody has said."""

    state: str  # an absolute or relative folder, or s3://bucket/prefix, gs://bucket/prefix
    usd_per_kwh: Decimal
    watts: Decimal | None
    registry: str
    ask_above_usd: Decimal
    infra: tuple[str, ...]
    max_hours: Decimal
    origins: tuple[str, ...]  # one per key, in the order of KEYS: flag | environment | file | default

    def origin(self, key: str) -> str:
        """Where the value of `key` comes from: `flag`, `environment`, `file` or `default`. Raises UsageError."""
        return self.origins[KEYS.index(find(key))]

    def text(self, key: str) -> str:
        """The value of `key` as `config get` prints it: "" when nobody has said. Raises UsageError."""
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


def _watts(text: str) -> Decimal | None:
    return _number("1", "100000", "watts")(text) if text else None


KEYS = (
    Setting("state", _state, "", "CLOUDTRAIN_STATE", "where runs are kept: a folder, s3:// or gs://"),
    Setting(
        "usd_per_kwh",
        _number("0", "10", "US dollars per kWh"),
        "0",
        "CLOUDTRAIN_USD_PER_KWH",
        "price of electricity for machines you own, in US dollars per kWh",
    ),
    Setting("watts", _watts, "", "CLOUDTRAIN_WATTS", "what this machine draws while it trains, in watts"),
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


def config_path(env: Mapping[str, str] | None = None) -> Path | None:
    """The settings file, whether it exists or not; None when there is no home folder and CLOUDTRAIN_CONFIG is unset."""
    env = os.environ if env is None else env
    if env.get("CLOUDTRAIN_CONFIG"):
        return _expanded(env["CLOUDTRAIN_CONFIG"], env)
    home = _home(env)
    return home / ".config" / "cloudtrain" / "config.toml" if home else None


def cache_folder(env: Mapping[str, str] | None = None) -> Path:
    """What can be made again: CLOUDTRAIN_CACHE, else ~/.cache/cloudtrain. Raises UsageError when there is no home."""
    env = os.environ if env is None else env
    if env.get("CLOUDTRAIN_CACHE"):
        return _expanded(env["CLOUDTRAIN_CACHE"], env)
    home = _home(env)
    if home is None:
        raise UsageError(
            "there is no home folder for the cache", "set CLOUDTRAIN_CACHE to a folder that can be written"
        )
    return home / ".cache" / "cloudtrain"


def now(env: Mapping[str, str] | None = None) -> float:
    """Seconds since 1970 in UTC. CLOUDTRAIN_NOW (RFC 3339 or seconds) stops the clock. Raises UsageError."""
    from math import isfinite

    text = (os.environ if env is None else env).get("CLOUDTRAIN_NOW", "").strip()
    if not text:
        return time.time()
    try:
        epoch = float(text)
    except ValueError:
        epoch = _instant(text)
    if not isfinite(epoch) or not 0 <= epoch < 253402300800:  # the year 10000, where datetime ends
        raise UsageError(f"CLOUDTRAIN_NOW is `{visible(text)}`, which is not an instant", "write 2026-11-22T12:00:00Z")
    return epoch


def load(env: Mapping[str, str] | None = None, flags: Mapping[str, str | None] | None = None) -> Settings:
    """Every setting, from flags (None or absent: not given), `env`, the file and the defaults, in that order.

    An empty environment variable counts as unset. A file that does not exist is no error; one that cannot be read, or
    holds an unknown key or a wrong value, is a UsageError that names file and line.
    """
    env = os.environ if env is None else env
    path = config_path(env)
    stored: dict[str, str] = {}
    if path is not None and os.path.exists(path):
        from cloudtrain import settings_file

        stored = settings_file.read(path)
    values: list[Any] = []
    origins: list[str] = []
    for setting in KEYS:
        value, origin = _choose(setting, env, stored, flags or {})
        values.append(value)
        origins.append(origin)
    known_state = values[0] or str((_home(env) or Path(".")) / ".local" / "share" / "cloudtrain")
    values[0] = known_state if "://" in known_state else str(_expanded(known_state, env))
    return Settings._make([*values, tuple(origins)])


def set_value(path: Path, key: str, text: str) -> None:
    """Write `key` into the settings file; an empty `text` takes the key out, so that the default holds again.

    The other lines and their comments stay. The file is replaced in one step, readable by its owner alone. Raises
    UsageError for an unknown key, a wrong value, or a file that cannot be read or written.
    """
    from cloudtrain import settings_file

    settings_file.write(path, find(key), text.strip())


def _choose(
    setting: Setting, env: Mapping[str, str], stored: Mapping[str, str], flags: Mapping[str, str | None]
) -> tuple[Any, str]:
    """The value of one setting and where it comes from; the file's values have been checked when it was read."""
    flag = flags.get(setting.key)
    if flag is not None:
        return value_of(setting, flag, f"--{setting.key.replace('_', '-')}"), "flag"
    if env.get(setting.environment):
        return value_of(setting, env[setting.environment].strip(), setting.environment), "environment"
    if setting.key in stored:
        return setting.read(stored[setting.key]), "file"
    return setting.read(setting.default), "default"


def value_of(setting: Setting, text: str, place: str) -> Any:
    """The value of `text`, which stands at `place` (a flag, an environment name, `file:line`). Raises UsageError."""
    try:
        return setting.read(text)
    except ValueError as wrong:
        raise UsageError(f"{place}: `{visible(text)}` is not a value of `{setting.key}`", str(wrong)) from None


def _instant(text: str) -> float:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _home(env: Mapping[str, str]) -> Path | None:
    """The home folder by the environment, else by the password database (a service may run without HOME)."""
    named = env.get("HOME") or env.get("USERPROFILE")
    if named:
        return Path(named)
    try:
        import pwd

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (ImportError, KeyError):
        return None


def _expanded(text: str, env: Mapping[str, str]) -> Path:
    home = _home(env) if text == "~" or text.startswith("~/") else None
    return home / text[2:] if home else Path(text)
