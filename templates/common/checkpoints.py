"""Checkpoints that are either whole or not there: written aside, checked, renamed into place, then named in LATEST.

And how often one is made: seldom enough that saving takes at most a twentieth of the time that is trained.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from failures import SaveFailed

MANIFEST = "complete.json"  # names and sizes of every file; its presence and truth make a folder a checkpoint
PROGRESS = "progress.json"  # what we count ourselves

# The quote counts on these three (cloudtrain/quote/sampling/times.py); a test holds that both say the same.
TRAINED_PER_SAVED = 20  # seconds of training between two saves for each second that a save takes
ASSUMED_BYTES_PER_S = 5e8  # how fast a disk is before it has shown it: a network disk's 0.2 .. a local one's 2 GB/s


def interval_s(asked_s: float, save_s: float) -> float:
    """Seconds from the end of a save to the next one, when a save takes `save_s`. Asked for 0: after every step."""
    return max(asked_s, TRAINED_PER_SAVED * save_s) if asked_s else 0.0


def assumed_save_s(save_bytes: int) -> float:
    """What a save of so many bytes takes until one was made."""
    return save_bytes / ASSUMED_BYTES_PER_S


class Pace:
    """When the next save is due, by a clock that stands still while one is made."""

    def __init__(self, asked_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._asked_s, self._clock = asked_s, clock
        self._save_s = 0.0  # how long the last save took; until there is one, how long it may take
        self._ended = self._began = clock()  # the end of the last save, the beginning of one

    def start(self, save_bytes: int) -> None:
        """Training begins: nothing is saved yet, and this much is to be each time."""
        self._save_s = assumed_save_s(save_bytes)
        self._ended = self._clock()

    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self._clock() - self._ended >= interval_s(self._asked_s, self._save_s)

    def begin(self) -> None:
        """A save begins."""
        self._began = self._clock()

    def end(self) -> float:
        """It is made: the seconds that it took."""
        self._ended = self._clock()
        self._save_s = self._ended - self._began
        return self._save_s


class Store:
    """The checkpoint folder of a run: `<step>/` folders, of which the newest `keep` stay, and `LATEST`."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self.partial = folder / ".partial"  # where the library writes; nothing in it is ever resumed from

    def prepare(self) -> None:
        """Make the folder and clear what an interrupted save left behind."""
        try:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
        except OSError as error:
            raise SaveFailed(f"cannot write checkpoints to {self.folder}: {error.strerror}") from None

    def newest(self) -> Path | None:
        """The checkpoint that LATEST names when it is whole, else the newest whole one before it, else None."""
        named = self._latest()
        steps = [step for step in self._steps() if named is None or step <= named]
        for step in sorted(steps, reverse=True):
            if is_whole(self.folder / str(step)):
                return self.folder / str(step)
        return None

    def publish(self, written: Path, step: int, progress: dict[str, Any]) -> None:
        """Make the folder `written` the checkpoint of `step` and the one to resume from; older ones beyond `keep` go.

        Raises SaveFailed; the earlier checkpoints are then as they were.
        """
        place = self.folder / str(step)
        try:
            (written / PROGRESS).write_text(json.dumps(progress))
            _seal(written)
            if place.exists():  # left by a run that died between the rename and LATEST
                shutil.rmtree(place)
            written.rename(place)
            self._name_latest(step)
        except OSError as error:
            raise SaveFailed(f"checkpoint {step} could not be saved: {error.strerror}") from error
        for old in sorted(self._steps(), reverse=True)[self.keep :]:
            shutil.rmtree(self.folder / str(old), ignore_errors=True)

    def _latest(self) -> int | None:
        try:
            return int((self.folder / "LATEST").read_text())
        except (OSError, ValueError):
            return None

    def _name_latest(self, step: int) -> None:
        temporary = self.folder / ".LATEST"
        with temporary.open("w") as file:
            file.write(f"{step}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / "LATEST")
        _sync(self.folder)

    def _steps(self) -> list[int]:
        try:
            return [int(item.name) for item in self.folder.iterdir() if item.name.isdigit() and item.is_dir()]
        except OSError:
            return []


def is_whole(checkpoint: Path) -> bool:
    """Whether every file that the manifest lists is there in full length."""
    try:
        sizes = json.loads((checkpoint / MANIFEST).read_text())
        return bool(sizes) and all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def progress(checkpoint: Path) -> dict[str, Any]:
    """Our own counters as of that checkpoint."""
    found: dict[str, Any] = json.loads((checkpoint / PROGRESS).read_text())
    return found


def step_of(checkpoint: Path) -> int:
    """The optimizer step a checkpoint was taken after."""
    return int(checkpoint.name)


def _seal(folder: Path) -> None:
    """Bring every file to the disk, then write the manifest of their sizes."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sizes[str(path.relative_to(folder))] = path.stat().st_size
            _sync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(sizes, indent=1))
    _sync(manifest)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
