"""What a machine learns from outside: that it is preempted, what time it is; whether a process is the one it was.

Standard library only, Python 3.9 to 3.14.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
import urllib.request

import bucket
import shipping

EVERY_S = 5.0
FULL_BYTES = 1 << 20  # a disk with less is full
IMDS = "http://169.254.169.254"
METADATA = "http://metadata.google.internal"


def watch(kind, longest_s, tell):
    """Ask the provider's own service on the machine, for ever; `tell("preempted")` once it says so."""
    ask = {"aws": aws, "gcp": gcp}.get(kind)
    while ask is not None:
        if ask():
            tell("preempted")
            return
        time.sleep(min(EVERY_S if kind == "aws" else 1.0, longest_s))  # Google gives 30 s, Amazon 120


def aws():
    """Whether EC2 has announced the end of a spot machine: 404 until it has."""
    base = os.environ.get("CLOUDTRAIN_IMDS", IMDS)
    try:
        request = urllib.request.Request(  # noqa: S310  # the machine's own metadata service
            base + "/latest/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        )
        with urllib.request.urlopen(request, timeout=2) as answer:  # noqa: S310
            token = answer.read().decode()
    except (OSError, ValueError, bucket.http.client.HTTPException):
        return False
    address = base + "/latest/meta-data/spot/instance-action"
    return bucket.get(address, 2.0, **{"X-aws-ec2-metadata-token": token})[0] == 200


def gcp():
    """Whether Compute Engine is taking the machine away."""
    base = os.environ.get("CLOUDTRAIN_METADATA", METADATA)
    address = base + "/computeMetadata/v1/instance/preempted"
    return bucket.get(address, 2.0, **{"Metadata-Flavor": "Google"}) == (200, b"TRUE")


class Timers:
    """The machine's own timers, which were set by a clock that may be wrong."""

    def __init__(self, home, kind, deadline):
        self.path = os.path.join(home, "ahead")
        self.kind = kind
        self.deadline = deadline
        self.told_s = 0.0  # by how much the machine's clock is behind, as the timers know

    def heed(self):
        """Leave a note for them when the clock is found to be wrong, or has been set."""
        ahead = bucket.CLOCK.ahead_s
        if abs(ahead - self.told_s) < bucket.SKEW_S:
            return
        self.told_s = ahead
        with contextlib.suppress(OSError):
            print(f"cloudtrain: this machine's clock is behind by {ahead:.0f} s", flush=True)
            with open(self.path + ".part", "w", encoding="ascii") as file:
                file.write(f"{ahead:.0f}\n")
            os.replace(self.path + ".part", self.path)
        if self.kind == "aws":  # here a timer was set once; a new one takes its place
            minutes = max(0, int((self.deadline - bucket.CLOCK.now()) // 60))
            with contextlib.suppress(OSError):
                subprocess.run(["shutdown", "-h", f"+{minutes}"], check=False, stdin=subprocess.DEVNULL)


def with_disk(folder, message):
    """The words about a failure, with the one thing that a program on a full disk could not write down."""
    full = shutil.disk_usage(folder).free < FULL_BYTES
    return ": ".join(part for part in ("the machine's disk is full" if full else "", message) if part)


def lives(pid, run):
    """Whether the process runs and is the run's: ids are used again, and one that ended may wait to be collected."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"CLOUDTRAIN_RUN={run}".encode() in file.read().split(b"\0")
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return False
    except OSError:
        return False
    try:
        os.kill(pid, 0)
        return True
    except OSError:
        return False


def end_left(path, run):
    """End the trainer of a supervisor that died, and forget both; `path` names their processes."""
    left = (shipping.read_json(path) or {}).get("trainer")
    with contextlib.suppress(OSError):
        if left and lives(left, run):
            os.killpg(left, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.unlink(path)


def lock(path):
    """A lock that whoever inherits it holds to its end, however it ends. Raises BlockingIOError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def is_locked(path):
    """Whether somebody holds it."""
    try:
        os.close(lock(path))
    except BlockingIOError:
        return True
    return False
