"""The default places of settings file, cache and state.

A folder that exists is kept: first the system's own, then the one below the home folder (`~/.config/cloudtrain`,
`~/.cache/cloudtrain`, `~/.local/share/cloudtrain`). Where neither exists it is the system's own, as platformdirs knows
it: those three on Linux unless an XDG variable moves them, `~/Library` on macOS, `AppData` on Windows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cloudtrain.errors import UsageError

_BELOW_HOME = {"config": ".config", "cache": ".cache", "data": ".local/share"}


def config_path() -> Path | None:
    """The settings file, whether it exists or not; None when there is no home folder and CLOUDTRAIN_CONFIG is unset."""
    if named := os.environ.get("CLOUDTRAIN_CONFIG"):
        return expanded(named)
    return _place("config", "config.toml")


def cache_folder() -> Path:
    """What can be made again: CLOUDTRAIN_CACHE, else the user's cache. Raises UsageError when there is no home."""
    if named := os.environ.get("CLOUDTRAIN_CACHE"):
        return expanded(named)
    place = _place("cache")
    if place is None:
        raise UsageError(
            "there is no home folder for the cache", "set CLOUDTRAIN_CACHE to a folder that can be written"
        )
    return place


def copied_here(state: str, what: str) -> Path | None:
    """Where a table of a state in a bucket is copied to for quotes; None for a state in a folder, which has its own."""
    if "://" not in state:
        return None
    import hashlib

    return cache_folder() / what / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.jsonl"


def state_folder() -> Path:
    """Where runs are kept when the setting `state` is not set; below the current folder when there is no home."""
    return _place("data") or Path(".local", "share", "cloudtrain")


def expanded(text: str) -> Path:
    """`text` as a path; `~` at its beginning is the home folder, if there is one."""
    home = _home() if text == "~" or text.startswith("~/") else None
    return home / text[2:] if home else Path(text)


def _place(kind: str, name: str = "") -> Path | None:
    """The path `name` in the folder of that kind ("config", "cache", "data"); None when the system has none for us."""
    home = _home()
    usual = home / _BELOW_HOME[kind] / "cloudtrain" / name if home else None
    moved = os.path.isabs(os.environ.get(f"XDG_{kind.upper()}_HOME", ""))  # a relative one is to be ignored
    if sys.platform == "linux" and not moved:  # platformdirs says the same, and its import costs a tenth of a quote
        return usual
    if usual is None and not moved:
        return None
    own = _own(kind) / name
    return usual if usual and usual.exists() and not own.exists() else own


def _own(kind: str) -> Path:
    """The system's folder of that kind for us. macOS and Windows keep settings and data in one: the state is below."""
    import platformdirs

    path = Path(getattr(platformdirs, f"user_{kind}_dir")("cloudtrain", appauthor=False))
    apart = kind == "data" and path == Path(platformdirs.user_config_dir("cloudtrain", appauthor=False))
    return path / "state" if apart else path


def _home() -> Path | None:
    """The home folder by the environment, else by the password database (a service may run without HOME)."""
    named = os.environ.get("HOME") or os.environ.get("USERPROFILE")
    if named:
        return Path(named)
    try:
        import pwd

        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except (ImportError, KeyError):
        return None
