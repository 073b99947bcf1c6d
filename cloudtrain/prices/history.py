"""What prices were: a line for each change, per provider, bounded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cloudtrain.errors import DamagedRecord
from cloudtrain.prices import folder
from cloudtrain.prices.records import Change
from cloudtrain.records import read

PENDING = "changes.jsonl"  # beside a list, until its lines are in the history
MOST_BYTES = 4 << 20  # of one provider's history; its older half is dropped then


def changes(
    provider: str,
    offer: str | None = None,
    region: str | None = None,
    zones: str | None = None,
    market: str | None = None,
) -> list[Change]:
    """The changes of these prices, oldest first; None stands for any. Damaged lines are passed over."""
    wanted = {"offer": offer, "region": region, "zones": zones, "market": market}
    return [
        change
        for change in _every(provider)
        if all(value is None or getattr(change, name) == value for name, value in wanted.items())
    ]


def settle(provider: str, list_folder: Path) -> None:
    """Move the lines that lie beside a list that counts to the history. Done twice, it is as done once."""
    pending = list_folder / PENDING
    try:
        text = pending.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    path = path_of(provider)
    path.parent.mkdir(exist_ok=True)
    known = path.read_bytes() if path.exists() else b""
    if not known.endswith(text):
        _bound(path, known, len(text))
        _append(path, text)
    pending.unlink()


def path_of(provider: str) -> Path:
    """The file of a provider's history."""
    return folder.folder() / "history" / f"{provider}.jsonl"


def _append(path: Path, text: bytes) -> None:
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a torn line before: ours begins on one of its own
                text = b"\n" + text
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _bound(path: Path, known: bytes, more: int) -> None:
    """Drop the older half of a history that would become too long."""
    if len(known) + more <= MOST_BYTES:
        return
    kept = known[-(MOST_BYTES // 2) :]
    temporary = path.with_suffix(".new")
    temporary.write_bytes(kept[kept.find(b"\n") + 1 :])
    os.replace(temporary, path)


def _every(provider: str) -> Iterator[Change]:
    """Each line once: a process that died while it moved them may have left some twice."""
    paths = [path_of(provider)]
    if there := folder.look().lists.get(provider):
        paths.append(there / PENDING)
    seen: set[bytes] = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for line in path.read_bytes().splitlines():
                if line and line not in seen:
                    seen.add(line)
                    with contextlib.suppress(DamagedRecord):
                        yield read(Change, line, str(path))
