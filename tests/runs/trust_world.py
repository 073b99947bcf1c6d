"""What tests of the boundary towards rented machines share: a cloud without an engine, and what a machine can write.

The engine is the stand-in of `tests/campaign`, commands are forked: a whole `up` and `down` cost a second of computing.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from typing import Any

from tests.campaign.forked_client import ForkedClient
from tests.campaign.job_world import JobWorld, Person
from tests.patience import PATIENCE_S

RUN = "runs/mine/"


def command(person: ForkedClient, *words: str) -> tuple[int, str]:
    """One command to its end: exit code and what was printed."""
    ended = person.run(*words)
    return ended.code, ended.out + ended.err


def rent(world: JobWorld, person: Person, *more: str) -> None:
    """A machine for the job `mine`. It does not really run: what it would write is written by the test."""
    words = ("--max-hours", "1h", "--on-demand", "--name", "mine", "-d")
    code, said = command(person, "up", "-y", "--accept-stale", "--experimental", *world.rental.words, *words, *more)
    if code:  # not what the test is about
        raise RuntimeError(said)


def ticket(world: JobWorld) -> dict[str, Any]:
    """What the run's newest machine was given."""
    found = {key: data for key, data in world.objects().items() if f"{RUN}tickets/" in key}
    document: dict[str, Any] = json.loads(found[max(found)])
    return document


def post(form: dict[str, Any], key: str, data: bytes) -> int:
    """Send an object with the form of a ticket, as anybody who has read it can; returns the status."""
    edge = "cloudtrain" + uuid.uuid4().hex
    parts = [
        f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**form["fields"], "key": key}.items()
    ]
    parts.append('Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
    body = "".join(f"--{edge}\r\n{part}" for part in parts).encode() + data + f"\r\n--{edge}--\r\n".encode()
    request = urllib.request.Request(form["url"], body, {"Content-Type": f"multipart/form-data; boundary={edge}"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def root_of(form: dict[str, Any]) -> str:
    """The object name of the run's folder, whatever part of it the form covers."""
    before, _, _ = str(form["prefix"]).partition(RUN)
    return before + RUN


class Liar:
    """Whoever is root on the run's machine, and writes what that machine can write, wherever that is."""

    def __init__(self, world: JobWorld) -> None:
        self.form = ticket(world)["post"]

    def write(self, name: str, document: object) -> None:
        """Try the run's own folder and the machine's part of it."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        for folder in ("", "machine/"):
            post(self.form, root_of(self.form) + folder + name, data)

    def end(self, reason: str, code: int) -> None:
        """An exit record."""
        now = time.time()
        record = {"code": code, "signal": 0, "reason": reason, "message": "", "started_at": now - 60, "ended_at": now}
        self.write("exit.json", {**record, "attempt": 1, "log_bytes": 0})
