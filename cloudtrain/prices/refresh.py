"""Asks providers for today's prices, judges what they answer, and lets it count."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from cloudtrain import __version__
from cloudtrain.errors import CloudtrainError, MissingCredentials, Permission, UsageError, nearest
from cloudtrain.listings import Answer, Listing, Unanswered, Unlisted
from cloudtrain.prices import asking, folder, install, merge, table
from cloudtrain.prices.gate import Fault, judge, reread
from cloudtrain.prices.records import Change, Held, ListEntry
from cloudtrain.prices.table import Cell, Table, price_in
from cloudtrain.providers import PriceSource, load, names

TIMEOUT_S = 60.0
REUSED_S = 20 * 60.0  # a list that is younger is not asked for again
State = Literal["renewed", "unchanged", "refused", "no_credentials", "unanswered"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a refresh of one provider came to. Counts are of prices, one for each row and market.

    `renewed`: a new list counts (of a dry run: would). `unchanged`: the last one is younger than 20 minutes. `refused`:
    the gate took no price at all, so the old ones stay. `no_credentials`, `unanswered`: `error` says why.
    """

    provider: str
    state: State
    taken: int = 0  # answered, and written with today's date; those that are gone are counted below
    kept: int = 0  # there before, and not answered for or of a region with a fault: the old price and its date
    gone: int = 0  # there before, asked, and no longer offered
    held: tuple[Held, ...] = ()
    unlisted: tuple[Unlisted, ...] = ()
    faults: tuple[Fault, ...] = ()  # regions that did not answer, too
    changes: tuple[Change, ...] = ()  # prices that differ from those that counted before
    error: CloudtrainError | None = None


class Basis(NamedTuple):
    """What a provider's answers are laid over."""

    base_sha256: str
    old: Table
    entry: ListEntry | None  # of the list that counts, when a refresh or a pull made it


def refreshable() -> list[str]:
    """Providers that can be asked, sorted."""
    sources = (load("pricing", name, PriceSource) for name in names("pricing"))
    return [each.name for each in sources if each.refresh is not None and folder.shipped_file(each.name).is_file()]


