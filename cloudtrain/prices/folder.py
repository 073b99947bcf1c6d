"""Where refreshed price lists are, and which of them count. Every quote looks, so it is quick and imports little.

`manifest.json` names each list by its hash, and a list lies in a folder of its own that is never written again, such as
`aws-2026-11-30-051500-ab12cd34ef567890/aws.csv`. A new list counts from the moment at which the manifest is replaced.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.settings.folders import cache_folder, expanded

MANIFEST = "manifest.json"
VERSION = 1
HASH_DIGITS = 16  # of a list's sha256, in its folder's name
MOST_BYTES = 64 << 20


class Found(NamedTuple):
    """Lists that count (provider -> the folder that holds `<provider>.csv`), and those that do not: -> a sentence."""

    lists: dict[str, Path]
    left_out: dict[str, str]


def folder() -> Path:
    """CLOUDTRAIN_PRICES, else `prices` in the cache. Raises UsageError when there is no home for a cache."""
    named = os.environ.get("CLOUDTRAIN_PRICES")
    return expanded(named) if named else cache_folder() / "prices"


def refreshed() -> dict[str, Path]:
    """Provider -> the folder of its refreshed list, for each that is whole and grew from today's shipped list."""
    return look().lists


def look() -> Found:
    """The same, and of each other list a sentence that says why it is not read. Nothing of it is an error.

    With CLOUDTRAIN_CATALOG set that folder alone is read.
    """
    if os.environ.get("CLOUDTRAIN_CATALOG"):
        return Found({}, {})
    try:
        place = folder()
        with open(place / MANIFEST, "rb") as file:
            text = file.read(MOST_BYTES)
    except (UsageError, FileNotFoundError, NotADirectoryError):
        return Found({}, {})
    except OSError as error:
        return Found({}, {"": f"refreshed prices are not read: {error.strerror or error}"})
    return _judged(place, text)


def list_folder(place: Path, provider: str, asked_at: float, sha256: str) -> Path:
    """The folder of a list: provider, when it was asked for (UTC), its hash."""
    from datetime import UTC, datetime

    when = datetime.fromtimestamp(asked_at, UTC)
    return place / f"{provider}-{when:%Y-%m-%d-%H%M%S}-{sha256[:HASH_DIGITS]}"


def is_of(path: Path, provider: str) -> bool:
    """Whether a folder is one of this provider's lists."""
    parts = path.name.rsplit("-", 5)
    return len(parts) == 6 and parts[0] == provider


def shipped_file(provider: str) -> Path:
    """The shipped price list of a provider, whether there is one or not."""
    found: Path = import_module("cloudtrain.pricing").SNAPSHOTS
    return found / f"{provider}.csv"


def called(path: Path) -> str:
    """What a quote calls the list in this folder: `2026-11-30 (ab12cd34)`."""
    parts = path.name.rsplit("-", 5)
    return f"{'-'.join(parts[1:4])} ({parts[5][:8]})" if len(parts) == 6 else path.name


def _judged(place: Path, text: bytes) -> Found:
    import json

    try:
        manifest = json.loads(text)
        entries: dict[str, Any] = manifest["lists"]
        if manifest["version"] != VERSION or not isinstance(entries, dict):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        return Found({}, {"": f"refreshed prices are not read: `{place / MANIFEST}` is damaged or of another version"})
    found = Found({}, {})
    for provider, entry in entries.items():
        try:
            path = list_folder(place, provider, float(entry["asked_at"]), str(entry["sha256"]))
            wrong = _why_not(provider, path, str(entry["sha256"]), str(entry["base_sha256"]))
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            wrong = "its entry in the manifest is damaged"
        if wrong:
            found.left_out[provider] = f"refreshed prices of {provider} are not read: {wrong}"
        else:
            found.lists[provider] = path
    return found


def _why_not(provider: str, path: Path, sha256: str, base_sha256: str) -> str:
    """Why a list does not count; "" when it does."""
    try:
        if digest(shipped_file(provider).read_bytes()) != base_sha256:
            return "another version of cloudtrain made them"
    except OSError:
        return "this version ships no prices of it"
    try:
        same = digest((path / f"{provider}.csv").read_bytes()) == sha256
    except OSError:
        same = False
    return "" if same else "the file is damaged"


def digest(text: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    from hashlib import sha256

    return sha256(text).hexdigest()
