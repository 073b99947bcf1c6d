"""What is kept of refreshed price lists: the manifest that says which ones count, prices that wait, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from cloudtrain.records.form import Form, Instant, Record, Usd

Source = Literal["refresh", "pull"]


class Held(Form):
    """A new price that is not taken before a second answer agrees. `old`: None, nothing was known."""

    offer: str
    region: str
    zones: str
    market: str
    old: Usd | None
    new: Usd
    since: Instant  # when it was answered first


class ListEntry(Form):
    """One provider's refreshed price list. Counts are of prices, one for each row and market."""

    sha256: str
    base_sha256: str  # of the shipped list that it grew from
    asked_at: Instant
    asked: int  # prices that were there before
    kept: int  # those of them that nobody answered for, with their old date
    tool: str  # the version of cloudtrain
    source: Source
    held: tuple[Held, ...] = ()


class Manifest(Record):
    """`manifest.json`: which refreshed lists count; the only switch. A list that it does not name is not read."""

    lists: Mapping[str, ListEntry] = {}


class Change(Record):
    """A line of `history/PROVIDER.jsonl`: a price that changed. None: none was known, or it is no longer offered."""

    time: Instant
    offer: str
    region: str
    zones: str
    market: str
    old: Usd | None
    new: Usd | None
    source: str  # which interface of the provider said so, or "pull"
