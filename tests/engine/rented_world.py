"""Fake clouds whose machines run, with the bucket beside them: what tests of whole jobs on them share."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.simulator.aws import s3
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.cloud_with_bucket import Together
from cloudtrain.simulator.http_server import Fake
from tests.campaign.client import Client, Ended
from tests.campaign.clouds import fake

STATE = "s3://bucket-state/team?region=us-east-1"
MINE = "team/runs/mine/"
UP = ("up", "-y", "--accept-stale", "--experimental", "--name", "mine")
PATIENCE_S = 600.0  # of a machine that others use too, and that may compute slowly
# RunPod publishes no price of its CPU pods; this is what the fake one asks for.
POD = "runpod,cpu5c x4,cpu,,,,4,8,EU-RO-1,,0.14,,per second,cpu torch,yes,2026-11-01,the fake RunPod,,\n"


class Cloud(NamedTuple):
    """A cloud, and the words with which `up` comes to a machine of it."""

    make: Callable[[Clock], Fake]
    words: tuple[str, ...]
    accelerator: str = "cpu"


CLOUDS = {
    "aws": Cloud(fake("aws", "AwsCloud"), ("--infra", "aws/us-east-1", "--hardware", "cpu-amx")),
    "gcp": Cloud(fake("gcp.compute", "GceCloud"), ("--infra", "gcp/us-central1", "--hardware", "cpu-amx")),
    "runpod": Cloud(fake("runpod", "RunpodCloud"), ("--infra", "runpod", "--hardware", "cpu", "--accept-risk")),
    "mi300x": Cloud(
        fake("runpod", "RunpodCloud"), ("--infra", "runpod", "--hardware", "mi300x", "--accept-risk"), "rocm"
    ),
}
SPOT = {"aws": "--spot", "gcp": "--spot"}  # RunPod has no such market


def client_of(folder: Path, both: Together, state: str, **more: str) -> Client:
    """A client in `folder` with an empty home of its own there, on the cloud and its bucket."""
    home = folder / "home"
    home.mkdir(parents=True)
    root = str(import_module("cloudtrain.stacks._pulumi.command").find())
    own = {"HOME": str(home), "CLOUDTRAIN_CACHE": str(home / "cache"), "CLOUDTRAIN_PULUMI_ROOT": root, **more}
    return Client(folder, both.fake, **both.environment(), **own, CLOUDTRAIN_STATE=state)


class World:
    """One of the clouds, its bucket, and as many homes as a test wants."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.cloud = name, folder, CLOUDS[name]
        made: Any = self.cloud.make(Clock())
        self.fake, self.both = made, Together(made)
        self.buckets: Any = self.both.buckets
        self.both.bucket("bucket-state")
        made.machines_run = True
        self.room = made.room
        self.room.environment.update(HF_HUB_OFFLINE="1")
        self.catalog = folder / "catalog"
        shutil.copytree(str(files("cloudtrain.pricing").joinpath("snapshots")), self.catalog)
        shown = (self.catalog / "runpod.csv").read_text().splitlines(keepends=True)
        rows = [row for row in shown if not row.startswith("runpod,cpu5c")]
        (self.catalog / "runpod.csv").write_text("".join([*rows, POD]))

    def client(self, home: str) -> Client:
        """A client with an empty home of that name."""
        more = {"CLOUDTRAIN_CATALOG": str(self.catalog), "HF_HUB_OFFLINE": "1"}
        return client_of(self.folder / home, self.both, STATE, **more)

    def newcomer(self, home: str) -> Client:
        """A client elsewhere, with nothing: neither spec nor data."""
        made = self.client(home)
        for name in ("cloudtrain.yaml", "data.jsonl"):
            (made.folder / name).unlink()
        return made

    def use_cache(self, cache: Path) -> None:
        """The machines' cache, with the trainer's environment in it; a CPU plays the accelerator where one is asked."""
        self.room.environment.update(CLOUDTRAIN_CACHE=str(cache))
        if self.cloud.accelerator != "cpu":
            self.room.environment.update(CLOUDTRAIN_PRETEND_ACCELERATOR=self.cloud.accelerator)

    def knobs(self, **values: object) -> None:
        """What the fake trainer does on every machine from now on."""
        self.room.environment["FAKE_TRAINER"] = json.dumps(values)

    def put(self, key: str, data: bytes) -> None:
        """An object that somebody has put into the state."""
        wire = import_module("cloudtrain.simulator.aws.wire")
        wire.backend("s3", self.buckets.account, "aws").put_object("bucket-state", f"team/{key}", data)

    def objects(self) -> dict[str, bytes]:
        """The run's documents in the bucket."""
        found = s3.objects(self.buckets, "bucket-state", MINE)
        return {name.removeprefix(MINE): data for name, data in found.items()}

    def log(self) -> bytes:
        """The run's log in the bucket; its chunks have no gap and do not overlap."""
        chunks = s3.objects(self.buckets, "bucket-state", MINE + "log/")
        found = {int(name.rpartition("/")[2]): data for name, data in chunks.items()}
        whole = b""
        for start in sorted(found):
            assert start == len(whole)
            whole += found[start]
        return whole

    def machine_logs(self) -> bytes:
        """What the trainers wrote on the machines, in the order in which these were made."""
        boxes = [box for each in self.room.ended.values() for box in each] + list(self.room.running.values())
        paths = [path for box in boxes for path in sorted(box.folder.glob("cloudtrain/*/run/log/*"))]
        return b"".join(path.read_bytes() for path in paths)

    def told(self, ended: Ended) -> str:
        """What went wrong, for an assertion."""
        consoles = [self.room.console(name) for name in [*self.room.ended, *self.room.running]]
        boxes = [box for each in self.room.ended.values() for box in each] + list(self.room.running.values())
        boots = [path.read_text() for box in boxes for path in box.folder.glob("cloudtrain/boot.log")]
        return "\n".join([ended.out[-3000:], ended.err, *consoles, *boots])

    def take_back(self, machine: str, notice_s: float) -> None:
        """The provider takes a machine back and says so before."""
        if self.name == "gcp":
            machine = self._instance(machine)["name"]
        self.fake.preempt(machine, notice_s)

    def _instance(self, machine: str) -> Any:
        return next(each for each in self.fake.estate.of("instances") if each["id"] == machine)

    def lose(self, machine: str) -> None:
        """A machine ends behind everybody's back, without notice or last word."""
        with self.fake.clock.lock:
            if self.name == "aws":
                ended = import_module("cloudtrain.simulator.aws.machines").end
                ended(self.fake, self.fake.machines[machine], "Server.InternalError", "somebody pulled the plug")
            elif self.name == "gcp":
                self.fake.machines.end(self._instance(machine), "DELETE")
            else:
                self.fake.pods.end_container(machine, "EXITED")

    def let_time_pass(self, seconds: float) -> None:
        """The cloud's clock goes on at once; the machine's own timer learns of it as it learns that a clock is wrong."""
        self.fake.clock.advance(seconds)
        for box in self.room.running.values():
            (box.folder / "cloudtrain" / "ahead").write_text(f"{seconds:.0f}\n")

    def wait_for_step(self, least: int) -> None:
        """Until the log in the bucket tells of that step."""
        wait_for(lambda: max(steps(self.log()), default=0) >= least, f"step {least}")

    def wait_for_quiet(self) -> None:
        """Until no machine runs."""
        wait_for(lambda: not self.room.running, "the machine's own end")


