"""The bucket as a machine without credentials uses it: signed addresses to read, one signed form to write.

Standard library only, Python 3.9 to 3.14.
"""

import concurrent.futures
import contextlib
import email.utils
import hashlib
import http.client
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

BLOCK_BYTES = 1 << 20
TIMEOUT_S = float(os.environ.get("CLOUDTRAIN_TIMEOUT_S", "30"))
LONGEST_WAIT_S = 10.0
PARALLEL = 4
PART_BYTES = int(os.environ.get("CLOUDTRAIN_PART_BYTES") or 4 << 30)  # S3 takes 5 GiB in one form
CHECKS = 3  # a file with a wrong hash is fetched again so often
REFUSALS = 5  # an address that is refused is asked again so often
SKEW_S = 60.0  # by less than this a clock is not called wrong


class Refused(Exception):
    """The bucket answered, and it was no success. `final`: it will not be another time."""

    def __init__(self, status, message):
        super().__init__(f"the bucket answered {status} {message}")
        self.final = "EntityTooLarge" in message


class Unfetched(Exception):
    """A file that could not be fetched; the message leaves out its address."""


class Clock:
    """The time as the bucket's answers tell it: the deadline is an instant, and a machine's clock can be hours off."""

    def __init__(self):
        self.ahead_s = 0.0  # of this machine's clock

    def observe(self, date):
        """Take in the Date header of an answer; one that is no date is passed over."""
        with contextlib.suppress(TypeError, ValueError):
            ahead = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
            self.ahead_s = ahead if abs(ahead) > SKEW_S else 0.0

    def now(self):
        """Seconds since the epoch."""
        return time.time() + self.ahead_s


CLOCK = Clock()


def get(url, timeout=TIMEOUT_S, **headers):
    """(status, content) of an address; status 0 when there is no answer."""
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            CLOCK.observe(answer.headers.get("Date"))
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        CLOCK.observe(refused.headers.get("Date"))
        return refused.code, b""
    except (OSError, ValueError, http.client.HTTPException):
        return 0, b""


