"""Takes published price lists: signature, hashes and age first, then our own gate, and each list by itself.

The signature says who made them, not that they are right: a list that the gate refuses changes nothing, and none of
them brings a machine, a size or an older price.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain import providers
from cloudtrain.errors import DamagedRecord, UsageError
from cloudtrain.prices import folder, gate, install, merge
from cloudtrain.prices.published import archive, keys, origin
from cloudtrain.prices.published.manifest import PublishedList, PublishedManifest, PulledRecord, parsed
from cloudtrain.prices.records import Change, ListEntry
from cloudtrain.prices.refresh import Outcome, basis
from cloudtrain.prices.table import Row, Table, as_bytes, count, parse, price_in, seen_in
from cloudtrain.units import rfc3339

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from cloudtrain.prices.published.place import Place

RECORD = "published.json"


class _How(NamedTuple):
    now: float
    accept_jumps: bool
    say: Callable[[str], None]


def pull(
    place: Place,
    believed: Sequence[Ed25519PublicKey],
    *,
    now: float,
    accept_jumps: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Take what is newer; an outcome for each list of a provider that this version knows, none when nothing changed.

    Raises UsageError for a catalogue that must not be believed, Unavailable when it did not arrive: nothing was taken.
    """
    if os.environ.get("CLOUDTRAIN_CATALOG"):
        raise UsageError("CLOUDTRAIN_CATALOG is set, so pulled prices would not be read", "unset it first")
    last = last_pulled()
    etag = last.etag if last is not None and last.address == place.address else ""
    answer = place.get(origin.MANIFEST, origin.MOST_MANIFEST_BYTES, etag)
    if answer is None:
        say("nothing newer has been published")
        return []
    signature = place.get(origin.SIGNATURE, origin.MOST_SIGNATURE_BYTES)
    assert signature is not None  # was asked for without an etag
    keys.check(answer.data, signature.data, believed)
    manifest = parsed(answer.data)
    found = PulledRecord(made=manifest.made, sha256=folder.digest(answer.data), address=place.address, etag=answer.etag)
    refuse_older(found, last, now)
    files = lists_in(place, manifest)
    say(f"published {rfc3339(manifest.made)}, signature and hashes are right")
    with install.lock():
        refuse_older(found, last_pulled(), now)  # another process may have pulled meanwhile
        outcomes = [
            _take(provider, listed, files[provider], _How(now, accept_jumps, say))
            for provider, listed in sorted(manifest.lists.items())
            if _known(provider, say)
        ]
        whole = all(outcome.state != "refused" for outcome in outcomes)
        _remember(found if whole else found.replace(etag=""))
    return outcomes


def refuse_older(found: PulledRecord, last: PulledRecord | None, now: float) -> None:
    """Raises UsageError for a manifest that is older than the last one, another of the same time, or of the future."""
    made = rfc3339(found.made)
    if found.made > now + origin.EARLY_S:
        raise UsageError(
            f"the catalogue says that it was made at {made}, which is in the future: nothing was taken",
            "is this machine's clock right?",
        )
    if last is None:
        return
    if found.made < last.made:
        raise UsageError(
            f"the catalogue was made at {made}, and one of {rfc3339(last.made)} was taken here already: "
            "somebody replays an older one, nothing was taken",
            "try again later: a mirror may be behind",
        )
    if found.made == last.made and found.sha256 != last.sha256:
        raise UsageError("two different catalogues say that they were made at the same time: nothing was taken")


def lists_in(place: Place, manifest: PublishedManifest) -> dict[str, bytes]:
    """Provider -> its list, of the archive that the manifest names by its hash. Raises UsageError, Unavailable."""
    answer = place.get(manifest.archive.name, origin.MOST_BYTES)
    assert answer is not None  # was asked for without an etag
    if folder.digest(answer.data) != manifest.archive.sha256:
        raise UsageError(
            f"{manifest.archive.name} is not what was signed (its hash is another): nothing was taken",
            "it may have been replaced just now: try again in a minute",
        )
    names = {f"{provider}.csv": provider for provider in manifest.lists}
    found = archive.unpacked(answer.data, names, origin.MOST_BYTES)
    return {names[name]: data for name, data in found.items()}


