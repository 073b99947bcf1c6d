"""A folder of pieces (safetensors files) and the manifest that names them: what is whole is used, the rest is not.

    manifest.json  piece-00000.safetensors  piece-00001.safetensors  ...

A piece counts when the manifest names it, which is written after it, and when it has the length and the hash that stand
there. `complete` says that no other piece is to come. One process writes at a time; others may read what is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
INDEX = "model.safetensors.index.json"  # what transformers looks for; made from the pieces at each load
VERSION = 1
BLOCK = 1 << 20
HASHING = 8  # pieces at a time
_PIECE = re.compile(r"piece-\d{5}\.safetensors")


def say(message: str) -> None:
    """A line of the run's log."""
    print(f"4-bit weights: {message}", file=sys.stderr, flush=True)


class Pieces:
    """What a folder holds under a key. A full disk ends the writing, not the run."""

    def __init__(self, folder: Path, wanted: dict[str, Any], piece_bytes: int) -> None:
        self.folder, self.key, self.piece_bytes = folder, wanted, piece_bytes
        self.entries: dict[str, dict[str, Any]] = {}  # piece -> its entry in the manifest
        self.where: dict[str, str] = {}  # tensor -> the piece that holds it; "" while that is being written
        self.complete = False
        self._files: dict[str, Any] = {}
        self._pending: dict[str, Any] = {}
        self._writer = ThreadPoolExecutor(1, "pieces")  # they are written while the next ones are made
        self._written: list[Future[None]] = []
        self.may_write = self._claim()
        self._take_over(read(folder))

    def _claim(self) -> bool:
        """Whether we are the one who may write."""
        try:
            import fcntl

            self.folder.mkdir(parents=True, exist_ok=True)
            self._claimed = (self.folder / ".lock").open("w")
            fcntl.flock(self._claimed, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except (OSError, ImportError) as error:
            say(f"not kept: {error}")
            return False
        return True

    def _take_over(self, found: dict[str, Any] | None) -> None:
        """Take over what is there and whole; clear away the rest, if it is ours to do."""
        if found is not None and (found.get("version") != VERSION or found.get("key") != self.key):
            say(f"those in {self.folder} belong to another model, type or version, and are made anew")
            found = None
        listed = found["pieces"] if found else []
        entries = [entry for entry in listed if is_entry(entry)]
        with ThreadPoolExecutor(HASHING) as pool:
            whole = list(pool.map(self._is_whole, entries))
        for entry, is_right in zip(entries, whole, strict=True):
            if is_right and self._names(entry["name"]):
                self.entries[entry["name"]] = entry
            else:
                say(f"{entry['name']} is damaged, and what it held is made anew")
        self.complete = found is not None and found.get("complete") is True and len(self.entries) == len(listed) > 0
        if not self.complete:
            self._clear()

    def _clear(self) -> None:
        """Let go of what no manifest names. Without the right to write nothing that is incomplete is used."""
        if not self.may_write:
            self.forget()
            return
        try:
            for path in self.folder.iterdir():
                name = path.name.removeprefix(".")
                if name not in self.entries and (_PIECE.fullmatch(name) or name in (MANIFEST, INDEX)):
                    path.unlink(missing_ok=True)
            self.write_manifest()
        except OSError as error:
            self.may_write = False
            say(f"not kept: {error}")

    def forget(self) -> None:
        """Use nothing of what is there."""
        self.entries, self.where, self.complete = {}, {}, False

    def _is_whole(self, entry: dict[str, Any]) -> bool:
        path = self.folder / entry["name"]
        try:
            return path.stat().st_size == entry["bytes"] and sha256(path) == entry["sha256"]
        except OSError:
            return False

    def _names(self, piece: str) -> bool:
        """Note which tensors a piece holds; whether it could be read."""
        from safetensors import SafetensorError, safe_open

        try:
            self._files[piece] = safe_open(self.folder / piece, framework="pt")
            self.where.update(dict.fromkeys(self._files[piece].keys(), piece))
        except (OSError, SafetensorError):
            return False
        return True

    def tensor(self, name: str) -> Any:
        """One that was there at the beginning, in memory of its own; None for any other."""
        piece = self.where.get(name)
        return self._files[piece].get_tensor(name).clone() if piece else None

    def add(self, tensors: dict[str, Any]) -> None:
        """Take in tensors; when there is enough for a piece it is written, while the caller continues."""
        if not self.may_write:
            return
        self.where.update(dict.fromkeys(tensors, ""))
        self._pending.update(tensors)
        if sum(value.nbytes for value in self._pending.values()) >= self.piece_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._written.append(self._writer.submit(self._write, self._pending))
        self._pending = {}

    def _write(self, tensors: dict[str, Any]) -> None:
        """Write a piece, then the manifest that names it."""
        from safetensors.torch import save_file

        numbers = [int(name[6:11]) for name in self.entries]
        name = f"piece-{max(numbers, default=-1) + 1:05d}.safetensors"
        written = self.folder / f".{name}"
        try:
            if not self.may_write:
                return
            save_file({each: _alone(value) for each, value in tensors.items()}, written, metadata={"format": "pt"})
            entry = {"name": name, "bytes": written.stat().st_size, "sha256": sha256(written)}
            _sync(written)
            written.replace(self.folder / name)
            self.entries[name] = entry
            self.write_manifest()
        except OSError as error:
            self.may_write = False
            say(f"not kept: {error}")
            with contextlib.suppress(OSError):
                written.unlink()

    def finish(self) -> None:
        """Write what is left. `complete` if all of it could be."""
        self._flush()
        self._writer.shutdown()
        for each in self._written:
            each.result()
        if self.may_write:
            self.complete = True
            self.write_manifest()

    def write_manifest(self) -> None:
        """As things are. Raises OSError."""
        entries = list(self.entries.values())
        document = {"version": VERSION, "key": self.key, "complete": self.complete, "pieces": entries}
        write_json(self.folder / MANIFEST, document)

    @property
    def bytes(self) -> int:
        """Of all pieces."""
        return sum(int(entry["bytes"]) for entry in self.entries.values())


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None when there is none, or none of that shape."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("pieces"), list) else None


def is_entry(entry: Any) -> bool:
    """Whether it names a piece, its bytes and its hash."""
    kinds = {"name": str, "bytes": int, "sha256": str}
    is_shaped = isinstance(entry, dict) and all(isinstance(entry.get(each), kind) for each, kind in kinds.items())
    return is_shaped and bool(_PIECE.fullmatch(entry["name"]))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document so that it is whole or absent. Raises OSError."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)


def sha256(path: Path) -> str:
    """Of a file's content. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def _alone(value: Any) -> Any:
    """A tensor with memory of its own: the tables of all matrices are one, which a file takes once."""
    value = value.detach().cpu().contiguous()
    return value.clone() if value.nbytes < BLOCK else value


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
