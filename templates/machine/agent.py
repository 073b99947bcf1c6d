"""Carries one attempt at a run through on a rented machine: environment, weights, trainer, mailbox, the exit record.

    python3 agent.py FOLDER        # FOLDER holds ticket.json and the unpacked bundle; boot.py made both

Standard library only, Python 3.9 to 3.14. It ends with 0 when everything is shipped and the machine may go; killed at
any moment, it is started again and continues. The supervisor and the trainer live in sessions of their own and do not
notice.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from http.client import HTTPException

import bucket
import compiled
import notice
import orders
import shipping
import slices
import weights
from preparing import Ended, prepare
from shipping import read_json

LOOK_S = 0.1
STARTS = 3  # of the supervisor, in one attempt
LATE_S = 2.0  # the supervisor sees the end of the time first
SLICE = "slice"  # why it is ended, where another host is the cause
MARGIN_S = 60.0  # beyond the grace time, to ship what there is before the machine's own timer fires


class Agent:
    """One attempt."""

    def __init__(self, place):
        self.place = place
        self.bundle = os.path.join(place, "bundle")
        self.folder = os.path.join(place, "run")
        os.makedirs(self.folder, exist_ok=True)
        self.ticket = read_json(os.path.join(place, "ticket.json"))
        self.notes = shipping.Notes(os.path.join(place, "agent.json"))
        self.started_at, self.stop_at = self.notes["started_at"], self.notes["stop_at"]
        self.heartbeat_s = max(0.05, float(self.ticket.get("heartbeat_s") or 30))
        self.grace_s = float(self.ticket.get("grace_s") or 60)
        self.timers = notice.Timers(os.path.dirname(place), self.ticket["end"]["kind"], float(self.ticket["deadline"]))
        self.slice = slices.Slice(self.ticket, self.heartbeat_s)
        form, until = self.slice.post(self.ticket["post"]), float(self.ticket["deadline"]) + 600
        self.mailbox = bucket.Mailbox(form, until, min(bucket.LONGEST_WAIT_S, self.heartbeat_s))
        self.phase, self.prepared = "boot", False
        self.fetching = None
        self.reason = self.notes["reason"]  # why we end it: preempted, no_progress, cancelled, slice
        self.changed = threading.Event()
        shared = (self.mailbox, self.folder, self.notes)
        before = int(self.ticket.get("log_bytes") or 0) if self.slice.speaks else 0
        self.log = shipping.LogShipper(*shared, before, self.heartbeat_s)
        self.events = shipping.EventShipper(*shared)
        self.checkpoints = shipping.CheckpointShipper(*shared)
        self.kept = weights.KeptShipper(*shared, self.ticket.get("quantised"))
        self.compiled = compiled.CompiledShipper(*shared, self.ticket.get("compiled"))
        self.shippers = [self.log, self.events]
        if self.slice.speaks:
            self.shippers += [self.checkpoints, self.kept, self.compiled]

    def at(self, *names):
        return os.path.join(self.folder, *names)

    def emit(self, what, **more):
        """A line for the machine's own log, and an event of the run."""
        line = dict(time=bucket.CLOCK.now(), actor="agent", event=what, attempt=self.ticket["attempt"], **more)
        with contextlib.suppress(OSError, ValueError):
            print("cloudtrain:", what, *more.values(), flush=True)
            with open(self.at("events.jsonl"), "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def enter(self, phase):
        """Go to a phase, and report it with the next heartbeat, which is now."""
        self.phase = phase
        self.changed.set()

    def end_because(self, reason):
        """Remember why we end the attempt; the first reason stays."""
        if self.reason is None:
            self.reason = reason
            self.notes.note(reason=reason)
            self.emit("ending", reason=reason)
            self.changed.set()  # the heartbeat tells it, at once

    def check(self):
        """Raise Ended when nothing more is to be begun."""
        if self.reason:
            raise Ended(self.reason, f"{self.reason} before the training began", 75)
        if bucket.CLOCK.now() >= self.stop_at:
            raise Ended("deadline", "the deadline passed before the training began", 75)

    def run(self):
        """Everything. Returns when all that can be shipped is."""
        if os.path.exists(os.path.join(self.place, "over")) or self.was_here():
            return
        self.set_clocks()
        # A machine that shuts down says so to every process. In a thread, because a handler may interrupt anything.
        metadata = threading.Thread(target=self.end_because, args=("preempted",), daemon=True)
        signal.signal(signal.SIGTERM, lambda number, frame: None if metadata.ident else metadata.start())
        notices = (self.ticket["end"]["kind"], self.heartbeat_s, self.end_because)
        for work in (self.pulse, self.watch_others, lambda: notice.watch(*notices)):
            threading.Thread(target=work, daemon=True).start()
        for shipper in self.shippers:
            shipper.start()
        try:
            record = self.notes["record"] or self.on_time(read_json(self.at("exit.json")) or self.work())
        except Ended as ended:
            record = self.record_of(ended)
        except Exception as error:  # a fault of our own: again from the beginning, but not for ever
            crashes = (self.notes["crashes"] or 0) + 1
            self.notes.note(crashes=crashes)
            if crashes < STARTS:
                raise
            record = self.record_of(Ended("failed", f"{type(error).__name__}: {error}"))
        self.finish(record)

    def set_clocks(self):
        """When it began and when the job is to stop, by the bucket's clock; kept for an agent that comes after us."""
        bucket.get(self.ticket["bundle"]["url"], Range="bytes=0-0")  # for its date
        self.timers.heed()
        now, deadline = bucket.CLOCK.now(), float(self.ticket["deadline"])
        self.started_at = self.started_at or now
        self.stop_at = self.stop_at or deadline - min(self.grace_s + MARGIN_S, max(0.0, 0.1 * (deadline - now)))
        self.notes.note(started_at=self.started_at, stop_at=self.stop_at)

    def record_of(self, ended):
        """The exit record of an attempt that its trainer did not end."""
        now = bucket.CLOCK.now()
        return dict(ended.record, started_at=self.started_at or now, ended_at=now, attempt=self.ticket["attempt"])

    def on_time(self, record):
        """The supervisor's record with its times by the bucket's clock."""
        return {k: v + bucket.CLOCK.ahead_s if k in ("started_at", "ended_at") else v for k, v in record.items()}

    def was_here(self):
        """Whether this attempt is over already, which the mailbox knows after a machine lost its disk."""
        if self.notes["started_at"]:
            return False
        found = {}
        for name in ("exit", "hb"):
            found[name] = slices.read(self.slice.own.get(name), self.ticket["attempt"])
        mine = [name for name, document in found.items() if document]
        if "hb" in mine and "exit" not in mine and found["hb"].get("phase") in ("training", "finishing"):
            record = self.record_of(Ended("preempted", "the machine restarted without its disk", 75))
            record.update(log_bytes=found["hb"].get("log_shipped_bytes"))
            self.mailbox.ship("exit.json", json.dumps(record).encode())
            return True
        return "exit" in mine

    def pulse(self):
        """Heartbeats, and a look for a request to stop."""
        while True:
            self.changed.clear()
            for _ in range(2):  # a connection that was kept may have been closed
                with contextlib.suppress(bucket.Refused, OSError, ValueError, HTTPException):
                    self.mailbox.put(
                        "hb.json", json.dumps(self.heartbeat()).encode(), timeout=min(20.0, bucket.TIMEOUT_S)
                    )
                    break
            if self.ticket.get("kill") and bucket.get(self.ticket["kill"]["url"])[0] == 200:
                self.end_because("cancelled")
            self.timers.heed()
            self.changed.wait(self.heartbeat_s)

    def heartbeat(self):
        """What is known now; the trainer's figures are the supervisor's."""
        known = dict(read_json(self.at("hb.json")) or {}, time=bucket.CLOCK.now(), attempt=self.ticket["attempt"])
        known.update(phase=self.phase, preempted=self.reason == "preempted")
        if not self.slice.speaks:
            known.update(prepared=self.prepared)
        known["log_bytes"] = self.log.start_byte + self.log.size()
        known["log_shipped_bytes"] = self.log.start_byte + (self.notes["log"] or 0)
        if self.fetching is not None and self.phase == "weights":
            known.update(fetched_bytes=self.fetching.done(), fetch_bytes=self.fetching.total)
        return known

    def work(self):
        """The exit record of the trainer, which is started when it does not run yet."""
        if read_json(self.at("processes.json")) is None and not notice.is_locked(self.at("supervised")):
            prepare(self)
            self.prepared = True
            self.changed.set()
            if absent := self.slice.gather(self.check):
                raise Ended("preempted", absent, 75)
        self.enter("training")
        moved_at, moved = time.monotonic(), None
        while True:
            record = read_json(self.at("exit.json"))
            if record is not None:
                return record
            self.keep_supervised()
            if bucket.CLOCK.now() > self.stop_at + LATE_S:
                self.end_because("deadline")  # the supervisor goes by the machine's clock, which may have been set
            now = (self.log.size(), (read_json(self.at("hb.json")) or {}).get("step"))
            if now != moved:
                moved_at, moved = time.monotonic(), now
            limit = self.ticket.get("no_progress_s")
            if limit and time.monotonic() - moved_at > float(limit):
                self.end_because("no_progress")
            time.sleep(LOOK_S)

    def watch_others(self):
        """End when another host of the machine does; until then, look."""
        while self.slice.peers and self.reason is None:
            if self.phase == "training":
                self.slice.look()
                if why := self.slice.broken():
                    self.emit("slice broken", message=why)
                    self.end_because(SLICE)
            time.sleep(self.slice.look_s)

    def fetch(self, folder, files, stall_s=None):
        """Bring files into a folder. Raises Unfetched."""
        os.makedirs(folder, exist_ok=True)
        patience = (self.mailbox.longest_wait_s, stall_s or self.ticket.get("no_progress_s"))
        self.fetching = bucket.Download(folder, files, self.check, *patience)
        began = time.monotonic()
        self.fetching.run()
        self.emit("fetched", bytes=self.fetching.total, seconds=round(time.monotonic() - began, 1))

    def keep_supervised(self):
        """Start the supervisor where none lives; hand on to it that the attempt is to end."""
        if not notice.is_locked(self.at("supervised")):
            if not os.path.exists(self.at("exit.json")):  # it may have ended since we looked
                self.start_supervisor()
        elif self.reason and not os.path.exists(self.at("kill")):
            with contextlib.suppress(OSError), open(self.at("kill"), "w", encoding="utf-8") as file:
                file.write(self.reason)  # on a full disk the signal has to do
            pid = (read_json(self.at("processes.json")) or {}).get("supervisor")
            if pid is not None and notice.lives(pid, self.ticket["run"]):
                os.kill(pid, signal.SIGTERM)

    def start_supervisor(self):
        """A new supervisor; a trainer whose supervisor died is ended first, and resumes from its checkpoint."""
        starts = (self.notes["starts"] or 0) + 1
        notice.end_left(self.at("processes.json"), self.ticket["run"])
        if starts > 1 and self.reason:
            raise Ended(self.reason, "the supervisor died while it was to end", 75)
        if starts > STARTS:
            raise Ended("failed", f"the supervisor died {STARTS} times")
        self.notes.note(starts=starts)
        program = os.path.join(self.bundle, "supervisor", "supervisor.py")
        log = os.path.join(self.place, "supervisor.log")
        orders.supervise(program, self.folder, log, self.ticket["run"], notice.lock(self.at("supervised")))

    def finish(self, record):
        """Ship what is left, the exit record last."""
        record = self.final_record(record)
        self.enter("finishing")
        self.kept.closing.set()
        for shipper in self.shippers:
            if shipper is not self.events:
                shipper.finish()
        is_result = record["reason"] == "done" and self.slice.speaks
        if is_result and not shipping.ship_folder(self.mailbox, self.at("output"), "output"):
            record.update(reason="failed", message="the result could not be uploaded")
        self.emit("ended", reason=record["reason"])
        self.events.finish()
        with contextlib.suppress(bucket.Refused, OSError, ValueError, HTTPException):
            self.mailbox.put("hb.json", json.dumps(self.heartbeat()).encode())
        self.mailbox.ship("exit.json", json.dumps(record).encode())
        self.slice.wait_for_the_last_word(float(self.ticket["deadline"]))
        with contextlib.suppress(OSError):
            open(os.path.join(self.place, "over"), "w", encoding="utf-8").close()

    def final_record(self, record):
        """The exit record as the run knows it: why we ended it, and log bytes counted over all attempts."""
        if self.notes["record"]:
            return dict(self.notes["record"])
        record = dict(record, log_bytes=self.log.start_byte + self.log.size())
        is_early = record["reason"] in ("cancelled", "preempted", "killed", "failed", SLICE)
        if self.slice.peers and is_early and self.reason in (None, SLICE):
            record.update(self.slice.verdict(record, self.reason == SLICE))
        elif self.reason and record["reason"] in ("cancelled", "preempted", "killed", "failed"):
            record["reason"] = self.reason
        elif record["reason"] == "preempted" and record["ended_at"] >= self.stop_at - 1:
            record["reason"] = "deadline"  # the trainer looked at its clock before the supervisor did
        if record["reason"] == "failed":
            record["message"] = notice.with_disk(self.folder, record.get("message") or "")
        self.notes.note(record=record)
        return record


if __name__ == "__main__":
    Agent(os.path.abspath(sys.argv[1])).run()