def last_pulled() -> PulledRecord | None:
    """The newest manifest that was believed here, if its record can be read.

    Its etag is "" when one of the refreshed lists does not count any more: all of it is to be taken again.
    """
    from cloudtrain.records.door import read

    try:
        last = read(PulledRecord, (folder.folder() / RECORD).read_bytes(), RECORD)
    except (OSError, DamagedRecord):
        return None
    looked = folder.look()
    return last if looked.lists and not looked.left_out else last.replace(etag="")


def _remember(found: PulledRecord) -> None:
    from cloudtrain.settings.file import replace

    path = folder.folder() / RECORD
    try:
        replace(path, found.as_bytes().decode())
    except OSError as error:
        raise UsageError(f"cannot write `{path}`: {error.strerror or error}", "see CLOUDTRAIN_PRICES") from None


def _known(provider: str, say: Callable[[str], None]) -> bool:
    known = provider in providers.names("pricing") and folder.shipped_file(provider).exists()
    if not known:
        say(f"{provider}: passed over, this version has no price list of it")
    return known


def _take(provider: str, listed: PublishedList, text: bytes, how: _How) -> Outcome:
    """Let the newer prices of one list count, if the gate lets them. Under the lock."""
    if folder.digest(text) != listed.sha256:
        return _refused(provider, "its hash is not the manifest's")
    if listed.asked_at > how.now + origin.EARLY_S:
        return _refused(provider, "it says that it was asked for in the future")
    here = basis(provider)
    own = here.entry if provider in folder.refreshed() else None
    try:
        theirs, strange = _of_our_machines(here.old, parse(text, f"{provider}.csv"))
        if strange:
            how.say(f"{provider}: {strange} rows that this version does not list are passed over")
        new = merge.rebased(here.old, theirs)
        # A jump waited for a second answer before it was published, so `verdict.held` does not wait here as well.
        held = tuple(dict.fromkeys((*listed.held, *(own.held if own is not None else ()))))
        verdict = gate.judge(here.old, new, how.now, held, how.accept_jumps)
        if verdict.faults:
            return Outcome(provider, "refused", faults=verdict.faults)
        made = as_bytes(new)
        with install.draft(provider, made) as drafted:
            gate.reread(provider, drafted)
    except UsageError as error:
        return _refused(provider, error.message)
    found = _told(provider, here.old, new, how.now)
    if own is not None and not (found.taken or found.gone):
        return Outcome(provider, "unchanged")
    entry = ListEntry(
        sha256=folder.digest(made),
        base_sha256=here.base_sha256,
        asked_at=listed.asked_at if own is None else max(own.asked_at, listed.asked_at),
        asked=listed.asked,
        kept=found.kept,
        tool=listed.tool,
        source="pull",
        held=held,
    )
    install.install(provider, made, entry, found.changes)
    return found


def _of_our_machines(ours: Table, theirs: Table) -> tuple[Table, int]:
    """Their rows of what is the same machine for us, and how many others there are: sizes are always ours."""
    known = {_named(row): _machine(row) for row in ours.rows}
    rows = tuple(row for row in theirs.rows if known.get(_named(row)) == _machine(row))
    return Table(theirs.columns, rows), len(theirs.rows) - len(rows)


def _named(row: Row) -> tuple[str, str, str]:
    return row["offer"], row["region"], row["zones"]


def _machine(row: Row) -> tuple[str, int]:
    return row.get("accelerator", ""), count(row)


def _told(provider: str, old: Table, new: Table, now: float) -> Outcome:
    """What became of every price."""
    taken = kept = gone = 0
    changes = []
    for (cell, before), (_, after) in zip(old.cells, new.cells, strict=True):
        was, usd = price_in(before, cell.market), price_in(after, cell.market)
        if (was, seen_in(before, cell.market)) == (usd, seen_in(after, cell.market)):
            kept += was is not None
            continue
        taken += usd is not None
        gone += was is not None and usd is None
        if was != usd:
            changes.append(Change(time=now, **cell._asdict(), old=was, new=usd, source="pull"))
    return Outcome(provider, "renewed", taken, kept, gone, changes=tuple(changes))


def _refused(provider: str, why: str) -> Outcome:
    return Outcome(provider, "refused", faults=(gate.Fault("", why),))