class Mailbox:
    """Writes below the run's prefix with the ticket's form. One connection per thread, used again."""

    def __init__(self, post, until, longest_wait_s=LONGEST_WAIT_S):
        self.post = post
        self.until = until  # seconds since the epoch: nothing is tried any more
        self.longest_wait_s = longest_wait_s
        self.address = urllib.parse.urlsplit(post["url"])
        self.local = threading.local()

    def put(self, name, source, timeout=TIMEOUT_S):
        """Send bytes, the file at a path, or (path, start, bytes) of one, once. Refused, OSError or HTTPException."""
        edge = "cloudtrain" + uuid.uuid4().hex
        fields = dict(self.post["fields"], key=self.post["prefix"] + name)
        form = [f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()]
        form.append('Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
        before = "".join(f"--{edge}\r\n{part}" for part in form).encode()
        after = f"\r\n--{edge}--\r\n".encode()
        with contextlib.ExitStack() as stack:
            if isinstance(source, bytes):
                blocks, size = [source], len(source)
            else:
                path, start, size = source if isinstance(source, tuple) else (source, 0, None)
                file = stack.enter_context(open(path, "rb"))
                size = os.fstat(file.fileno()).st_size if size is None else size
                file.seek(start)
                blocks = limited(file, size)
            try:
                self.send(edge, len(before) + size + len(after), [before, blocks, after], timeout)
            except BaseException:
                self.close()
                raise

    def send(self, edge, length, parts, timeout):
        """One request on this thread's connection."""
        connection = self.connection(timeout)
        target = (self.address.path or "/") + (f"?{self.address.query}" if self.address.query else "")
        connection.putrequest("POST", target)
        connection.putheader("Content-Type", f"multipart/form-data; boundary={edge}")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        for part in parts:
            for block in [part] if isinstance(part, bytes) else part:
                connection.send(block)
        answer = connection.getresponse()
        CLOCK.observe(answer.headers.get("Date"))
        message = answer.read().decode("utf-8", "replace")
        if answer.will_close:
            self.close()
        if not 200 <= answer.status < 300:
            raise Refused(answer.status, message[:300])

    def connection(self, timeout):
        """This thread's connection, made when there is none."""
        found = getattr(self.local, "connection", None)
        if found is None:
            kind = http.client.HTTPSConnection if self.address.scheme == "https" else http.client.HTTPConnection
            found = self.local.connection = kind(self.address.hostname, self.address.port, timeout=timeout)
        return found

    def close(self):
        """Forget this thread's connection."""
        found, self.local.connection = getattr(self.local, "connection", None), None
        if found is not None:
            found.close()

    def ship(self, name, source):
        """Send until it is there: True. False when it cannot be, or the time is over."""
        wait = 0.0
        while CLOCK.now() < self.until:
            try:
                self.put(name, source)
                return True
            except FileNotFoundError:
                return False
            except Refused as refused:
                if refused.final:
                    return False
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(wait)
            wait = min(self.longest_wait_s, max(0.1, 2 * wait))
        return False


def limited(file, size):
    """Exactly `size` bytes of a file, in blocks; OSError when it has become shorter."""
    left = size
    while left:
        block = file.read(min(BLOCK_BYTES, left))
        if not block:
            raise OSError("the file became shorter")
        left -= len(block)
        yield block


class Download:
    """Files out of the bucket (or anywhere): several at a time, each continues where it was cut, each is checked."""

    def __init__(self, folder, files, check, longest_wait_s=LONGEST_WAIT_S, stall_s=None):
        self.folder = folder
        self.files = files  # [{"path", "url", "sha256" or None, "bytes"}]
        self.check = check  # raises when it is time to stop
        self.longest_wait_s = longest_wait_s
        self.stall_s = stall_s  # with nothing new for so long, it is aborted
        self.total = sum(int(each.get("bytes") or 0) for each in files)
        self.stopping = threading.Event()

    def done(self):
        """Bytes that are on the disk."""
        found = 0
        for each in self.files:
            for path in (self.target(each), self.target(each) + ".part"):
                with contextlib.suppress(OSError):
                    found += os.path.getsize(path)
        return found

    def target(self, each):
        """Where a file goes. Unfetched for a path that leads out of the folder."""
        path = os.path.normpath(os.path.join(self.folder, each["path"]))
        if not path.startswith(os.path.normpath(self.folder) + os.sep):
            raise Unfetched(f"`{each['path']}` leads out of its folder")
        return path

    def run(self):
        """Fetch all. Raises Unfetched, and what `check` raises."""
        with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
            waiting = {pool.submit(self.one, each) for each in self.files}
            moved_at, had = time.monotonic(), self.done()
            try:
                while waiting:
                    ended, waiting = concurrent.futures.wait(waiting, 0.25, concurrent.futures.FIRST_COMPLETED)
                    for future in ended:
                        future.result()
                    self.check()
                    if had != (had := self.done()):
                        moved_at = time.monotonic()
                    if waiting and self.stall_s and time.monotonic() - moved_at > float(self.stall_s):
                        raise Unfetched(
                            f"nothing more came for {float(self.stall_s):.0f} s, at {had} of {self.total} bytes"
                        )
            except BaseException:
                self.stopping.set()
                for future in waiting:
                    future.cancel()
                raise

    def one(self, each):
        """Fetch one file, however often the line is cut. Raises Unfetched."""
        path, wrong, refusals, wait = self.target(each), 0, 0, 0.1
        os.makedirs(os.path.dirname(path), exist_ok=True)
        while not os.path.exists(path) and not self.stopping.is_set():
            had = size_of(path + ".part")
            try:
                self.piece(each, path + ".part", int(each.get("bytes") or 0))
            except urllib.error.HTTPError as refused:
                refusals += 400 <= refused.code < 500 and refused.code not in (408, 429)
                if refusals >= REFUSALS:
                    raise Unfetched(f"`{each['path']}` is refused: {refused.code}") from None
            except (OSError, ValueError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno == 28:
                    raise Unfetched(f"the disk is full at `{each['path']}`") from None
            if is_right(path + ".part", each):
                os.replace(path + ".part", path)
                return
            if each.get("bytes") and size_of(path + ".part") >= int(each["bytes"]):
                wrong += 1
                os.unlink(path + ".part")
                if wrong >= CHECKS:
                    raise Unfetched(f"`{each['path']}` has another content than it should")
            wait = 0.1 if size_of(path + ".part") > had else min(self.longest_wait_s, 2 * wait)
            self.stopping.wait(wait)

    def piece(self, each, path, size):
        """Append what is missing, or as much of it as one address has."""
        had = size_of(path)
        if size and had >= size:
            return
        url, start = source_of(each, had)
        rest = {"Range": f"bytes={had - start}-"} if had > start else {}
        request = urllib.request.Request(url, headers=rest)  # noqa: S310
        with contextlib.ExitStack() as stack:
            answer = stack.enter_context(urllib.request.urlopen(request, timeout=TIMEOUT_S))  # noqa: S310
            file = stack.enter_context(open(path, "ab"))
            if answer.status != 206:
                file.truncate(start)
            while not self.stopping.is_set() and (block := answer.read(BLOCK_BYTES)):
                file.write(block)


def source_of(each, had):
    """(address, start) of the piece of a file in which byte `had` lies; most files are one piece."""
    start = 0
    for piece in each.get("pieces") or ():
        if had < start + int(piece["bytes"]):
            return piece["url"], start
        start += int(piece["bytes"])
    return each["url"], 0


def size_of(path):
    """Bytes of a file; 0 when it is not there."""
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def is_right(path, each):
    """Whether the file is the whole of what the ticket says."""
    if not os.path.exists(path) or (each.get("bytes") is not None and size_of(path) != int(each["bytes"])):
        return False
    if not each.get("sha256"):
        return True
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(BLOCK_BYTES), b""):
            found.update(block)
    return found.hexdigest() == each["sha256"]
