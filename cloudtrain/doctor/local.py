"""What `doctor` finds out about this machine: the engine, the state, locks, trainers, disk space, the clock."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain import backends
from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.providers import Finding
from cloudtrain.provisioner import Provisioner, provisioner
from cloudtrain.settings import cache_folder
from cloudtrain.trainer import environment, quantised
from cloudtrain.units import GB, rfc3339

if TYPE_CHECKING:
    from cloudtrain.runs.leftovers.judging import Records
    from cloudtrain.state.protocol import Store

LEAST_FREE_BYTES = GB  # less holds neither the engine's download nor a checkpoint of the smallest model
SKEW_S = 300.0  # clouds refuse signatures that are further off than five minutes


def findings(store: Store | None, state_error: str, known: Records, rents: bool) -> Iterator[Finding]:
    """Everything but the clock. `state_error`: why there is no state; `rents`: whether machines are rented at all.

    The engine is only a problem where it is needed.
    """
    tool = provisioner()
    yield problem_where(rents, engine(tool))
    yield problem_where(rents, plugin(tool))
    yield (
        writable(store)
        if store is not None
        else broken("state", state_error, "`cloudtrain config show` shows its place")
    )
    yield records(known)
    if store is not None:
        yield from locks(tool, store, known)
        yield from disk("disk space for the state", Path(store.url)) if "://" not in store.url else ()
    try:
        yield from trainers()
    except UsageError as error:
        yield broken("trainers", error.message, error.hint)
    try:
        yield from disk("disk space for the cache", cache_folder())
        yield from kept_weights()
    except UsageError as error:
        yield broken("disk space for the cache", error.message, error.hint)


def broken(what: str, message: str, hint: str) -> Finding:
    """A problem that has nothing to do with a provider's permission."""
    return Finding(what, "problem", message, hint, barring=False)


def problem_where(rents: bool, finding: Finding) -> Finding:
    """The finding; a problem that cannot occur here is only mentioned."""
    if rents or finding.state != "problem":
        return finding
    return finding._replace(state="unknown", message=f"{finding.message}; only rented machines need it")


def engine(tool: Provisioner) -> Finding:
    """Which Pulumi is used, and from where."""
    what = "Pulumi's command line"
    try:
        root, version = tool.find()
    except UsageError as error:
        return broken(what, error.message, error.hint)
    message = f"{version} in {root}"
    if version == tool.version:
        return Finding(what, "ok", message)
    hint = f"`cloudtrain doctor --install-pulumi` installs version {tool.version}"
    if version.partition(".")[0] != tool.version.partition(".")[0]:
        return broken(what, f"{message}, which this version cannot use", hint)
    return Finding(what, "ok", f"{message}; tested with {tool.version}")


def plugin(tool: Provisioner) -> Finding:
    """Whether the engine finds what it talks to clouds through."""
    try:
        return Finding("engine's plugin", "ok", str(tool.plugin()))
    except UsageError as error:
        return broken("engine's plugin", error.message, error.hint)


def writable(store: Store) -> Finding:
    """Whether the state takes a document, gives it back and lets it go."""
    import uuid

    key, text = f"doctor-{uuid.uuid4().hex[:12]}", b"written by cloudtrain doctor\n"
    made_here = "://" not in store.url and not os.path.exists(store.url)
    try:
        store.create(key, text)
        same = store.read(key) == text
        store.delete(key)
    except CloudtrainError as error:
        return broken("state", error.message, error.hint)
    finally:
        if made_here:
            with contextlib.suppress(OSError):
                os.rmdir(store.url)
    if not same:
        return broken("state", f"`{store.url}` gives back something else than was written", "choose another place")
    return Finding("state", "ok", f"{store.url} can be written")


def records(known: Records) -> Finding:
    """Whether every run's records can be read."""
    if known.unread:
        hint = "move it away; `cloudtrain sweep` needs no record"
        return broken("run records", "; ".join(known.unread), hint)
    return Finding("run records", "ok", f"{len(known.runs)} of {len(known.runs)} can be read")


def locks(tool: Provisioner, store: Store, known: Records) -> Iterator[Finding]:
    """Runs with a lock: one of a dead engine keeps `up` and `down` waiting."""
    held = False
    for run in known.runs.values():
        try:
            owners = tool.held(store, run.id) if run.gone is None else []
        except CloudtrainError as error:
            yield broken(f"lock of run `{run.id}`", error.message, error.hint)
            continue
        for holder, owner in owners:
            held = True
            yield lock(run.id, holder, owner)
    if not held:
        yield Finding("locks", "ok", "no run is locked")


def lock(run: str, holder: str, owner: str) -> Finding:
    """One lock as a finding."""
    what = f"lock of run `{run}`"
    if owner == "dead":
        return broken(what, f"left by {holder}, dead", f"`cloudtrain unlock {run}`")
    if owner == "elsewhere":
        hint = f"`cloudtrain unlock --force {run}` when that machine is dead"
        return Finding(what, "unknown", f"held by {holder}", hint)
    return Finding(what, "ok", f"held by {holder}, at work")


def trainers() -> Iterator[Finding]:
    """Every trainer back end and its environments on this machine. Raises UsageError for a wrong description."""
    for backend in backends.all_backends():
        if backend.program("train") is not None:
            made = [flavour for flavour in backend.flavours if environment.find(flavour)]
            message = f"environments here: {', '.join(made)}" if made else "no environment here yet; `up` makes it"
            yield Finding(f"trainer `{backend.name}`", "ok", message)


def disk(what: str, folder: Path) -> Iterator[Finding]:
    """Free space where the folder is or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield broken(what, f"{folder}: {error.strerror or error}", "")
        return
    message = f"{free / GB:.1f} GB free in {folder}"
    if free < LEAST_FREE_BYTES:
        yield broken(what, message, "free some space: a training environment needs up to 8 GB")
    else:
        yield Finding(what, "ok", message)


def kept_weights() -> Iterator[Finding]:
    """What 4-bit weights take of the cache, if there are any. Raises UsageError without a place for a cache."""
    if size := quantised.size_bytes():
        message = f"{size / GB:.1f} GB in {quantised.root()}, for later runs; the folder may be deleted"
        yield Finding("kept 4-bit weights", "ok", message)


def clock(known: Records, newest_price: str) -> Finding:
    """Whether the clock can be right: deadlines are instants. `newest_price`: the catalogue's last day, or "".

    A clock that runs ahead is not seen here; clouds that sign requests refuse it.
    """
    if os.environ.get("CLOUDTRAIN_NOW"):
        return Finding("clock", "unknown", "stopped by CLOUDTRAIN_NOW", "unset CLOUDTRAIN_NOW")
    now, hint = time.time(), "set the clock: deadlines and signatures depend on it"
    message = f"it is {rfc3339(now)} here"
    if newest_price and datetime.fromtimestamp(now + 86400, UTC).strftime("%Y-%m-%d") < newest_price:
        return broken("clock", f"{message}, before the catalogue's prices of {newest_price}", hint)
    for run in known.runs.values():
        if run.begun is not None and run.begun.created > now + SKEW_S:
            return broken("clock", f"{message}, and run `{run.id}` was begun at {rfc3339(run.begun.created)}", hint)
    return Finding("clock", "ok", message)
