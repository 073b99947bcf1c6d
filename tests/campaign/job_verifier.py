"""Whether a whole run told the truth: exit codes, what is at home, the log byte by byte, the ledger, secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.campaign.job_trainer import result

if TYPE_CHECKING:
    from tests.campaign.job_world import Command, JobWorld

PREFIX = "team/runs/"
STOPS = {"down", "kill request", "kill trainer", "kill supervisor"}  # after which a run need not be finished
TAKEN = {"preempt", "take", "off", "crash", "reboot"}
DEATHS = {"kill client", "kill engine", "kill both", "blackout", "bucket fault"}
LOG = "log: "
NEEDS = {  # what must have happened before a command may end so, unless the cloud itself was in trouble
    7: TAKEN | DEATHS,
    100: {"kill trainer", "kill supervisor"} | TAKEN | DEATHS,
    101: TAKEN | DEATHS,
    103: {"down", "kill request"},
}
PROPER = ("done", "cancelled", "preempted", "deadline", "failed", "bad_data", "killed")


class Verifier:
    """Collects leaks and lies of one trial."""

    def __init__(self, world: JobWorld, run: str, knobs: Mapping[str, Any], story: list[str]) -> None:
        self.world, self.run, self.knobs, self.story = world, run, knobs, story
        self.leaks: list[str] = []
        self.lies: list[str] = []
        self.happened: list[str] = []  # events and commands of other people
        self.machines = 0  # how many have run
        self.facts: list[str] = []
        self.calm = False

    def check(self, when: str) -> None:
        """Nothing may be there now."""
        self.leaks += [f"{when}: {words}" for words in self.world.both.leftovers()]

    def objects(self) -> dict[str, bytes]:
        """The run's documents in the bucket, those of its machine under their names there."""
        begin = f"{PREFIX}{self.run}/"
        mine = {name[len(begin) :]: data for name, data in self.world.objects().items() if name.startswith(begin)}
        return {name.removeprefix("machine/"): data for name, data in mine.items()}

    def begun(self) -> bool:
        """Whether there is a record of the run."""
        return "intent.json" in self.objects()

    def step(self) -> int:
        """The step of the newest heartbeat."""
        beat = json.loads(self.objects().get("hb.json") or b"{}")
        return int(beat.get("step") or 0)

    # Exit codes

    def command(self, command: Command, others: bool) -> None:
        """What a command that ended may have said."""
        code, verb, said = command.process.code, command.words[0], command.said
        if code is None or (code < 0 and command.killed):
            return
        words = f"`{' '.join(command.words)}` ended with {code}"
        if ("Traceback" in said and verb != "logs") or code < 0:
            self.lies.append(f"{words}: {said[-3000:]}")
        if why := self.lie(command, code):
            self.lies.append(f"{words}, {why}: {said[-700:]}")
        if verb in ("up", "attach", "poll", "down") and not self.may_stand(command, code) and not others:
            self.check(f"{words}, which says that nothing is left ({said.strip()[-300:]})")
        if code == 0 and self.brings_home(command):
            self.home(command.person.folder / self.run, words)

    def lie(self, command: Command, code: int) -> str:
        """Why a command may not have ended so; "" when it may."""
        troubled = self.world.happened() > command.troubles or not command.alone
        if code in (1, 2, 3, 5) or (code == 102 and command.begun):
            gone = code == 2 and f"run `{self.run}` is gone (" in command.said  # only the certificate is missing
            unreachable = (
                code == 1 and "cannot be reached" in command.said
            )  # whether it may have left anything is asked below
            return "" if troubled and (gone or unreachable) else "which is a defect"
        if code == 6 and not (troubled or self.held_elsewhere(command)):
            return "although nothing went wrong"
        if code == 4 and not self.kinds() & {"quota", "permission", "balance"}:
            return "although nothing was refused"
        if code in NEEDS and not self.may_end(command, code):
            return "and nothing that happened leads to that"
        if (
            self.calm
            and command.words[0] in ("down", "sweep", "logs", "ps")
            and code
            and not self.held_elsewhere(command)
        ):
            return "although nothing went wrong any more"
        return ""

    def held_elsewhere(self, command: Command) -> bool:
        """Whether it left the run alone because of a client of another machine, which has died."""
        force = "--force" in command.words
        return not force and "is being changed by" in command.said and bool(DEATHS & set(self.happened))

    def may_end(self, command: Command, code: int) -> bool:
        """Whether anything that happened leads to such an end."""
        if code == 101 and (
            command.words[0] in ("poll", "wait") or "another client" in command.said or "is starting" in command.said
        ):
            return True
        wanted_so = bool(self.knobs.get("fail") or self.knobs.get("short"))
        troubled = code != 103 and (wanted_so or self.cloud_faults())
        return troubled or bool(NEEDS[code] & set(self.happened))

    def cloud_faults(self) -> bool:
        """Whether a call of the cloud has failed; the bucket is another matter."""
        return any(not call.startswith("S3.") for call, _ in self.world.fake.faults.happened)

    def brings_home(self, command: Command) -> bool:
        """Whether success means that the result is at home."""
        if command.words[0] == "poll":
            return "--finish" in command.words and "result in" in command.said
        return command.words[0] in ("up", "attach") and "continues without this client" not in command.said

    def may_stand(self, command: Command, code: int) -> bool:
        """Whether a command that ended so has said that something may be left."""
        if code == 6 or self.lost_sight(command):
            return True
        if "another client" in command.said or "is starting" in command.said:
            return code == 101
        if command.words[0] == "poll":
            return code == 101
        return code == 0 and "continues without this client" in command.said

    def lost_sight(self, command: Command) -> bool:
        """Whether it said that the state cannot be reached, before it was in charge of any machine."""
        teardown_guard = any(words in command.said for words in ("machine created", ": attached", "asking again"))
        return command.process.code == 1 and "cannot be reached" in command.said and not teardown_guard

    def kinds(self) -> set[str]:
        """What kinds of faults have happened."""
        return {kind for each in self.world.faults() for _, kind in each.happened}

    # The result

    def home(self, folder: Path, when: str) -> None:
        """The result is there, whole, and of the right run."""
        steps = int(self.knobs["steps"])
        try:
            adapter, metrics = (folder / "adapter_config.json").read_text(), (folder / "metrics.json").read_text()
        except OSError as error:
            self.lies.append(f"{when}, and the result is not at home: {error}")
            return
        if adapter != result(steps) or json.loads(metrics) != {"steps": steps}:
            self.lies.append(f"{when}, and the result is another one: {adapter} {metrics}")

    def end(self, listing: Command) -> None:
        """How it ended, and whether it had a reason not to be finished."""
        begin = listing.said.find("[")
        if begin < 0:
            self.lies.append(f"`ps` ended with {listing.process.code} and listed nothing: {listing.said[-300:]}")
            return
        rows = json.JSONDecoder().raw_decode(listing.said[begin:])[0]
        (state,) = [row["state"] for row in rows if row["run"] == self.run] or ["?"]
        self.story.append(f"state in the end: {state}")
        self.facts.append(state)
        if state != "finished":
            self.facts.append(f"not finished because of {self.allowance()}")
            if not self.allowance():
                self.lies.append(f"nothing kept it from its end, and it is {state}")
        objects = self.objects()
        if state == "finished" and objects.get("output/adapter_config.json", b"").decode() != result(
            self.knobs["steps"]
        ):
            self.lies.append("it is called finished, and the result in the bucket is not whole")
        if state in ("running", "starting", "unknown"):
            self.lies.append(f"in the end it is {state}")
        if [name for name in objects if name.startswith("tickets/")]:
            self.lies.append("a ticket is left")

    def allowance(self) -> str:
        """Why the run need not be finished; "" when it has to be."""
        if reasons := STOPS & set(self.happened):
            return f"`{min(reasons)}`"
        if self.knobs.get("fail") or self.knobs.get("short"):
            return "a trainer that was to fail, or a short time"
        if (
            not self.machines or "machine.json" not in self.objects()
        ):  # the last attempt never had one, as far as is known
            if self.cloud_faults():
                return "faults of the cloud, and no machine"
            if (DEATHS | TAKEN) & set(self.happened):
                return "a machine that nobody ever knew"
        taken = sum(what in TAKEN for what in self.happened)
        # RunPod gives up a pod that may run by then: that is a machine taken away like any other.
        if self.world.target == "runpod":
            taken += sum(kind == "no_capacity_later" for _, kind in self.world.fake.faults.happened)
        return "more machines taken away than it may have" if taken > int(self.knobs["restarts"]) else ""

    # The log

    def log(self, logs: Command) -> None:
        """No gap, nothing twice, equal to what was written where an attempt ended properly, else a prefix of it."""
        objects = self.objects()
        whole = b""
        for name in sorted(each for each in objects if each.startswith("log/")):
            if int(name[4:]) != len(whole):
                self.lies.append(f"{LOG}the log has a gap or an overlap at {name}, {len(whole)} bytes before it")
            whole += objects[name]
        printed = logs.person.output.read_bytes()[logs.begin_byte :]
        if printed != whole:
            self.lies.append(f"{LOG}`logs` printed {len(printed)} bytes, the bucket has {len(whole)}")
        attempts = sorted(self.attempts(), key=lambda each: (each["log_bytes"], each["attempt"]))
        ends = [each["log_bytes"] for each in attempts[1:]] + [len(whole)]
        records = self.exits(objects)
        if not attempts and whole:
            self.lies.append(f"{LOG}{len(whole)} bytes of log, and no machine wrote any")
        for attempt, end in zip(attempts, ends, strict=False):
            here, there = whole[attempt["log_bytes"] : end], attempt["written"]
            record = records.get(attempt["attempt"])
            proper = record is not None and record.get("log_bytes") == attempt["log_bytes"] + len(there)
            if (proper and here != there) or not there.startswith(here):
                self.lies.append(
                    f"{LOG}attempt {attempt['attempt']} wrote {len(there)} bytes of log, {len(here)} of other ones are at home; "
                    f"{record}"
                )
            if record and not proper and record.get("reason") in PROPER and "reboot" not in self.happened:
                self.lies.append(
                    f"{LOG}attempt {attempt['attempt']} wrote {len(there)} bytes of log, and said {record}"
                )
            if len(here) < attempt["shipped"]:
                self.lies.append(
                    f"{LOG}attempt {attempt['attempt']} shipped {attempt['shipped']} bytes, {len(here)} are there"
                )

    def exits(self, objects: Mapping[str, bytes]) -> dict[int, dict[str, Any]]:
        """Exit records by attempt."""
        found = [json.loads(objects["exit.json"])] if "exit.json" in objects else []
        earlier = [json.loads(data) for name, data in objects.items() if name.startswith("attempts/")]
        found += [each["exit"] for each in earlier if each.get("exit")]
        return {int(each["attempt"]): each for each in found if "attempt" in each}

    def attempts(self) -> list[dict[str, Any]]:
        """What lies on the disks of the machines: attempt, where its log begins, what its trainers wrote."""
        room = self.world.fake.room
        found: dict[int, dict[str, Any]] = {}
        boxes = [box for each in room.ended.values() for box in each] + list(room.running.values())
        tickets = [
            path
            for box in boxes
            for path in (*box.folder.glob("lost/*/*/ticket.json"), *box.folder.glob("cloudtrain/*/ticket.json"))
        ]
        for path in tickets:
            ticket = json.loads(path.read_text())
            written = b"".join(piece.read_bytes() for piece in sorted((path.parent / "run" / "log").glob("*")))
            notes = path.parent / "agent.json"
            shipped = int((json.loads(notes.read_text()) if notes.exists() else {}).get("log") or 0)
            known = {
                "attempt": ticket["attempt"],
                "log_bytes": ticket["log_bytes"],
                "written": written,
                "shipped": shipped,
            }
            if ticket["attempt"] not in found or len(written) > len(found[ticket["attempt"]]["written"]):
                found[ticket["attempt"]] = known
        return list(found.values())

    def papers(self) -> list[str]:
        """What to read after a trial that went wrong: exit records, what was printed, what machines have said."""
        found = [f"exit record: {record}" for record in self.exits(self.objects()).values()]
        for path in sorted(self.world.folder.glob("person-*/output.txt")):
            found.append(f"{path.parent.name}: {path.read_text(errors='replace')[-2000:]}")
        room = self.world.fake.room
        for box in [box for each in room.ended.values() for box in each]:
            boot = box.folder / "cloudtrain" / "boot.log"
            told = boot.read_text(errors="replace") if boot.exists() else ""
            found.append(f"machine {box.folder.name}: {(box.console() + told)[-2000:]}")
        return found

    # Secrets

    def secrets(self) -> None:
        """No planted secret and no signed address lies in the bucket, in a home or in what was printed."""
        planted = [secret.encode() for secret in self.world.both.secrets()]
        places = {**self.world.objects()}
        for path in self.world.folder.glob("person-*/**/*"):
            if path.is_file():
                places[str(path.relative_to(self.world.folder))] = path.read_bytes()
        for name, data in places.items():
            if any(secret in data for secret in planted) or b"X-Amz-Signature" in data:
                self.lies.append(f"{name} holds a secret")
