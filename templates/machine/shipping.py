"""What goes from the machine to the mailbox while the trainer works: log, events, checkpoints; each in its own thread.

What was shipped is noted on the disk, so that an agent that is started again sends nothing twice with another content.
Standard library only, Python 3.9 to 3.14.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import shutil
import threading
import time

import bucket

CHUNK_BYTES = 65536
LONGEST_SILENCE_S = 10.0
LOOK_S = 0.1
PARALLEL = 4


def read_json(path):
    """The document at `path`, or None when it is not there or not whole."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def write_json(path, document):
    """Write a document so that it is whole or absent. Raises OSError."""
    temporary = f"{path}.{os.getpid()}-{threading.get_ident()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def as_bytes(document):
    """A document as it is sent."""
    return json.dumps(document).encode()


class Notes:
    """What the agent has to know after it was killed. A full disk costs the memory of it, not the run."""

    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.known = read_json(path) or {}

    def __getitem__(self, name):
        return self.known.get(name)

    def note(self, **more):
        """Remember, on the disk as far as it goes."""
        with self.lock:
            self.known.update(more)
            with contextlib.suppress(OSError):
                write_json(self.path, self.known)


class Shipper(threading.Thread):
    """Looks for something to ship until it is closed and nothing is left."""

    def __init__(self, mailbox, folder, notes):
        super().__init__(daemon=True)
        self.mailbox = mailbox
        self.folder = folder
        self.notes = notes
        self.closing = threading.Event()

    def run(self):
        while True:
            last = self.closing.is_set()  # asked before the look, so that nothing written before the end is missed
            try:
                more = self.step(last)
            except (OSError, ValueError):  # a file that went away meanwhile, a full disk
                more = False
            if last and (not more or bucket.CLOCK.now() >= self.mailbox.until):
                return
            if not more:
                self.closing.wait(LOOK_S)

    def finish(self):
        """Ship the rest; returns when that is done or its time is over."""
        self.closing.set()
        self.join()

    def step(self, last):
        """Ship something if it is due; whether there may be more of it at once."""
        raise NotImplementedError


class LogShipper(Shipper):
    """The log as objects named by the byte at which they begin: never rewritten, so a reader knows the next name."""

    def __init__(self, mailbox, folder, notes, start, silence_s):
        super().__init__(mailbox, folder, notes)
        self.start_byte = start  # bytes of log that earlier attempts left
        self.silence_s = min(LONGEST_SILENCE_S, silence_s)
        self.since = None

    def pieces(self):
        """(start, path) of the files in which the supervisor keeps the log."""
        folder = os.path.join(self.folder, "log")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [(int(name), os.path.join(folder, name)) for name in names]

    def size(self):
        """Bytes of this attempt's log."""
        pieces = self.pieces()
        return pieces[-1][0] + os.path.getsize(pieces[-1][1]) if pieces else 0

    def read(self, offset, count):
        """Bytes of this attempt's log; they may lie in several files."""
        data = b""
        for start, path in self.pieces():
            with open(path, "rb") as file:
                if start <= offset + len(data) < start + os.path.getsize(path):
                    file.seek(offset + len(data) - start)
                    data += file.read(count - len(data))
        return data

    def step(self, last):
        shipped = self.notes["log"] or 0
        count = (self.notes["chunk"] or {}).get(str(shipped))  # begun by an agent that was killed
        if count is None:
            count = min(CHUNK_BYTES, self.size() - shipped)
            if count <= 0:
                self.since = None
                return False
            self.since = self.since or time.monotonic()
            if count < CHUNK_BYTES and not last and time.monotonic() - self.since < self.silence_s:
                return False
            self.notes.note(chunk={str(shipped): count})
        if not self.mailbox.ship(f"log/{self.start_byte + shipped:016d}", self.read(shipped, count)):
            return False
        self.notes.note(log=shipped + count)
        self.since = None
        return True


class EventShipper(Shipper):
    """Every line of events.jsonl as an object of its own; its name is made from the line, so twice is once."""

    def step(self, last):
        shipped = self.notes["events"] or 0
        path = os.path.join(self.folder, "events.jsonl")
        if not os.path.exists(path):
            return False
        with open(path, "rb") as file:
            file.seek(shipped)
            line = file.readline()
        if not line.endswith(b"\n"):
            return False
        with contextlib.suppress(ValueError, KeyError, TypeError):
            moment = int(float(json.loads(line)["time"]) * 1e9)
            name = f"events.jsonl.d/{moment:020d}-{hashlib.sha256(line).hexdigest()[:12]}"
            if not self.mailbox.ship(name, line):
                return False
        self.notes.note(events=shipped + len(line))
        return True


class CheckpointShipper(Shipper):
    """The newest checkpoint: its files, then LATEST. The trainer may throw it away meanwhile: the files are held."""

    def __init__(self, mailbox, folder, notes):
        super().__init__(mailbox, folder, notes)
        self.lasting = os.path.join(folder, "shipping")

    def latest(self):
        """The step that LATEST names, or None."""
        try:
            with open(os.path.join(self.folder, "ckpt", "LATEST"), encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def step(self, last):
        number = self.latest()
        if number is None or number == self.notes["checkpoint"]:
            return False
        held = os.path.join(self.lasting, str(number))
        shutil.rmtree(self.lasting, ignore_errors=True)
        source = os.path.join(self.folder, "ckpt", str(number))
        shutil.copytree(source, held, copy_function=hold)
        # One that was begun is finished although there are newer ones: else a slow line would never finish one.
        if ship_folder(self.mailbox, held, f"ckpt/{number}"):
            self.mailbox.ship("ckpt/LATEST", f"{number}\n".encode())
        self.notes.note(checkpoint=number)  # also one that cannot be shipped: the next one may
        shutil.rmtree(self.lasting, ignore_errors=True)
        return True


def hold(source, target):
    """A second name for a file, or a copy where a file has only one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def ship_folder(mailbox, folder, name):
    """Send every file below a folder, several at a time. Whether all of them arrived."""
    paths = []
    for place, _, names in os.walk(folder):
        paths += [os.path.join(place, each) for each in sorted(names)]
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        went = [pool.submit(ship_file, mailbox, f"{name}/{os.path.relpath(path, folder)}", path) for path in paths]
        return all([each.result() for each in went])


def ship_file(mailbox, name, path):
    """Send one file; one that is too large for a form in pieces, and their count last. Whether it arrived."""
    try:
        size = os.path.getsize(path)
    except OSError:
        return False
    if size <= bucket.PART_BYTES:
        return mailbox.ship(name, path)
    starts = range(0, size, bucket.PART_BYTES)
    for number, start in enumerate(starts):
        if not mailbox.ship(f"{name}.part-{number:05d}", (path, start, min(bucket.PART_BYTES, size - start))):
            return False
    return mailbox.ship(name + ".parts", json.dumps({"parts": len(starts), "bytes": size}).encode())
