"""What a machine is told from outside: that its provider takes it away; and whether a process is still the one it was.

Standard library only, Python 3.9 to 3.14.
"""

import fcntl
import os
import time
import urllib.request

import bucket

EVERY_S = 5.0
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
