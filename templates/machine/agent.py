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
import notice
import shipping
import trainer
import weights
from shipping import read_json

LOOK_S = 0.1
STARTS = 3  # of the supervisor, in one attempt
LATE_S = 2.0  # the supervisor sees the end of the time first
MARGIN_S = 60.0  # beyond the grace time, to ship what there is before the machine's own timer fires


class Ended(Exception):
    """The attempt is over before its trainer could say so."""

    def __init__(self, reason, message, code=1):
        super().__init__(message)
        self.record = {"code": code, "signal": 0, "reason": reason, "message": message}


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
        self.mailbox = bucket.Mailbox(
            self.ticket["post"], float(self.ticket["deadline"]) + 600, min(bucket.LONGEST_WAIT_S, self.heartbeat_s)
        )
        self.phase = "boot"
        self.fetching = None
        self.reason = self.notes["reason"]  # why we end it: preempted, no_progress, cancelled
        self.changed = threading.Event()
        shared = (self.mailbox, self.folder, self.notes)
        self.log = shipping.LogShipper(*shared, int(self.ticket.get("log_bytes") or 0), self.heartbeat_s)
        self.events = shipping.EventShipper(*shared)
        self.checkpoints = shipping.CheckpointShipper(*shared)
        self.kept = weights.KeptShipper(*shared, self.ticket.get("quantised"))

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
        for work in (self.pulse, lambda: notice.watch(self.ticket["end"]["kind"], self.heartbeat_s, self.end_because)):
            threading.Thread(target=work, daemon=True).start()
        for shipper in (self.log, self.events, self.checkpoints, self.kept):
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
            status, data = bucket.get(self.ticket[name]["url"]) if self.ticket.get(name) else (0, b"")
            with contextlib.suppress(ValueError):
                found[name] = json.loads(data) if status == 200 else {}
        mine = [name for name, document in found.items() if document.get("attempt") == self.ticket["attempt"]]
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
        known["log_bytes"] = self.log.start_byte + self.log.size()
        known["log_shipped_bytes"] = self.log.start_byte + (self.notes["log"] or 0)
        if self.fetching is not None and self.phase == "weights":
            known.update(fetched_bytes=self.fetching.done(), fetch_bytes=self.fetching.total)
        return known

    def work(self):
        """The exit record of the trainer, which is started when it does not run yet."""
        if read_json(self.at("processes.json")) is None and not notice.is_locked(self.at("supervised")):
            self.set_up()
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

    def set_up(self):
        """Environment, weights, checkpoint, documents. Raises Ended."""
        try:
            self.enter("environment")
            job = read_json(os.path.join(self.bundle, "job.json")) or {}
            backend = trainer.BackEnd(self.bundle)
            maker = trainer.Maker(backend, os.path.dirname(self.place), self.check, self.emit)
            python = maker.python()
            self.enter("weights")
            found = weights.Weights(self)
            found.bring(job)
            found.bring_checkpoint()
            trainer.take_at_once(job, self.ticket.get("micro_batch"))
            job.update(run=self.ticket["run"], deadline=self.stop_at - bucket.CLOCK.ahead_s, grace_s=self.grace_s)
            metadata = {"attempt": self.ticket["attempt"], "heartbeat_s": min(5.0, self.heartbeat_s)}
            metadata["rest"] = trainer.foresight(self.ticket.get("rest"), bucket.CLOCK.ahead_s)
            metadata["env"] = trainer.hub_access(self.ticket.get("hub_token"), self.place)
            trainer.write_documents(job, metadata, python, backend, self.folder)
            if found.withheld and not maker.agrees(python, "check_kept", self.at("job.json")):
                found.bring_withheld(job)
        except trainer.WrongAccelerator as error:
            raise Ended("wrong_accelerator", str(error), 70) from None
        except trainer.NoEnvironment as error:
            raise Ended("no_environment", str(error)) from None
        except bucket.Unfetched as error:
            raise Ended("no_weights", str(error)) from None
        except (KeyError, TypeError, FileNotFoundError) as error:
            raise Ended("bad_bundle", f"{type(error).__name__}: {error}") from None
        except OSError as error:
            raise Ended("no_weights", f"{error.strerror}: {error.filename}") from None

    def fetch(self, folder, files):
        """Bring files into a folder."""
        os.makedirs(folder, exist_ok=True)
        patience = (self.mailbox.longest_wait_s, self.ticket.get("no_progress_s"))
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
        trainer.supervise(program, self.folder, log, self.ticket["run"], notice.lock(self.at("supervised")))

    def finish(self, record):
        """Ship what is left, the exit record last."""
        record = self.final_record(record)
        self.enter("finishing")
        self.kept.finish()
        self.log.finish()
        self.checkpoints.finish()
        if record["reason"] == "done" and not shipping.ship_folder(self.mailbox, self.at("output"), "output"):
            record.update(reason="failed", message="the result could not be uploaded")
        self.emit("ended", reason=record["reason"])
        self.events.finish()
        with contextlib.suppress(bucket.Refused, OSError, ValueError, HTTPException):
            self.mailbox.put("hb.json", json.dumps(self.heartbeat()).encode())
        self.mailbox.ship("exit.json", json.dumps(record).encode())
        with contextlib.suppress(OSError):
            open(os.path.join(self.place, "over"), "w", encoding="utf-8").close()

    def final_record(self, record):
        """The exit record as the run knows it: why we ended it, and log bytes counted over all attempts."""
        if self.notes["record"]:
            return dict(self.notes["record"])
        record = dict(record, log_bytes=self.log.start_byte + self.log.size())
        if self.reason and record["reason"] in ("cancelled", "preempted", "killed", "failed"):
            record["reason"] = self.reason
        elif record["reason"] == "preempted" and record["ended_at"] >= self.stop_at - 1:
            record["reason"] = "deadline"  # the trainer looked at its clock before the supervisor did
        if record["reason"] == "failed":
            record["message"] = notice.with_disk(self.folder, record.get("message") or "")
        self.notes.note(record=record)
        return record


if __name__ == "__main__":
    Agent(os.path.abspath(sys.argv[1])).run()
