"""Run one training job to its end, whoever is watching: heartbeat, log, deadline, stop request, exit record.

    python supervisor.py FOLDER            # supervise the job described in FOLDER/supervise.json, and write there
    python supervisor.py --guard FOLDER    # the second clock: ends the job when the supervisor cannot

Standard library only, Python 3.9 to 3.14, because it runs on machines that have nothing else yet. It never imports
cloudtrain. Every document is written to a temporary name and renamed, so a reader never sees half of one.

The trainer writes its output straight into a log file, not into a pipe of ours: killing the supervisor loses no byte
and does not stop the trainer. What then stops it is the guard, and the trainer's own clock.
"""

import contextlib
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

POLL_S = 0.25
BLOCK_BYTES = 1 << 20  # of the log, read at a time
RESERVE_BYTES = 65536  # given back to a full disk so that the exit record can still be written
REASONS = {
    0: "done",
    64: "bad_spec",
    65: "bad_data",
    70: "wrong_accelerator",
    75: "preempted",
    137: "out_of_memory",
}


def write_json(path, document):
    """Write a document so that it is whole or absent."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_json(path):
    """The document at `path`, or None when it is not there or not whole."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def oom_kills():
    """How often the kernel has killed for memory, as far as it tells; None where it does not."""
    for path, key in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == key:
                        return int(count)
        except (OSError, ValueError):
            continue
    return None


def busy_s():
    """Processor seconds that all processes of this machine have used since it started, what a host took included.

    None where the system does not say (no /proc).
    """
    try:
        with open("/proc/stat", encoding="ascii") as file:
            numbers = [int(each) for each in file.readline().split()[1:9]]
        user, nice, system, _, _, irq, softirq, steal = numbers
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def others_share(busy, own, seconds):
    """The share of the processors that others had in these seconds, 0 to 1: all that was busy less `own` seconds."""
    if busy is None or seconds <= 0:
        return None
    return round(min(1.0, max(0.0, (busy - own) / (seconds * (os.cpu_count() or 1)))), 3)