@contextmanager
def world(name: str, folder: Path) -> Iterator[World]:
    """A cloud that is gone afterwards."""
    made = World(name, folder)
    try:
        yield made
    finally:
        made.both.stop()


def wait_for(happened: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What `happened` returns once it is true."""
    give_up = time.monotonic() + patience_s
    while not (found := happened()):
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.05)
    return found


def events(log: bytes, kind: str) -> list[dict[str, Any]]:
    """The trainer's events of one kind in a log."""
    found = [json.loads(line) for line in log.splitlines() if line.startswith(b"{")]
    return [event for event in found if event["event"] == kind]


def steps(log: bytes) -> list[int]:
    """The steps that a log tells of, in their order."""
    return [event["step"] for event in events(log, "step")]


def report(client: Client) -> dict[str, Any]:
    """The run's account."""
    ended = client.run("report", "mine", "-o", "json")
    assert ended.code == 0, ended.err
    found: dict[str, Any] = json.loads(ended.out)
    return found


def to_the_end(client: Client, *words: str) -> Ended:
    """A command that trains for real: it may take longer than the client's usual patience. Both outputs are one."""
    code = client.start("-m", "cloudtrain", *words).wait(PATIENCE_S)
    return Ended(code, (client.folder / "output.txt").read_text(), "")


def until_not_held(client: Client, *words: str) -> Ended:
    """A command, again while the lease of a killed client holds: it is seen that its process is dead."""
    give_up = time.monotonic() + 60
    while True:
        ended = client.run(*words)
        if ended.code != 101 or time.monotonic() > give_up:
            return ended
        time.sleep(0.2)
