"""Fake clouds whose machines run, with the bucket beside them: what tests of whole jobs on them share."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.cloud_with_bucket import Together
from cloudtrain.simulator.gcp.storage import GcsCloud
from cloudtrain.simulator.http_server import Fake
from cloudtrain.simulator.sandbox import Sandbox
from cloudtrain.trainer import environment
from tests.campaign.client import Client, Ended, installed_engine
from tests.campaign.clouds import fake
from tests.campaign.fork_server import ForkServer
from tests.campaign.forked_client import ForkedClient
from tests.fakes import TRAINER
from tests.patience import PATIENCE_S

BUCKET, TEAM = "bucket-state", "team"
MINE = f"{TEAM}/runs/mine/"
UP = ("up", "-y", "--accept-stale", "--experimental", "--name", "mine")
# RunPod publishes no price of its CPU pods; this is what the fake one asks for.
POD = "runpod,cpu5c x4,cpu,,,,4,8,EU-RO-1,,0.14,,per second,cpu torch,yes,2026-11-01,the fake RunPod,,\n"


class Cloud(NamedTuple):
    """A cloud, and the words with which `up` comes to a machine of it."""

    make: Callable[[Clock], Fake]
    words: tuple[str, ...]
    create: str  # the call that makes a machine
    accelerator: str = "cpu"


AWS = Cloud(fake("aws", "AwsCloud"), ("--infra", "aws/us-east-1", "--hardware", "cpu-amx"), "RunInstances")
GCP = Cloud(
    fake("gcp.compute", "GceCloud"), ("--infra", "gcp/us-central1", "--hardware", "cpu-amx"), "instances.insert"
)
PODS = fake("runpod", "RunpodCloud")
COMPUTE, SLICES = fake("gcp.compute", "GceCloud"), fake("gcp.tpu", "TpuCloud")
US = ("--infra", "gcp/us-central1")
TPUS = {
    "v6e": Cloud(COMPUTE, (*US, "--hardware", "tpu-v6e:1"), "instances.insert", "tpu"),
    "v6e-4": Cloud(COMPUTE, (*US, "--hardware", "tpu-v6e:4"), "instances.insert", "tpu"),
    "v5e": Cloud(SLICES, (*US, "--hardware", "tpu-v5e:4"), "Tpu.CreateQueuedResource", "tpu"),
    "v6e-16": Cloud(COMPUTE, (*US, "--hardware", "tpu-v6e:16"), "instanceGroupManagers.insert", "tpu"),
    "v5e-16": Cloud(SLICES, (*US, "--hardware", "tpu-v5e:16"), "Tpu.CreateQueuedResource", "tpu"),
}
CLOUDS = {
    "aws": AWS,
    "gcp": GCP,
    "runpod": Cloud(PODS, ("--infra", "runpod", "--hardware", "cpu", "--accept-risk"), "createPod"),
    "mi300x": Cloud(PODS, ("--infra", "runpod", "--hardware", "mi300x", "--accept-risk"), "createPod", "rocm"),
}
SPOT = {"aws": "--spot", "gcp": "--spot"}  # RunPod has no such market


def fake_trainer(cache: Path, flavour: str = "cpu") -> Path:
    """A cache with a trainer's environment in which every program is the fake trainer."""
    wanted = environment._folder(flavour).name
    python = cache / "environments" / wanted / "bin" / "python"
    python.parent.mkdir(parents=True)
    (cache / "trainer.py").write_text(TRAINER)
    python.write_text(f'#!/bin/sh\nfor last in "$@"; do :; done\nexec {sys.executable} -u {cache}/trainer.py "$last"\n')
    python.chmod(0o755)
    return cache