def refresh(
    providers: Sequence[str] | None,
    *,
    now: float,
    dry_run: bool = False,
    accept_jumps: bool = False,
    timeout_s: float = TIMEOUT_S,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Ask the named providers, or all that can be asked, at once; one outcome each, in the order of their names.

    One provider's failure touches no other. Raises UsageError for an unknown name, where CLOUDTRAIN_CATALOG is set, and
    for a folder that cannot be written.
    """
    if os.environ.get("CLOUDTRAIN_CATALOG"):
        raise UsageError("CLOUDTRAIN_CATALOG is set, so refreshed prices would not be read", "unset it first")
    chosen = _chosen(providers)
    found: list[Outcome] = []
    with nullcontext() if dry_run else install.lock():
        known = {name: basis(name) for name in chosen}
        fresh = [] if accept_jumps else [name for name in chosen if _is_fresh(known[name], now)]
        found += [Outcome(name, "unchanged") for name in fresh]
        asked = {
            name: (load("pricing", name, PriceSource), table.shapes(known[name].old.rows))
            for name in chosen
            if name not in fresh
        }
        for name, said in asking.ask_all(asked, timeout_s):
            say(name)
            found.append(_outcome(name, known[name], said, _How(now, dry_run, accept_jumps)))
    return sorted(found, key=lambda outcome: outcome.provider)


class _How(NamedTuple):
    now: float
    dry_run: bool
    accept_jumps: bool


def _chosen(providers: Sequence[str] | None) -> list[str]:
    can = refreshable()
    for name in providers or ():
        if name not in can:
            close = nearest(name, can)
            hint = f"did you mean `{close}`?" if close else f"known: {', '.join(can)}"
            raise UsageError(f"`{name}` is no provider that can be asked for prices", hint)
    return can if providers is None else sorted(set(providers))


def basis(provider: str) -> Basis:
    """Today's shipped list, with the prices of the last refreshed one where those are newer."""
    text = folder.shipped_file(provider).read_bytes()
    shipped = table.parse(text, provider)
    sha256 = folder.digest(text)
    entry = install.manifest().lists.get(provider)
    if entry is None:
        return Basis(sha256, shipped, None)
    try:
        path = folder.list_folder(folder.folder(), provider, entry.asked_at, entry.sha256) / f"{provider}.csv"
        there = path.read_bytes()
        if folder.digest(there) != entry.sha256:
            return Basis(sha256, shipped, None)
        return Basis(sha256, merge.rebased(shipped, table.parse(there, provider)), entry)
    except (OSError, OverflowError, ValueError, UsageError):
        return Basis(sha256, shipped, None)


def _is_fresh(basis: Basis, now: float) -> bool:
    entry = basis.entry
    return entry is not None and entry.base_sha256 == basis.base_sha256 and 0 <= now - entry.asked_at < REUSED_S


def _outcome(provider: str, basis: Basis, said: asking.Said, how: _How) -> Outcome:
    if said.error is not None:
        return Outcome(provider, _unheard(said.error), error=said.error)
    heard = _hear(said.answers)
    weighed = _weigh(basis, heard, how)
    found = _told(provider, basis, heard, weighed, how.now)
    if found.state != "renewed" and not found.held:
        return found
    text = table.as_bytes(weighed.new)
    try:
        with install.draft(provider, text) as place:
            reread(provider, place)
    except UsageError as error:
        return Outcome(provider, "refused", unlisted=heard.unlisted, faults=(Fault("", error.message),))
    if not how.dry_run:
        entry = ListEntry(
            sha256=folder.digest(text),
            base_sha256=basis.base_sha256,
            asked_at=how.now,
            asked=sum(price_in(row, cell.market) is not None for cell, row in basis.old.cells),
            kept=found.kept,
            tool=__version__,
            source="refresh",
            held=found.held,
        )
        install.install(provider, text, entry, found.changes)
    return found


class _Heard(NamedTuple):
    """Answers by the price that they are about; what was wrong with the others."""

    listings: Mapping[Cell, Listing]
    faults: tuple[Fault, ...]
    unlisted: tuple[Unlisted, ...]
    silent: tuple[Unanswered, ...]


def _hear(answers: Sequence[Answer]) -> _Heard:
    listings, twice = merge.by_cell(answer for answer in answers if isinstance(answer, Listing))
    silent = [answer for answer in answers if isinstance(answer, Unanswered)]
    listings = {cell: said for cell, said in listings.items() if not any(_is_silent(cell, part) for part in silent)}
    faults = [Fault(cell.region, f"two prices for {cell.offer} ({cell.market})") for cell in twice]
    faults += [
        Fault(cell.region, f"{cell.offer} ({cell.market}): no price of an hour")
        for cell, listing in listings.items()
        if not merge.can_be_written(listing.usd_per_hour)
    ]
    return _Heard(
        {cell: listing for cell, listing in listings.items() if not _is_out(cell, faults)},
        tuple(dict.fromkeys([*(Fault(answer.region, answer.error.message) for answer in silent), *faults])),
        tuple(dict.fromkeys(answer for answer in answers if isinstance(answer, Unlisted))),
        tuple(silent),
    )


def _is_silent(cell: Cell, part: Unanswered) -> bool:
    return part.region in ("", cell.region) and part.market in (None, cell.market)


def _is_out(cell: Cell, faults: Sequence[Fault]) -> bool:
    """Whether the price is of a region that has a fault."""
    return any(fault.region in ("", cell.region) for fault in faults)


class _Weighed(NamedTuple):
    """The new list and what of the answers is in it."""

    new: Table
    listings: Mapping[Cell, Listing]
    faults: tuple[Fault, ...]
    held: tuple[Held, ...]


def _weigh(basis: Basis, heard: _Heard, how: _How) -> _Weighed:
    """Lay over the old list what passes the gate: no region with a fault, no jump that waits."""
    day = datetime.fromtimestamp(how.now, UTC).date().isoformat()
    waiting = () if basis.entry is None else basis.entry.held
    listings = dict(heard.listings)
    faults: list[Fault] = []
    held: dict[Cell, Held] = {}
    while True:  # each turn takes answers away
        new = merge.merge(basis.old, listings, day)
        verdict = judge(basis.old, new, how.now, (*held.values(), *waiting), how.accept_jumps)
        faults += verdict.faults
        late = {_cell(price): price for price in verdict.held} if not verdict.faults else {}
        left = {c: said for c, said in listings.items() if c not in late and not _is_out(c, verdict.faults)}
        held |= late
        if len(left) == len(listings):
            break
        listings = left
    answered = {*listings, *held}
    still = {_cell(price): price for price in waiting if _cell(price) not in answered}
    return _Weighed(new, listings, tuple(dict.fromkeys(faults)), (*held.values(), *still.values()))


def _cell(price: Held) -> Cell:
    return Cell(price.offer, price.region, price.zones, "spot" if price.market == "spot" else "on_demand")


def _told(provider: str, basis: Basis, heard: _Heard, weighed: _Weighed, now: float) -> Outcome:
    """What became of every price."""
    taken = kept = gone = 0
    changes = []
    held = {_cell(price) for price in weighed.held}
    for (cell, before), (_, after) in zip(basis.old.cells, weighed.new.cells, strict=True):
        old, new = price_in(before, cell.market), price_in(after, cell.market)
        listing = weighed.listings.get(cell)
        if listing is None:
            kept += old is not None and cell not in held
            continue
        taken += new is not None
        gone += old is not None and new is None
        if old != new:
            changes.append(Change(time=now, **cell._asdict(), old=old, new=new, source=listing.source))
    faults = (*heard.faults, *weighed.faults)
    if not heard.listings and not faults:
        faults = (Fault("", f"{provider} answers for none of the prices"),)
    error = heard.silent[0].error if heard.silent and not heard.listings else None
    state: State = "renewed" if taken or gone else "refused" if error is None else _unheard(error)
    return Outcome(provider, state, taken, kept, gone, weighed.held, heard.unlisted, faults, tuple(changes), error)


def _unheard(error: CloudtrainError) -> State:
    return "no_credentials" if isinstance(error, MissingCredentials | Permission) else "unanswered"
