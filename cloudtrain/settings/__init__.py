"""Settings that outlive a run, with the same precedence everywhere: flag > environment > file > default.

`table` is what can be set, `file` the TOML file, `folders` where file, cache and state are; the clock is here too,
because the environment can stop it. `config show` prints the table with the origin of each value.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudtrain.errors import UsageError, visible
from cloudtrain.settings.folders import cache_folder, config_path, copied_here, expanded, state_folder
from cloudtrain.settings.table import KEYS, Setting, Settings, find, value_of

__all__ = [
    "KEYS",
    "Setting",
    "Settings",
    "cache_folder",
    "config_path",
    "copied_here",
    "find",
    "load",
    "now",
    "set_value",
]

YEAR_10000 = 253402300800  # where datetime ends


def load(flags: Mapping[str, str | None] | None = None) -> Settings:
    """Every setting, from flags (None or absent: not given), the environment, the file and the defaults, in that order.

    An empty environment variable counts as unset. A file that does not exist is no error; one that cannot be read, or
    holds an unknown key or a wrong value, is a UsageError that names file and line.
    """
    path = config_path()
    stored: dict[str, str] = {}
    if path is not None and os.path.exists(path):
        from cloudtrain.settings import file

        stored = file.read(path)
    values: list[Any] = []
    origins: list[str] = []
    for setting in KEYS:
        value, origin = _choose(setting, stored, flags or {})
        values.append(value)
        origins.append(origin)
    state = values[0] or str(state_folder())
    values[0] = state if "://" in state else str(expanded(state))
    return Settings._make([*values, tuple(origins)])


def set_value(path: Path, key: str, text: str) -> None:
    """Write `key` into the settings file; an empty `text` takes the key out, so that the default holds again.

    The other lines and their comments stay. The file is replaced in one step, readable by its owner alone. Raises
    UsageError for an unknown key, a wrong value, or a file that cannot be read or written.
    """
    from cloudtrain.settings import file

    file.write(path, find(key), text.strip())


def now() -> float:
    """Seconds since 1970 in UTC. CLOUDTRAIN_NOW (RFC 3339 or seconds) stops the clock. Raises UsageError."""
    from math import isfinite

    text = os.environ.get("CLOUDTRAIN_NOW", "").strip()
    if not text:
        return time.time()
    try:
        epoch = float(text)
    except ValueError:
        epoch = _instant(text)
    if not isfinite(epoch) or not 0 <= epoch < YEAR_10000:
        raise UsageError(f"CLOUDTRAIN_NOW is `{visible(text)}`, which is not an instant", "write 2026-11-22T12:00:00Z")
    return epoch


def _choose(setting: Setting, stored: Mapping[str, str], flags: Mapping[str, str | None]) -> tuple[Any, str]:
    """The value of one setting and where it comes from; the file's values have been checked when it was read."""
    flag = flags.get(setting.key)
    if flag is not None:
        return value_of(setting, flag, f"--{setting.key.replace('_', '-')}"), "flag"
    if os.environ.get(setting.environment):
        return value_of(setting, os.environ[setting.environment].strip(), setting.environment), "environment"
    if setting.key in stored:
        return setting.read(stored[setting.key]), "file"
    return setting.read(setting.default), "default"


def _instant(text: str) -> float:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
