"""What runs on this machine though its records have been removed."""

from __future__ import annotations

from collections.abc import Iterable

from cloudtrain.providers import OwnedResource, Stack, load, names

REASON = "its records are gone"


def find(wanted: Iterable[str] = ()) -> dict[str, list[OwnedResource]]:
    """By provider: those named, else all. One with nothing is left out."""
    found = {name: load("stacks", name, Stack).lost for name in list(wanted) or names("stacks")}
    things = {name: list(lost.find()) for name, lost in found.items() if lost is not None}
    return {name: owned for name, owned in things.items() if owned}


def end(name: str, owned: OwnedResource) -> bool:
    """End one of them; whether it is gone."""
    lost = load("stacks", name, Stack).lost
    return lost is not None and lost.end(owned)
