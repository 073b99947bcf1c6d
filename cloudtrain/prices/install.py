"""The one way in which a refreshed price list comes to count: whole or not at all, whenever the process dies.

A list is written into a folder that nobody reads yet, and renamed; then the manifest that names it is replaced. Lines
of history lie beside the list until they are in the history, so that a death between the two loses none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cloudtrain.errors import DamagedRecord, UsageError
from cloudtrain.prices import folder, history
from cloudtrain.prices.records import Change, ListEntry, Manifest
from cloudtrain.records import read

LOCK = "lock"
_UNFINISHED = ".new-"


@contextmanager
def lock() -> Iterator[None]:
    """Wait until no other process installs, and keep others out. Not to be taken twice. Raises UsageError."""
    with _explained():
        place = folder.folder()
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(place / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait(handle)
        yield
    finally:
        os.close(handle)


def manifest() -> Manifest:
    """What is kept of the lists that count; an empty one when there is none, or when it is damaged."""
    path = folder.folder() / folder.MANIFEST
    with _explained():
        try:
            return read(Manifest, path.read_bytes(), str(path))
        except (FileNotFoundError, NotADirectoryError, DamagedRecord):
            return Manifest()


def install(provider: str, text: bytes, entry: ListEntry, changes: Sequence[Change] = ()) -> Path:
    """Let this list count from now on, and return its folder. `changes` go to the history. Call it under `lock()`.

    Raises UsageError when it cannot be written: then the old one counts.
    """
    place = folder.folder()
    with _explained():
        known = manifest()
        for name, there in known.lists.items():
            history.settle(name, folder.list_folder(place, name, there.asked_at, there.sha256))
        target = _written(provider, text, entry, changes)
        _replace_manifest(known.replace(lists={**known.lists, provider: entry}))
        history.settle(provider, target)
        before = known.lists.get(provider)
        kept = (
            {target}
            if before is None
            else {target, folder.list_folder(place, provider, before.asked_at, before.sha256)}
        )
        _remove_others(provider, kept)
    return target


@contextmanager
def draft(provider: str, text: bytes) -> Iterator[Path]:
    """A folder with this list alone, for a reader that judges it; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cloudtrain-prices-") as name:
        (Path(name) / f"{provider}.csv").write_bytes(text)
        yield Path(name)


def _written(provider: str, text: bytes, entry: ListEntry, changes: Sequence[Change]) -> Path:
    """The list in a folder of its own, complete and on the disk."""
    place = folder.folder()
    if folder.digest(text) != entry.sha256:
        raise ValueError("the entry is of another list")
    target = folder.list_folder(place, provider, entry.asked_at, entry.sha256)
    if _holds(target / f"{provider}.csv", text):
        return target
    shutil.rmtree(target, ignore_errors=True)  # damaged: nothing reads it
    for unfinished in place.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=place, prefix=_UNFINISHED))
    _write(made / f"{provider}.csv", text)
    if changes:
        _write(made / history.PENDING, b"".join(change.as_line() + b"\n" for change in changes))
    _sync(made)
    os.rename(made, target)
    _sync(place)
    return target


def _holds(path: Path, text: bytes) -> bool:
    with contextlib.suppress(OSError):
        return path.read_bytes() == text
    return False


def _replace_manifest(new: Manifest) -> None:
    place = folder.folder()
    temporary = place / f"{_UNFINISHED}{folder.MANIFEST}"
    _write(temporary, new.as_bytes())
    os.replace(temporary, place / folder.MANIFEST)
    _sync(place)


def _remove_others(provider: str, kept: set[Path]) -> None:
    """Lists of the provider that nobody reads any more. The last one stays: a quote may have just looked it up."""
    for path in folder.folder().glob(f"{provider}-[0-9]*"):
        if path not in kept and folder.is_of(path, provider):
            shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, text: bytes) -> None:
    with open(path, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Let a new name in a folder survive a power cut, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _wait(handle: int) -> None:
    """Wait for the lock, where there is one: closing the file, or dying, lets the next one in."""
    if os.name != "nt":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"refreshed prices cannot be kept in `{folder.folder()}`: {error.strerror or error}",
            "free some space or set another folder with CLOUDTRAIN_PRICES",
        ) from error
