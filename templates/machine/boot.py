"""The first program of a rented machine: fetches the ticket and the bundle of its run, checks them, becomes the agent.

Standard library only, Python 3.9 to 3.14; it travels inside user data, a startup script or a container's arguments.

    CLOUDTRAIN_TICKET=URL python3 boot.py

It ends with 0 when there is nothing more to be done on this machine, which its caller then ends; with anything else it
wants to be started again. CLOUDTRAIN_HOME is where everything is kept (default /var/lib/cloudtrain).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tarfile
import time
import urllib.parse
import urllib.request

PATIENCE_S = float(os.environ.get("CLOUDTRAIN_PATIENCE_S", "600"))
CHECKS = 3  # a bundle that is not the one of the ticket is fetched again so often


def log(message):
    """A line for the machine's own log, if anybody reads it."""
    with contextlib.suppress(OSError, ValueError):
        print("cloudtrain:", message, flush=True)


def fetch(url, path):
    """Write what is at the address to a file; OSError, or ValueError when the answer was cut short."""
    with urllib.request.urlopen(url, timeout=30) as answer, open(path, "wb") as file:  # noqa: S310
        shutil.copyfileobj(answer, file, 1 << 20)
        length = answer.headers.get("Content-Length")
        if length is not None and file.tell() != int(length):
            raise ValueError("the answer was cut short")


def patiently(what, work):
    """The result of `work`, repeated while it fails; None when it still fails after ten minutes."""
    give_up, wait = time.monotonic() + PATIENCE_S, 0.25
    while True:
        try:
            return work()
        except Exception as error:  # the network, the disk, half a document: all of them may pass
            log(f"{what}: {type(error).__name__} {getattr(error, 'code', '')}")
        if time.monotonic() >= give_up:
            return None
        time.sleep(min(wait, max(0.0, give_up - time.monotonic())))
        wait = min(10.0, 2 * wait)


def get_ticket(place, url):
    """The ticket on the disk, else the one at the address."""
    path = os.path.join(place, "ticket.json")
    if not os.path.exists(path):
        fetch(url, path + ".part")
        with open(path + ".part", encoding="utf-8") as file:
            json.load(file)
        os.replace(path + ".part", path)
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def get_bundle(place, bundle):
    """True when the bundle is unpacked; False when what is at its address is another one."""
    path, folder = os.path.join(place, "bundle.tar.gz"), os.path.join(place, "bundle")
    for _ in range(CHECKS):
        if os.path.isdir(folder):
            return True
        fetch(bundle["url"], path)
        with open(path, "rb") as file:
            found = hashlib.sha256()
            for block in iter(lambda: file.read(1 << 20), b""):
                found.update(block)
        if found.hexdigest() == bundle["sha256"]:
            shutil.rmtree(folder + ".part", ignore_errors=True)
            with tarfile.open(path) as archive:
                archive.extractall(folder + ".part")  # noqa: S202  # its hash is the ticket's
            os.replace(folder + ".part", folder)
            os.unlink(path)
    return os.path.isdir(folder)


def write_exit_record(ticket, reason, message):
    """Write an exit record by one form, for a machine that has no agent."""
    now = time.time()
    record = {"code": 1, "signal": 0, "reason": reason, "message": message, "attempt": ticket["attempt"]}
    record.update(started_at=now, ended_at=now, log_bytes=ticket.get("log_bytes", 0))
    post, edge = ticket["post"], "cloudtrain-" + hashlib.sha256(str(now).encode()).hexdigest()
    fields = dict(post["fields"], key=post["prefix"] + "exit.json")
    form = [f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}' for key, value in fields.items()]
    form.append(f'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n{json.dumps(record)}')
    body = "".join(f"--{edge}\r\n{part}\r\n" for part in form) + f"--{edge}--\r\n"
    request = urllib.request.Request(post["url"], body.encode())  # noqa: S310
    request.add_header("Content-Type", f"multipart/form-data; boundary={edge}")
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
    return True


def main():
    """Everything up to the agent, which takes the place of this program."""
    os.umask(0o077)
    url = os.environ.pop("CLOUDTRAIN_TICKET")
    run = hashlib.sha256(urllib.parse.urlsplit(url).path.encode()).hexdigest()[:16]
    place = os.path.join(os.environ.get("CLOUDTRAIN_HOME") or "/var/lib/cloudtrain", run)
    os.makedirs(place, exist_ok=True)
    lock = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # a second start waits; the agent keeps it
    os.set_inheritable(lock, True)
    if os.path.exists(os.path.join(place, "over")):
        return 0
    ticket = patiently("ticket", lambda: get_ticket(place, url))
    if ticket is None:
        return 0  # a machine that never learns what to do only costs money
    got = patiently("bundle", lambda: "here" if get_bundle(place, ticket["bundle"]) else "another")
    agent = os.path.join(place, "bundle", "machine", "agent.py")
    if got == "here" and os.path.exists(agent):
        os.environ.pop("RUNPOD_API_KEY", None)  # the timer's, not the trainer's
        os.execv(sys.executable, [sys.executable, "-u", agent, place])  # noqa: S606
    why = "could not be fetched" if got is None else "holds no agent" if got == "here" else "is not the ticket's"
    log("the bundle " + why)
    patiently("exit record", lambda: write_exit_record(ticket, "bad_bundle", "the bundle " + why))
    with open(os.path.join(place, "over"), "w", encoding="utf-8"):
        return 0


if __name__ == "__main__":
    sys.exit(main())
