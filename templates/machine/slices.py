"""A machine of several hosts: which of them this is, how it learns what the others do, and how they end together.

Every host runs the same agent with the same ticket. Host 0 is the run's voice: its documents lie where those of a
machine of one host do. The others write theirs below `hosts/<attempt>/<number>/`, and live no longer than host 0.
Standard library only, Python 3.9 to 3.14.
"""

import hashlib
import json
import os
import re
import socket
import time

import bucket
import notice

STALE_BEATS = 4  # heartbeats that a host may miss before it counts as gone
LEAST_STALE_S = 2.0
COMING_S = 1800.0  # within which all hosts have prepared themselves
FIND_S = 300.0  # within which the provider's metadata say which host this is
LOOK_S = 5.0
PORTS = range(21000, 29000)  # of the coordinator: another one for each attempt, so that none left over is met


class Peer:
    """Another host, by what it last wrote in this attempt."""

    def __init__(self, number, addresses):
        self.number, self.addresses = number, addresses
        self.beat = None
        self.exit = None
        self.changed_at = time.monotonic()

    def look(self, attempt):
        """Read its documents again."""
        beat, end = (read(self.addresses[name], attempt) for name in ("hb", "exit"))
        self.exit = self.exit or end
        if beat is not None and beat != self.beat:
            self.beat, self.changed_at = beat, time.monotonic()

    def is_lost(self, stale_s):
        """Whether it was there, has not ended, and says nothing any more."""
        return self.beat is not None and self.exit is None and time.monotonic() - self.changed_at > stale_s


class Slice:
    """The hosts of this machine, seen from one of them. Of one host alone: nothing to look at."""

    def __init__(self, ticket, heartbeat_s):
        self.rented = ticket.get("rented") or {}
        self.attempt, self.run = ticket["attempt"], ticket["run"]
        peers = self.rented.get("hosts") or [{"hb": ticket.get("hb"), "exit": ticket.get("exit")}]
        self.count, self.stale_s = len(peers), max(LEAST_STALE_S, STALE_BEATS * heartbeat_s)
        self.look_s = min(LOOK_S, heartbeat_s)
        self.number, self.addresses = (0, []) if self.count == 1 else found(ticket["end"]["kind"], self.count)
        self.own = peers[self.number]
        others = range(1, self.count) if self.number == 0 else (0,)  # host 0 looks after all, and all after host 0
        self.peers = [Peer(number, peers[number]) for number in others] if self.count > 1 else []

    @property
    def speaks(self):
        """Whether this host's documents are the run's."""
        return self.number == 0

    def post(self, form):
        """The form with which this host writes."""
        return form if self.speaks else dict(form, prefix=f"{form['prefix']}hosts/{self.attempt}/{self.number}/")

    def variables(self):
        """How a trainer learns which host this is; see `common/machine.py`."""
        if self.count == 1:
            return {}
        port = PORTS[int(hashlib.sha256(f"{self.run} {self.attempt}".encode()).hexdigest(), 16) % len(PORTS)]
        place = {"CLOUDTRAIN_HOST": str(self.number), "CLOUDTRAIN_HOSTS": str(self.count)}
        return dict(place, CLOUDTRAIN_COORDINATOR=f"{self.addresses[0]}:{port}")

    def job(self):
        """What the job is told of the machine: chip and devices, as far as they are known."""
        return {key: self.rented[key] for key in ("chip", "devices") if self.rented.get(key)}

    def look(self):
        """Read what the others have written."""
        for peer in self.peers:
            peer.look(self.attempt)

    def broken(self):
        """Why this host cannot go on: another one has ended without a result, or is gone; None while all is well."""
        for peer in self.peers:
            if peer.exit is not None and peer.exit.get("reason") != "done":
                return f"host {peer.number} of {self.count} has ended: {peer.exit.get('reason')}"
            if peer.beat is not None and peer.beat.get("preempted"):
                return f"host {peer.number} of {self.count} is being preempted"
            if peer.is_lost(self.stale_s):
                return f"host {peer.number} of {self.count} is gone"
        return None

    def gather(self, check):
        """Return once every host is prepared; a sentence when one ends before, or does not come. Raises as `check`."""
        give_up = time.monotonic() + COMING_S
        while self.peers:
            check()
            self.look()
            absent = [peer.number for peer in self.peers if not is_prepared(peer)]
            if not absent:
                return None
            why = self.broken()
            if why or time.monotonic() > give_up:
                return why or f"of {self.count} hosts number {', '.join(map(str, absent))} did not come"
            time.sleep(self.look_s)
        return None

    def verdict(self, record, others_began):
        """What to put into the record of an attempt that broke off here, by what the others say of it.

        Another host's preemption or silence explains everything. Else the record stands, or, where `others_began` to
        end, theirs.
        """
        give_up = time.monotonic() + 2 * self.stale_s
        while True:
            self.look()
            for peer in self.peers:
                if peer.is_lost(self.stale_s):
                    return {"reason": "preempted", "message": f"host {peer.number} of {self.count} is gone"}
                told = (peer.exit or {}).get("reason") == "preempted" or (peer.beat or {}).get("preempted")
                if told:
                    return {"reason": "preempted", "message": f"host {peer.number} of {self.count} was preempted"}
            ended = [peer for peer in self.peers if peer.exit is not None]
            if record["reason"] == "preempted" or len(ended) == len(self.peers) or time.monotonic() > give_up:
                first = next((peer for peer in ended if peer.exit.get("reason") != "done"), None)
                if not others_began or first is None:
                    return {} if not others_began else {"reason": "failed", "message": "a host of the slice ended"}
                said = first.exit.get("message") or first.exit.get("reason")
                return {"reason": first.exit.get("reason"), "message": f"host {first.number}: {said}"}
            time.sleep(min(1.0, self.look_s))

    def wait_for_the_last_word(self, until):
        """Of a host that does not speak: until host 0 has written its record, is gone, or the time is over."""
        while self.peers and not self.speaks and bucket.CLOCK.now() < until:
            self.look()
            if self.peers[0].exit is not None or self.peers[0].is_lost(self.stale_s):
                return
            time.sleep(self.look_s)


