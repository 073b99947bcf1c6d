"""Which catalogue is read: the shipped price lists and those that were refreshed, or what CLOUDTRAIN_CATALOG names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain import __version__
from cloudtrain.errors import UsageError
from cloudtrain.prices.folder import called, refreshed
from cloudtrain.providers import Context
from cloudtrain.quote import probed

if TYPE_CHECKING:
    from cloudtrain.settings import Settings


def shipped() -> Path:
    """The folder of the catalogue that is part of the package."""
    found: Path = import_module("cloudtrain.pricing").SNAPSHOTS
    return found


def folder() -> Path:
    """The catalogue folder. Raises UsageError when the one that was named is not there."""
    named = os.environ.get("CLOUDTRAIN_CATALOG")
    if not named:
        return shipped()
    path = Path(named).expanduser()
    if not path.is_dir():
        raise UsageError(
            f"CLOUDTRAIN_CATALOG names `{named}`, which is not a folder", "unset it for the shipped prices"
        )
    return path


def version(lists: Mapping[str, Path]) -> str:
    """What to call the catalogue that is read: the release that shipped it, or the folder that was named.

    Refreshed price lists follow with their day: `shipped with cloudtrain 0.2 + aws 2026-11-30 (ab12cd34)`.
    """
    first = os.environ.get("CLOUDTRAIN_CATALOG") or f"shipped with cloudtrain {__version__}"
    return " + ".join([first, *(f"{provider} {called(path)}" for provider, path in sorted(lists.items()))])


def lists() -> Context:
    """The price lists alone, for what asks about no machine of one's own."""
    return Context(folder(), refreshed=refreshed())


def context(settings: Settings) -> Context:
    """What the price sources are given."""
    probe = probed.of_state(settings.state)
    return Context(folder(), settings.usd_per_kwh, settings.watts, probe, refreshed=refreshed())