class World:
    """One of the clouds, its bucket, and as many homes as a test wants.

    With a fork server, commands are forked and the fake engine makes the machines; without, both are the real ones.
    """

    def __init__(self, name: str, folder: Path, server: ForkServer | None = None, state: str = "s3") -> None:
        self.name, self.folder, self.cloud, self.server = name, folder, {**CLOUDS, **TPUS}[name], server
        made: Any = self.cloud.make(Clock())
        self.fake = made
        self.both = Together(made, GcsCloud(made.clock) if state == "gs" else None)
        self.buckets: Any = self.both.buckets
        self.both.bucket(BUCKET)
        self.state = f"{state}://{BUCKET}/{TEAM}" + ("?region=us-east-1" if state == "s3" else "")
        made.machines_run = True
        if self.cloud.make is SLICES:
            made.tpu.wait_s = made.tpu.boot_s = made.tpu.delete_s = 0.1  # Google takes minutes
        self.room = made.room
        self.room.environment.update(HF_HUB_OFFLINE="1")
        self.catalog = folder / "catalog"
        shutil.copytree(str(files("cloudtrain.pricing").joinpath("snapshots")), self.catalog)
        shown = (self.catalog / "runpod.csv").read_text().splitlines(keepends=True)
        rows = [row for row in shown if not row.startswith("runpod,cpu5c")]
        (self.catalog / "runpod.csv").write_text("".join([*rows, POD]))
        self.clients: list[Client] = []

    @property
    def up(self) -> tuple[str, ...]:
        """What `up` is told to come to a machine of this cloud."""
        return (*UP, "--max-hours", "1h", *self.cloud.words)

    def client(self, name: str, **more: str) -> Client:
        """A client with an empty home of that name."""
        folder = self.folder / name
        home = folder / "home"
        home.mkdir(parents=True)
        root = installed_engine(home / "cache") if self.server is None else ""
        more = {
            **self.both.environment(),
            "HOME": str(home),
            "CLOUDTRAIN_CACHE": str(home / "cache"),
            "CLOUDTRAIN_PULUMI_ROOT": root,
            "CLOUDTRAIN_CATALOG": str(self.catalog),
            "CLOUDTRAIN_STATE": self.state,
            "HF_HUB_OFFLINE": "1",
            **more,
        }
        if self.server is None:
            made = Client(folder, self.fake, **more)
        else:
            made = ForkedClient(self.server, folder, self.fake, **more)
        self.clients.append(made)
        return made

    def newcomer(self, home: str) -> Client:
        """A client elsewhere, with nothing: neither spec nor data."""
        made = self.client(home)
        for name in ("cloudtrain.yaml", "data.jsonl"):
            (made.folder / name).unlink()
        return made

    def use_fake_trainer(self) -> None:
        """On every machine, in the environment that its accelerator wants."""
        flavour = {"tpu": "jax"}.get(self.cloud.accelerator, self.cloud.accelerator)  # that a fake machine takes
        self.room.environment.update(CLOUDTRAIN_CACHE=str(fake_trainer(self.folder / "image", flavour)))

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
        wire.backend("s3", self.buckets.account, "aws").put_object(BUCKET, f"{TEAM}/{key}", data)

    def lose_objects(self, part: str) -> None:
        """Objects of whose names this is a part are gone from the bucket."""
        wire = import_module("cloudtrain.simulator.aws.wire")
        keys = wire.backend("s3", self.buckets.account, "aws").buckets[BUCKET].keys
        for name in [name for name in self.both.objects(BUCKET) if part in name]:
            keys.pop(name)

    def objects(self) -> dict[str, bytes]:
        """The run's documents in the bucket, those of its machine under their names there."""
        found = self.both.objects(BUCKET)
        mine = {name.removeprefix(MINE): data for name, data in found.items() if name.startswith(MINE)}
        return {name.removeprefix("machine/"): data for name, data in mine.items()}

    def checkpoint(self) -> int:
        """The step of the newest checkpoint in the bucket, or 0."""
        return int(self.objects().get("ckpt/LATEST", b"0"))

    def objects_with_a_secret(self) -> list[str]:
        """Objects that hold a planted secret or a signed address, wherever in the bucket."""
        bad = [*(secret.encode() for secret in self.both.secrets()), b"X-Amz-Signature", b"X-Goog-Signature"]
        return [name for name, data in self.both.objects(BUCKET).items() if any(each in data for each in bad)]

    def log(self) -> bytes:
        """The run's log in the bucket; its chunks have no gap and do not overlap."""
        chunks = {name: data for name, data in self.objects().items() if name.startswith("log/")}
        found = {int(name.rpartition("/")[2]): data for name, data in chunks.items()}
        whole = b""
        for start in sorted(found):
            assert start == len(whole)
            whole += found[start]
        return whole

    def boxes(self) -> list[Sandbox]:
        """The machines that have run and that run, in the order in which they were made."""
        return [box for each in self.room.ended.values() for box in each] + list(self.room.running.values())

    def the_machine(self) -> Sandbox:
        """The only one that runs."""
        (sandbox,) = self.room.running.values()
        return sandbox

    def machine_logs(self) -> bytes:
        """What the trainers wrote on the machines, in the order in which these were made."""
        paths = [path for box in self.boxes() for path in sorted(box.folder.glob("cloudtrain/*/run/log/*"))]
        return b"".join(path.read_bytes() for path in paths)

    def told(self, ended: Ended) -> str:
        """What went wrong, for an assertion."""
        consoles = [self.room.console(name) for name in [*self.room.ended, *self.room.running]]
        boots = [path.read_text() for box in self.boxes() for path in box.folder.glob("cloudtrain/boot.log")]
        return "\n".join([ended.out[-3000:], ended.err, *consoles, *boots])

    @contextmanager
    def held_creates(self) -> Iterator[None]:
        """Inside the block, what asks for a machine is on its way and makes none; after it, it goes on."""
        gate, perform = threading.Event(), self.fake._perform

        def held(call: str, request: Any) -> Any:
            if call == self.cloud.create:
                gate.wait(PATIENCE_S)
            return perform(call, request)

        self.fake._perform = held
        try:
            yield
        finally:
            self.fake._perform = perform
            gate.set()

    def take_back(self, machine: str, notice_s: float) -> None:
        """The provider takes a machine back and says so before."""
        if self.is_compute_engine:
            machine = self._instance(machine)["name"]
        self.fake.preempt(machine, notice_s)

    @property
    def is_compute_engine(self) -> bool:
        """Whether its machines are Google's instances."""
        return self.cloud.make in (COMPUTE, GCP.make)

    def _instance(self, machine: str) -> Any:
        return next(each for each in self.fake.table.of("instances") if each["id"] == machine)

    def lose(self, machine: str) -> None:
        """A machine ends behind everybody's back, without notice or last word."""
        with self.fake.clock.lock:
            if self.name == "aws":
                ended = import_module("cloudtrain.simulator.aws.machines").end
                ended(self.fake, self.fake.machines[machine], "Server.InternalError", "somebody pulled the plug")
            elif self.is_compute_engine:
                self.fake.machines.end(self._instance(machine), "DELETE")
            elif self.cloud.make is SLICES:
                self.fake.crash(machine)
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
def world(name: str, folder: Path, server: ForkServer | None = None, state: str = "s3") -> Iterator[World]:
    """A cloud that is gone afterwards, with the commands that a test has left behind."""
    made = World(name, folder, server, state)
    try:
        yield made
    finally:
        for client in made.clients:
            if isinstance(client, ForkedClient):
                client.kill_all()
        made.both.stop()


def wait_for(happened: Callable[[], Any], what: str, process: Any = None) -> Any:
    """What `happened` returns once it is true; fails when it does not become so, or the process ends before."""
    give_up = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        assert process is None or process.poll() is None, f"it ended with {process.returncode}, before {what}"
        time.sleep(0.05)
    return found


def said(client: Client) -> str:
    """What commands that were begun have said."""
    return (client.folder / "output.txt").read_text()


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


def until_not_held(client: Client, *words: str) -> Ended:
    """A command, again while the lease of a killed client holds: it is soon seen that its process is dead."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        ended = client.run(*words)
        if "another client holds" not in ended.out + ended.err or time.monotonic() > give_up:
            return ended
        time.sleep(0.2)