def is_prepared(peer):
    """Whether it waits for the others, or trains already."""
    beat = peer.beat or {}
    return beat.get("phase") in ("training", "finishing") or bool(peer.number and beat.get("prepared"))


def read(address, attempt):
    """The document at an address, if it is this attempt's; None for any other and for none."""
    status, data = bucket.get(address["url"]) if address else (0, b"")
    try:
        document = json.loads(data) if status == 200 else {}
    except ValueError:
        return None
    return document if isinstance(document, dict) and document.get("attempt") == attempt else None


def found(kind, count):
    """(number of this host, addresses of all) as the provider's metadata say. SystemExit when they say nothing."""
    give_up = time.monotonic() + FIND_S
    while kind == "gcp":
        number, addresses = google()
        if number is not None and 0 <= number < count == len(addresses):
            return number, addresses
        if time.monotonic() > give_up:
            break
        time.sleep(1.0)
    raise SystemExit(f"cloudtrain: nothing says which of the {count} hosts this is")


def google():
    """Number and addresses of a TPU host, as far as Google's metadata say them; its name may say the number too."""
    number = next(iter(re.findall(r"^\s*(?:TPU_)?WORKER_ID: *'?(\d+)", attribute("tpu-env"), re.MULTILINE)), "")
    number = number or attribute("agent-worker-number").strip()
    number = number or next(iter(re.findall(r"-w-(\d+)$", socket.gethostname())), "")
    ends = [each.split(":") for each in attribute("worker-network-endpoints").split(",") if each.strip()]
    # The Cloud TPU API writes `unknown:unknown:10.0.0.2`, Compute Engine a name.
    addresses = [(each[2] if len(each) > 2 else each[0]).strip() for each in ends]
    return (int(number) if number.isdigit() else None), addresses


def attribute(name):
    """An attribute of the instance; "" where there is none."""
    base = os.environ.get("CLOUDTRAIN_METADATA", notice.METADATA)
    address = f"{base}/computeMetadata/v1/instance/attributes/{name}"
    status, data = bucket.get(address, 5.0, **{"Metadata-Flavor": "Google"})
    return data.decode("utf-8", "replace") if status == 200 else ""