def is_figure(value):
    """Whether an event's value is a number that can be counted with."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15


def pace_of(stretches):
    """Seconds a step of [steps, seconds]."""
    return sum(seconds for _, seconds in stretches) / sum(steps for steps, _ in stretches)


def variance(paces, mean):
    """Of some paces about their mean."""
    return sum((pace - mean) ** 2 for pace in paces) / (len(paces) - 1)


class Pace:
    """How long this attempt's steps take, by the times of their lines; and from that, how long those left will take.

    Steps are kept as stretches of equally many, joined in pairs when there are too many: how differently long stretches
    take tells what a busy neighbour or uneven data do to the rest. Saves are taken out, evaluations are not.
    """

    MOST, GROUPS = 64, 6  # stretches that are kept, and into how many groups at least they are put
    STEPS, SECONDS = 50, 300.0  # nothing is told before so many steps or so many seconds of them
    LEAST = 0.05  # of the mean: nobody knows better how it goes on

    def __init__(self):
        self.last = None  # step and time of the newest line
        self.of = None
        self.saving_s = 0.0  # since that line
        self.each = 1  # steps of a whole stretch
        self.stretches = []  # [steps, seconds] of each; the last one may not be whole
        self.first = None  # what was told first

    def take(self, event):
        """Take in an event of the trainer's."""
        if event["event"] == "checkpoint" and is_figure(event.get("seconds")):
            self.saving_s += event["seconds"]
        if event["event"] != "step" or not all(is_figure(event.get(key)) for key in ("step", "of", "time")):
            return
        before, self.last, self.of = self.last, (event["step"], event["time"]), event["of"]
        saving_s, self.saving_s = self.saving_s, 0.0
        if before is not None and self.last[0] > before[0]:
            self.add(self.last[0] - before[0], max(0.0, self.last[1] - before[1] - saving_s))
        if self.first is None and self.left_s() is not None:
            self.first = {"step": self.last[0], "time": self.last[1], "left_s": self.left_s()}

    def add(self, steps, seconds):
        """Put steps to the newest stretch, or to one of their own when that is whole."""
        if self.stretches and self.stretches[-1][0] < self.each:
            self.stretches[-1][0] += steps
            self.stretches[-1][1] += seconds
            return
        if len(self.stretches) == self.MOST:
            pairs = [self.stretches[at : at + 2] for at in range(0, self.MOST, 2)]
            self.stretches = [[a[0] + b[0], a[1] + b[1]] for a, b in pairs]
            self.each *= 2
        self.stretches.append([steps, seconds])

    def left_s(self):
        """Seconds for the steps that are left, [low, likely, high]: one in ten is faster, one in ten slower.

        None before it can be told.
        """
        steps, seconds = (sum(stretch[part] for stretch in self.stretches) for part in (0, 1))
        whole = [stretch for stretch in self.stretches if stretch[0] >= self.each]
        if len(whole) < self.GROUPS // 2 or (steps + 1 < self.STEPS and seconds < self.SECONDS):
            return None
        left, mean = max(0.0, self.of - self.last[0]), seconds / steps
        error = max(self.LEAST * mean, self.error(whole, mean, steps, left))
        newest = whole[-max(2, len(whole) // 8) :]  # it may have become slower, or faster
        recent = pace_of(newest)
        fastest = min((1 - self.LEAST) * mean, *(pace_of([stretch]) for stretch in whole))
        paces = min(max(mean - error, fastest), recent), mean, max(mean + error, recent)
        return [round(left * pace, 3) for pace in paces]

    def error(self, whole, mean, steps, left):
        """How far the pace of the steps left may be from the mean: one in ten is slower.

        Paces of single steps even out over many steps, those of a busy machine do not: how much less groups of
        stretches differ than single ones tells which of both it is, and so how much less the rest will differ.
        """
        joined = max(1, len(whole) // self.GROUPS)
        groups = [whole[at - joined : at] for at in range(len(whole), joined - 1, -joined)]
        single, grouped = (variance([pace_of(each) for each in some], mean) for some in ([[w] for w in whole], groups))
        evens_out = 0.0  # the power of the number of steps with which the variance falls: -1 for independent ones
        if joined > 1 and single > 0:
            evens_out = min(0.0, max(-1.0, math.log(max(grouped, 1e-9 * single) / single) / math.log(joined)))
        many = [max(1.0, each / (joined * self.each)) ** evens_out for each in (steps, left)]
        student = 1.28 * (1 + 1.4 / (len(groups) - 1))  # about the 90 % point of Student's distribution
        return student * math.sqrt(grouped * sum(many))

    def told(self):
        """For the heartbeat: steps and seconds seen, and what is left; None before it can be told."""
        left_s = self.left_s()
        if left_s is None:
            return None
        steps, seconds = (sum(stretch[part] for stretch in self.stretches) for part in (0, 1))
        return {"steps": steps, "seconds": round(seconds, 3), "left_s": left_s, "first": self.first}


class Log:
    """The run's log: chunk files named by the byte offset at which they begin, read for progress as it grows."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.start = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
        self.path = os.path.join(folder, f"{self.start:016d}")
        self.seen = 0
        self.partial = b""
        self.progress = {}
        self.pace = Pace()

    def open(self):
        """The file descriptor that the trainer inherits."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def read_progress(self):
        """Take in what was written since the last call; later events overwrite earlier ones."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.seen)
                left = os.path.getsize(self.path) - self.seen  # what comes meanwhile is for the next call
                while left > 0:
                    data = file.read(min(left, BLOCK_BYTES))
                    if not data:
                        return
                    left -= len(data)
                    self.seen += len(data)
                    self.read_lines(data)
        except OSError:
            return

    def read_lines(self, data):
        """Take in the lines that `data` completes; one that is longer than a block is no event."""
        *lines, self.partial = (self.partial + data).split(b"\n")
        if len(self.partial) > BLOCK_BYTES:
            self.partial = b"-"
        for line in lines:
            if line.startswith(b"{"):
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(event, dict) and "event" in event:
                    self.take(event)

    def take(self, event):
        """Remember the latest figures of an event. `loss` is of training; an evaluation's is another figure."""
        self.pace.take(event)
        if event["event"] == "eval":
            event = {"event": "eval", "eval_loss": event.get("loss")}
        elif event["event"] == "done":
            event = {**event, "loss": event.get("final_loss")}
        for key in ("step", "of", "loss", "eval_loss", "tokens", "tokens_per_second", "peak_bytes"):
            if event.get(key) is not None:
                self.progress[key] = event[key]
        if event["event"] == "error":
            self.progress["message"] = event.get("message", "")

    def figures(self):
        """What heartbeat and exit record say of the trainer."""
        paced = self.pace.told()
        return self.progress if paced is None else dict(self.progress, paced=paced)

    def bytes(self):
        """Total bytes of log so far."""
        return self.start + (os.path.getsize(self.path) if os.path.exists(self.path) else 0)


class Supervisor:
    """One attempt at one job."""

    def __init__(self, folder):
        self.folder = folder
        self.job = read_json(self.at("supervise.json"))
        if self.job is None:
            raise SystemExit(f"{self.at('supervise.json')} cannot be read")
        self.log = Log(self.at("log"))
        self.started_at, self.busy_before = time.time(), busy_s()
        self.stop_reason = None
        self.stop_since = None
        self.trainer = None
        self.guard = None
        self.next_heartbeat = 0.0
        self.foreseen = set()

    def at(self, name):
        return os.path.join(self.folder, name)

    def event(self, what, **more):
        """Add a line to events.jsonl; a full disk must not end the job."""
        line = json.dumps(dict(time=time.time(), actor="supervisor", event=what, **more))
        try:
            with open(self.at("events.jsonl"), "a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            pass

    def run(self):
        """Start the guard, then the trainer; watch until it has ended; leave the exit record."""
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, lambda number, frame: self.ask_stop("cancelled"))
        with open(self.at("reserve"), "wb") as file:
            file.write(b"\0" * RESERVE_BYTES)
        self.guard = self.start_guard()
        before = oom_kills()
        self.start_trainer()
        self.event("started", pid=self.trainer.pid, attempt=self.job.get("attempt", 1))
        status = None
        while status is None:
            self.heartbeat()
            self.watch()
            time.sleep(POLL_S)
            status = self.ended()
        self.finish(status, before)

    def start_guard(self):
        """The guard lives in a session of its own: what kills the supervisor's group does not reach it."""
        return subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--guard", self.folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=dict(os.environ, CLOUDTRAIN_RUN=self.job["run"]),
        )

    def start_trainer(self):
        environment = dict(os.environ)
        environment.update(self.job.get("env", {}))
        environment["CLOUDTRAIN_RUN"] = self.job["run"]
        output = self.log.open()
        try:
            self.trainer = subprocess.Popen(
                self.job["argv"],
                cwd=self.job.get("cwd") or self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)
        write_json(
            self.at("processes.json"),
            {"supervisor": os.getpid(), "trainer": self.trainer.pid, "guard": self.guard.pid, "time": time.time()},
        )

    def ended(self):
        """(wait status, resource usage) once the trainer has ended, else None."""
        pid, status, usage = os.wait4(self.trainer.pid, os.WNOHANG)
        return (status, usage) if pid else None

    def load(self, own):
        """The share of the processors that others had since the trainer began; None where that is not known."""
        before, now = self.busy_before, busy_s()
        since = None if before is None or now is None else now - before
        return others_share(since, own, time.time() - self.started_at)

    def heartbeat(self):
        """Write hb.json when it is due."""
        now = time.time()
        if now < self.next_heartbeat:
            return
        self.next_heartbeat = now + float(self.job.get("heartbeat_s", 30))
        self.log.read_progress()
        try:
            free_bytes = shutil.disk_usage(self.folder).free
            write_json(
                self.at("hb.json"),
                dict(
                    self.log.figures(),
                    time=now,
                    log_bytes=self.log.bytes(),
                    disk_free_bytes=free_bytes,
                    preempted=False,
                    attempt=self.job.get("attempt", 1),
                ),
            )
        except OSError as error:
            if error.errno != errno.ENOSPC:
                self.event("heartbeat failed", message=str(error))
        self.foresee(now)

    def foresee(self, now):
        """Say once that the rest will not do within its time, or may not within its money; that may be told to end it.

        `rest` of the orders: what comes with the steps as a share of them, what comes after them in seconds (both
        quoted, at their worst), when the run ends at the latest, when its money is used up.
        """
        rest, left_s = self.job.get("rest"), self.log.pace.left_s()
        if not rest or left_s is None or self.stop_reason is not None or left_s[2] == 0:
            return
        ends = [now + each * (1 + rest["along"]) + rest["after_s"] for each in left_s]
        if rest.get("cap_at") is not None and ends[2] > rest["cap_at"]:
            self.tell_once("above cap", hours=round((ends[2] - now) / 3600, 4))
            if rest.get("stop_above_cap"):
                self.ask_stop("over_cap")
        if ends[1] > rest["ends_at"]:
            self.tell_once("late", hours=round((ends[1] - now) / 3600, 4))

    def tell_once(self, what, **more):
        """An event that is not repeated."""
        if what not in self.foreseen:
            self.foreseen.add(what)
            self.event(what, **more)

    def watch(self):
        """Look for a reason to stop, and make a stop that was asked for happen."""
        now = time.time()
        if self.stop_reason is None:
            if os.path.exists(self.job.get("kill") or self.at("kill")):
                self.ask_stop("cancelled")
            elif now >= self.job["deadline"]:
                self.ask_stop("deadline")
            elif has_vanished(self.folder):
                self.ask_stop("cancelled")
        elif now - self.stop_since > float(self.job.get("grace_s", 60)):
            self.event("killed", message="the trainer did not stop within its grace time")
            self.signal_trainer(signal.SIGKILL)
            self.stop_since = now

    def ask_stop(self, reason):
        """Ask the trainer to write a checkpoint and end."""
        if self.stop_reason is None:
            self.stop_reason, self.stop_since = reason, time.time()
            self.event("stopping", reason=reason)
            self.signal_trainer(signal.SIGTERM)

    def signal_trainer(self, number):
        if self.trainer is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.trainer.pid, number)

    def finish(self, status, oom_before):
        """Leave exit.json and end the guard."""
        wait_status, usage = status
        self.signal_trainer(signal.SIGKILL)  # helpers that the trainer left behind
        number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0
        code = 128 + number if number else os.WEXITSTATUS(wait_status)
        oom = number == signal.SIGKILL and oom_before is not None and (oom_kills() or 0) > oom_before
        reason = "out_of_memory" if oom else "killed" if number else REASONS.get(code, "failed")
        if self.stop_reason and reason in ("preempted", "killed", "failed"):
            reason = self.stop_reason
        self.log.read_progress()
        record = dict(
            self.log.figures(),
            code=code,
            signal=number,
            reason=reason,
            started_at=self.started_at,
            ended_at=time.time(),
            peak_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            cpu_s=usage.ru_utime + usage.ru_stime,
            load=self.load(usage.ru_utime + usage.ru_stime),
            log_bytes=self.log.bytes(),
            attempt=self.job.get("attempt", 1),
        )
        leave_exit_record(self.folder, record)
        self.event("ended", reason=reason, code=code)
        self.guard.kill()
        self.guard.wait()


def leave_exit_record(folder, record):
    """Write exit.json once, giving the reserved bytes back to a full disk first."""
    path = os.path.join(folder, "exit.json")
    for _ in range(600):
        if os.path.exists(path) or has_vanished(folder):
            return
        try:
            write_json(path, record)
            return
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, "reserve"))
            time.sleep(0.5)


