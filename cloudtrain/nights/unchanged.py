"""Whether a night's run would be the same as the last good one: spec, data, model and the trainer's packages."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain import hub
from cloudtrain.runs.client import weights
from cloudtrain.runs.record import Run
from cloudtrain.runs.transfer import ticket
from cloudtrain.state.protocol import Store
from cloudtrain.trainer import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtrain.records import NightRecord
    from cloudtrain.runs.prepare import Prepared


class Same(NamedTuple):
    """The run since which nothing has changed, what tells it, and why the hub was not asked ("" where it was)."""

    run: str
    fingerprint: str
    note: str


def since(store: Store, prepared: Prepared, nights: Sequence[NightRecord], token: str | None) -> Same | None:
    """The newest good night's run, when tonight's would be the same; None when it would not.

    `nights` are the newest records, oldest first. A night that failed is no reason to leave the next one out, however
    alike: it is tried again. As in `up`, where the hub cannot be asked a model without a pinned revision counts as it
    was. Raises UsageError for a model that the run could not reach.
    """
    good = next((each for each in reversed(nights) if each.outcome in ("finished", "unchanged") and each.run), None)
    run = Run(store, good.run) if good else None
    if good is None or run is None or run.begun is None or not good.fingerprint:
        return None
    source = weights.find(prepared, store, run.stack.direct, token)
    commit = source.commit or (run.intent.revision if source.note else None)
    identity = prepared.at_revision(commit).identity
    now = fingerprint(store, identity, run.intent.flavour, prepared.model.path, source.kind, source.name)
    return Same(run.id, now, source.note) if now == good.fingerprint else None


def of_run(store: Store, run: Run, prepared: Prepared) -> str:
    """What the run that has begun was made of, to be compared with later nights; "" when the spec is another by now."""
    if prepared.at_revision(run.intent.revision).identity != run.intent.identity:
        return ""
    source = weights.find(prepared.at_revision(run.intent.revision), store, run.stack.direct, hub.own_token())
    return fingerprint(store, run.intent.identity, run.intent.flavour, prepared.model.path, source.kind, source.name)


def fingerprint(store: Store, identity: str, flavour: str, folder: str, kind: str, name: str) -> str:
    """Of the identity (spec, commit, data's bytes), the model's files where no hub has them, the packages."""
    files: list[str] = []
    if kind == "folder":
        files = files_of(Path(folder))
    elif kind == "state":
        found = ticket.files_of_weights(store, name)
        files = [f"{path} {sum(store.size(key) for key in keys)}" for path, keys in sorted(found.items())]
    mixed = "\n".join([identity, environment.lock_digest(flavour), kind, *files])
    return hashlib.sha256(mixed.encode()).hexdigest()


def files_of(folder: Path) -> list[str]:
    """The files of a model's folder with size and time of change: reading them would take longer than many a run."""
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        about = path.stat()
        found.append(f"{path.relative_to(folder).as_posix()} {about.st_size} {about.st_mtime_ns}")
    return found
