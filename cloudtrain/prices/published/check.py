"""Judges every price list of a folder against another one: what a CI job asks before it publishes them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cloudtrain import providers
from cloudtrain.errors import DamagedRecord, UsageError
from cloudtrain.files import read_beginning
from cloudtrain.prices import folder, gate, merge
from cloudtrain.prices.records import ListEntry, Manifest
from cloudtrain.prices.table import SPOT_SEEN, Table, parse, price_in


class Listed(NamedTuple):
    """A price list of a folder, and its entry where the folder has a manifest."""

    path: Path
    entry: ListEntry | None


class Judged(NamedTuple):
    """One list: its faults, its prices, and how many of those are not those of the list it was compared with."""

    provider: str
    faults: tuple[gate.Fault, ...]
    prices: int = 0
    changed: int = 0


def lists(place: Path) -> dict[str, Listed]:
    """The lists of a folder as `refresh` makes it, else every `<provider>.csv` in it. Raises UsageError."""
    from cloudtrain.records.door import read

    if not place.is_dir():
        raise UsageError(f"`{place}` is no folder", "name the one that CLOUDTRAIN_PRICES names for `prices refresh`")
    if not (place / folder.MANIFEST).exists():
        known = providers.names("pricing")
        return {path.stem: Listed(path, None) for path in sorted(place.glob("*.csv")) if path.stem in known}
    try:
        manifest = read(Manifest, read_beginning(place / folder.MANIFEST, folder.MOST_BYTES), folder.MANIFEST)
    except (OSError, DamagedRecord) as error:
        raise UsageError(f"`{place / folder.MANIFEST}` cannot be read: {error}") from None
    return {
        provider: Listed(folder.list_folder(place, provider, entry.asked_at, entry.sha256) / f"{provider}.csv", entry)
        for provider, entry in sorted(manifest.lists.items())
    }


def judged(place: Path, against: Path | None, now: float) -> list[Judged]:
    """Every list of a folder, against those of another folder and else the shipped ones. Raises UsageError."""
    found = lists(place)
    if not found:
        raise UsageError(f"there is no price list in `{place}`", "`cloudtrain prices refresh` makes some")
    before = {} if against is None else lists(against)
    return [_judged(provider, listed, before.get(provider), now) for provider, listed in found.items()]


def _judged(provider: str, listed: Listed, before: Listed | None, now: float) -> Judged:
    shipped = folder.shipped_file(provider)
    old_path = shipped if before is None else before.path
    try:
        text, base, old_text = (_read(path) for path in (listed.path, shipped, old_path))
        wrong = _entry_fault(listed.entry, folder.digest(text), folder.digest(base))
        new = parse(text, str(listed.path))
        new = Table(tuple(dict.fromkeys((*new.columns, *SPOT_SEEN))), new.rows)  # as whatever was rebased
        old = merge.rebased(parse(base, str(shipped)), parse(old_text, str(old_path)))
        gate.reread(provider, listed.path.parent)
        # A jump waited for a second answer before it came into the list: `verdict.held` does not keep it out.
        verdict = gate.judge(old, new, now, listed.entry.held if listed.entry else ())
    except UsageError as error:
        return Judged(provider, (gate.Fault("", error.message),))
    prices = [(price_in(row, cell.market), cell) for cell, row in new.cells]
    was = {cell: price_in(row, cell.market) for cell, row in old.cells}
    changed = sum(was.get(cell) != usd for usd, cell in prices)
    faults = (*((gate.Fault("", wrong),) if wrong else ()), *verdict.faults)
    return Judged(provider, faults, sum(usd is not None for usd, _ in prices), changed)


def _entry_fault(entry: ListEntry | None, sha256: str, base_sha256: str) -> str:
    if entry is None:
        return ""
    if entry.sha256 != sha256:
        return "the file is not the one that the manifest names: it is damaged"
    return "" if entry.base_sha256 == base_sha256 else "another version of cloudtrain made it"


def _read(path: Path) -> bytes:
    try:
        return read_beginning(path, folder.MOST_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror or error}") from None
