"""The state in a folder of this machine, written atomically; and opening a state by its URL."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cloudtrain.errors import UsageError
from cloudtrain.state.protocol import AlreadyThere, Holder, Store

if TYPE_CHECKING:
    from cloudtrain.records import Record

R = TypeVar("R", bound="Record")
LOOKS, LOOK_S = 4, 0.05  # a look at a lock takes microseconds


class LocalFolder:
    """The state in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)
        self._start = os.path.join(root, "")

    def read(self, key: str) -> bytes | None:
        try:
            with open(
                f"{self._start}{key}", "rb"
            ) as file:  # `ps` reads tens of thousands: pathlib would take half the time
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._explained(error, key, "read") from error

    def read_from(self, key: str, start: int, limit: int) -> bytes:
        with self._translate_errors(key, "read"):
            try:
                with open(self.root / key, "rb") as file:
                    file.seek(start)
                    return file.read(limit)
            except FileNotFoundError:
                return b""
        raise AssertionError("unreachable")

    def write(self, key: str, data: bytes) -> None:
        with self._translate_errors(key, "written"):
            path = self._prepared(key)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
                _sync_folder(path.parent)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise

    def create(self, key: str, data: bytes) -> None:
        with self._translate_errors(key, "written"):
            path = self._prepared(key)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(temporary, path)  # fails when the name is taken, unlike rename
            except FileExistsError:
                raise AlreadyThere(f"`{key}` is already there") from None
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def append(self, key: str, line: bytes) -> None:
        with self._translate_errors(key, "written"):
            path = self._prepared(key)
            new = not path.exists()
            handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _take_turn(handle)  # another's line that is being written is no torn one
                # The line before may be torn, by a power cut or a full disk: then this one begins on a line of its own.
                torn = os.fstat(handle).st_size > 0 and _last_byte(handle) != b"\n"
                text = (b"\n" if torn else b"") + line.rstrip(b"\n") + b"\n"
                if os.write(handle, text) != len(text):  # one write: lines of two processes do not mix
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            finally:
                os.close(handle)
            if new:
                _sync_folder(path.parent)

    def size(self, key: str) -> int:
        with self._translate_errors(key, "read"):
            try:
                return (self.root / key).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return 0
        raise AssertionError("unreachable")

    def delete(self, key: str) -> None:
        with self._translate_errors(key, "removed"):
            path = self.root / key
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def children(self, key: str) -> list[str]:
        with self._translate_errors(key, "read"):
            try:
                return sorted(name for name in os.listdir(self.root / key) if not name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                return []
        raise AssertionError("unreachable")

    def files(self, key: str) -> list[str]:
        top = self.root / key
        with self._translate_errors(key, "read"):
            return sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())
        raise AssertionError("unreachable")

    def folder(self, key: str) -> Path:
        return self.root / key

    def place(self, key: str) -> str:
        return (self.root / key).as_posix()

    def is_held(self, key: str) -> bool:
        with self._translate_errors(key, "read"):
            try:
                handle = os.open(self.root / key, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                return False
            try:
                return not _could_share(handle)
            finally:
                os.close(handle)
        raise AssertionError("unreachable")

    def holder(self, key: str) -> Holder | None:
        return None

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        with self._translate_errors(key, "written"):
            handle = os.open(self._prepared(key), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                _lock_patiently(handle)
            except OSError:
                holder = os.read(handle, 32).decode(errors="replace").strip()
                raise AlreadyThere(f"process {holder or '?'} holds `{key}`") from None
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            yield
        finally:
            os.close(handle)  # the system gives the lock back, at the latest when the process dies

    def _prepared(self, key: str) -> Path:
        path = self.root / key
        make_folder(path.parent)
        return path

    @contextlib.contextmanager
    def _translate_errors(self, key: str, what: str) -> Iterator[None]:
        """Turn an operating-system error into a message that names the file."""
        try:
            yield
        except OSError as error:
            raise self._explained(error, key, what) from error

    def _explained(self, error: OSError, key: str, what: str) -> UsageError:
        return UsageError(
            f"state `{self.root / key}` cannot be {what}: {error.strerror or error}",
            "free some space or set another folder with CLOUDTRAIN_STATE",
        )


def make_folder(path: Path) -> None:
    """Make the folder and what it lies in, for its owner alone where it is new. Raises OSError."""
    for each in (*reversed(path.parents), path):
        with contextlib.suppress(FileExistsError):
            if not each.is_dir():
                each.mkdir(0o700)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def _take_turn(handle: int) -> None:
    """Wait until no other writer has the file; closing it lets the next one in.

    Where system or file system have no such lock, writers meet as before: a blank line more, which readers pass over.
    """
    if os.name != "nt":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)


def _last_byte(handle: int) -> bytes:
    os.lseek(handle, -1, os.SEEK_END)
    return os.read(handle, 1)


def _sync_folder(path: Path) -> None:
    """Let a new name in a folder survive a power cut, where the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file for this process alone; raises OSError while another process has it."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_patiently(handle: int) -> None:
    """The same, but whoever only looks whether it is locked (`is_held`) is waited for."""
    for _ in range(LOOKS):
        with contextlib.suppress(OSError):
            return _lock(handle)
        time.sleep(LOOK_S)
    return _lock(handle)


def _could_share(handle: int) -> bool:
    """Whether no process has the open file for itself alone. Those who ask do not meet each other."""
    if os.name == "nt":
        return True  # nothing there asks without locking
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def open_store(url: str) -> Store:
    """The state at a path, or in a bucket (`s3://`, `gs://`). Raises UsageError for another kind of place."""
    scheme, separator, _ = url.partition("://")
    if separator and scheme in ("s3", "gs"):
        from cloudtrain.state.bucket import ObjectFolder

        return ObjectFolder(url)
    if separator and scheme != "file":
        raise UsageError(f"state `{url}` is no place that is known", "set CLOUDTRAIN_STATE to a folder, s3:// or gs://")
    return LocalFolder(Path(url.removeprefix("file://")).expanduser().absolute())


def read_record(store: Store, key: str, kind: type[R]) -> R | None:
    """A document as a record, or None when it is absent. Raises DamagedRecord when it is not of that shape."""
    data = store.read(key)
    if data is None:
        return None
    from cloudtrain.records import read

    return read(kind, data, f"`{key}` in `{store.url}`")


def write_record(store: Store, key: str, record: Record) -> None:
    """Write a record atomically."""
    store.write(key, record.as_bytes())