def has_vanished(folder):
    """Whether somebody has removed the run: nobody could see it, stop it or have its result any more."""
    try:
        os.stat(os.path.join(folder, "supervise.json"))
    except FileNotFoundError:
        return True
    except OSError:  # a file system that does not answer now
        return False
    return False


def belongs(pid, run):
    """Whether the process carries this run's tag: ids are used again. Taken on trust where there is no /proc."""
    if not os.path.isdir("/proc/self"):
        return True
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"CLOUDTRAIN_RUN={run}".encode() in file.read().split(b"\0")
    except OSError:
        return False


def guard(folder):
    """Wait for the deadline and one grace time; then kill what is left of the job and say so.

    It ends earlier when the exit record of this attempt is there, and waits a grace time only when the run's folder has
    vanished.
    """
    job = read_json(os.path.join(folder, "supervise.json"))
    limit = job["deadline"] + 2 * float(job.get("grace_s", 60))
    vanished, processes = False, {}
    while time.time() < limit:
        if os.path.exists(os.path.join(folder, "exit.json")):
            return
        processes = read_json(os.path.join(folder, "processes.json")) or processes
        if not vanished and has_vanished(folder):
            vanished, limit = True, min(limit, time.time() + 2 * float(job.get("grace_s", 60)))
        time.sleep(min(1.0, max(0.05, limit - time.time())))
    processes = read_json(os.path.join(folder, "processes.json")) or processes
    for name in ("trainer", "supervisor"):
        if processes.get(name) and belongs(processes[name], job["run"]):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(processes[name], signal.SIGKILL)
    now = time.time()
    leave_exit_record(
        folder,
        {"code": 137, "signal": 9, "reason": "deadline", "ended_at": now, "attempt": job.get("attempt", 1)},
    )


def main(argv):
    if argv[:1] == ["--guard"]:
        guard(argv[1])
    else:
        Supervisor(os.path.abspath(argv[0])).run()


if __name__ == "__main__":
    main(sys.argv[1:])
