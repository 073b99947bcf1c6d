"""What nights need around them in one process: a movable clock, a fake cloud, a bucket in memory, machines that play.

The product's own code runs from the command line to the calls of the cloud. Stand-ins are the engine, as in `fake_engine.py` but
in this process, and the machine: it writes into the bucket what a real one would, at its time by the movable clock.
A client that is killed does nothing any more, from one call to the next: no `finally` of it reaches bucket or cloud.
"""

from __future__ import annotations

import contextlib
import heapq
import io
import itertools
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from obstore.store import MemoryStore

from cloudtrain.errors import CloudtrainError, Unavailable
from cloudtrain.providers import Stack, load
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.cloud_with_bucket import Together
from cloudtrain.state import bucket as bucket_module
from cloudtrain.state import lease
from cloudtrain.state.bucket import ObjectFolder
from tests.campaign.clouds import TARGETS
from tests.campaign.fake_engine import FakeEngine, key
from tests.campaign.in_process import explosive
from tests.campaign.parts import crud
from tests.campaign.toy_engine import Killed
from tests.records import put, raw

STATE = "s3://nights/team?region=us-east-1"
PLACES = {
    "aws": ("--infra", "aws/us-east-1", "--hardware", "cpu-amx", "--spot"),
    "gce": ("--infra", "gcp/us-central1", "--hardware", "cpu-amx", "--spot"),
    "tpu": ("--infra", "gcp/us-central1", "--hardware", "cpu-amx", "--spot"),
    "runpod": ("--infra", "runpod", "--hardware", "mi300x", "--accept-risk"),
}
ROW = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
SPEC = (
    "model: HuggingFaceTB/SmolLM2-135M-Instruct\nmethod: lora\ndata: data.jsonl\nmax_steps: {}\nsequence_length: 128\n"
)
STEPS = {"aws": 45_000, "gce": 23_000, "tpu": 23_000, "runpod": 2_700_000}  # a deadline of three to four hours
BOOT_S = 120.0
# A slice that the catalogue here calls a processor: no trainer of ours runs on a TPU yet, and a night does not depend on it.
SLICE = "gcp,v5litepod-4,cpu-amx,,,,112,192,us-central1,a,4.80,1.92,per second,cpu torch,yes,2026-11-01,a campaign,VERIFIED,,tpu"


class Fuse:
    """Ends a client at one of its calls. From then on every call of it ends it again."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.dead = False
        self.calls = 0

    def arm(self, calls: int | None) -> None:
        """A new client, which lives for so many calls; None: to its end."""
        self.left, self.dead, self.calls = calls, False, 0

    def tick(self) -> None:
        """One more call."""
        self.calls += 1
        if self.left is not None and self.calls > self.left:
            self.dead = True
        if self.dead:
            raise Killed


class FusedFolder(ObjectFolder):
    """The state in a bucket in memory, each call of which may be its client's last, before it or after it."""

    world: NightsWorld

    def __init__(self, url: str, objects: Any = None) -> None:
        super().__init__(url, self.world.objects)
        self.fuse = self.world.fuse

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        self.fuse.tick()
        with super().hold(key):
            self.fuse.tick()
            yield


def fused(name: str) -> Any:
    """A method of a state with the fuse on both sides."""
    method = getattr(ObjectFolder, name)

    def call(self: FusedFolder, *given: Any, **more: Any) -> Any:
        self.fuse.tick()
        answer = method(self, *given, **more)
        self.fuse.tick()
        return answer

    return call


for _name in (
    "read",
    "read_from",
    "write",
    "create",
    "append",
    "size",
    "delete",
    "children",
    "files",
    "holder",
    "upload",
):
    setattr(FusedFolder, _name, fused(_name))


def catalog(folder: Path) -> Path:
    """The shipped catalogue with the slice as Google's only row."""
    shutil.copytree(str(files("cloudtrain.pricing").joinpath("snapshots")), folder)
    path = folder / "gcp.csv"
    path.write_text(path.read_text().partition("\n")[0] + f"\n{SLICE}\n")
    return folder


class Machine(NamedTuple):
    """What was asked for: a machine for an attempt of a run."""

    run: str
    attempt: int
    kind: str
    inputs: Mapping[str, Any]
    id: str


class Plays:
    """How machines fare: seconds that a training takes, whether the next one is taken back, whether it fails."""

    def __init__(self) -> None:
        self.training_s = 1500.0
        self.preempts: Callable[[], bool] = lambda: False
        self.fails: Callable[[], bool] = lambda: False


class InProcessEngine(FakeEngine):
    """The stand-in engine, at work in this process, with the world's clock and fuse."""

    world: NightsWorld

    def operate(self, wanted: Mapping[str, Any]) -> Any:
        """Under the stack's lock, which stays when the client is killed."""
        folder = import_module("cloudtrain.stacks._pulumi.owners").lock_folder(self.run)
        if self.store.children(folder):
            raise Unavailable("the stack is currently locked")
        lock = f"{folder}/{next(self.world.numbers)}.json"
        who = {"pid": 1 << 30, "username": "runner", "hostname": socket.gethostname(), "timestamp": "now"}
        put(self.store, lock, who)
        try:
            return self.up_here(wanted) if wanted["what"] == "up" else self.destroy_here()
        finally:
            self.store.delete(lock)

    def protocol(self, cloud: str) -> Any:
        """What the crash protocol needs."""
        record = load("stacks", cloud, Stack).cloud
        launch = import_module("cloudtrain.stacks._pulumi.launch")
        return launch.World(cloud, record, launch.Journal(self.store, self.run))

    def up_here(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Make one after the other."""
        cloud = str(wanted["cloud"])
        record = raw(self.store, key(self.run)) or {"made": [], "waiting": []}
        record["cloud"] = cloud
        protocol = self.protocol(cloud)
        done: dict[str, dict[str, Any]] = {}
        for role, kind, inputs, after in wanted["resources"]:
            needs = {name: {**done[name]["outputs"], "id": done[name]["id"]} for name in after}
            filled = json.loads(json.dumps({**inputs, "needs": needs} if after else inputs))
            record["waiting"].append([kind, filled])
            put(self.store, key(self.run), record)
            failure: BaseException | None = None
            try:
                seen = crud().create(protocol, kind, filled)
            except crud().HalfMade as half:
                seen, failure = half.seen, half.cause
            except CloudtrainError:
                record["waiting"].pop()
                put(self.store, key(self.run), record)
                raise
            record["waiting"].pop()
            record["made"].append([kind, filled, seen.id])
            put(self.store, key(self.run), record)
            if failure is not None:
                raise failure
            done[role] = {"id": seen.id, "outputs": dict(seen.outputs)}
        return done

    def destroy_here(self) -> dict[str, Any]:
        """Backwards; one failure does not keep the others alive."""
        record = raw(self.store, key(self.run)) or {"made": [], "waiting": []}
        failure: CloudtrainError | None = None
        for kind, inputs, made in list(reversed(record["made"])):
            try:
                crud().delete(self.protocol(str(record["cloud"])), kind, inputs, made)
            except CloudtrainError as error:
                failure = error
                continue
            record["made"].remove([kind, inputs, made])
        put(self.store, key(self.run), record)
        if failure is not None:
            raise failure
        return {}


class NightsWorld:
    """A context manager. `tick(words)` gives a command as the next client; `until(t)` lets time pass."""

    def __init__(self, name: str, start: float) -> None:
        self.name, self.target = name, TARGETS[name]
        self.clock = Clock(start)
        self.fuse, self.plays = Fuse(), Plays()
        self.objects = MemoryStore()
        self.numbers = itertools.count(1)
        self.folder = Path(tempfile.mkdtemp(prefix="cloudtrain-nights-"))
        self.host = "runner-0"
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.machines: list[Machine] = []
        self.undo = contextlib.ExitStack()

    def __enter__(self) -> NightsWorld:
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
            made: Any = self.target.fake(self.clock)
            self.fake, self.both = made, Together(made)
            undo.callback(self.both.stop)
            self.write_spec(STEPS[self.name])
            self.change_data(0)
            (self.folder / ".git").mkdir()
            self.surround(undo)
            self.undo = undo.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self.undo.close()

    def surround(self, undo: contextlib.ExitStack) -> None:
        """Clock, bucket, engine and fuse in the place of the real ones."""
        environment = dict(os.environ)
        undo.callback(lambda: (os.environ.clear(), os.environ.update(environment)))
        os.environ.update(self.both.environment())
        os.environ.update(
            CLOUDTRAIN_STATE=STATE,
            CLOUDTRAIN_CACHE=str(self.folder / "cache"),
            CLOUDTRAIN_CONFIG=str(self.folder / "config.toml"),
            CLOUDTRAIN_DEBUG="1",
            HF_HUB_OFFLINE="1",
            NO_GCE_CHECK="true",
            CLOUDSDK_CONFIG=str(self.folder / "gcloud"),
        )
        os.environ.pop("CLOUDTRAIN_NOW", None)
        if self.name == "tpu":
            os.environ["CLOUDTRAIN_CATALOG"] = str(catalog(self.folder / "catalog"))
        before = Path.cwd()
        os.chdir(self.folder)
        undo.callback(os.chdir, before)

        def swap(owner: Any, name: str, new: Any) -> None:
            old = getattr(owner, name)
            object.__setattr__(owner, name, new) if isinstance(owner, type(self.cloud)) else setattr(owner, name, new)
            undo.callback(
                lambda: (
                    object.__setattr__(owner, name, old)
                    if isinstance(owner, type(self.cloud))
                    else setattr(owner, name, old)
                )
            )

        found = load("stacks", self.target.provider, Stack).cloud
        assert found is not None
        self.cloud = found
        launch = import_module("cloudtrain.stacks._pulumi.launch")
        journal = partial(launch.Journal, now=self.clock.now)
        swap(launch, "Journal", journal)
        swap(launch, "World", partial(launch.World, now=self.clock.now, sleep=self.clock.sleep))
        swap(launch, "Engine", type("Engine", (InProcessEngine,), {"world": self}))
        swap(self.cloud, "drivers", {kind: self.driver(kind, each) for kind, each in self.cloud.drivers.items()})
        listing = self.cloud.list_owned
        swap(self.cloud, "list_owned", lambda run, places: self.listed(listing, run, places))
        swap(bucket_module, "ObjectFolder", type("Folder", (FusedFolder,), {"world": self}))
        swap(lease, "release", self.released(lease.release))
        swap(lease, "is_dead", lambda objects, path, seen: self.clock.now() - seen.record.time > lease.LEASE_S)
        swap(lease, "this_machine", lambda: self.host)
        swap(socket, "gethostname", lambda: self.host)
        with contextlib.suppress(ImportError):  # it gives its deadlines to a library that has the real time
            channel = import_module("grpc._channel")
            swap(channel, "time", SimpleNamespace(**vars(time)))
        swap(time, "time", self.clock.now)
        swap(time, "monotonic", self.clock.now)
        swap(time, "sleep", self.clock.sleep)

    def driver(self, kind: str, driver: Any) -> Any:
        """A driver whose calls may be the last, and whose machine begins to play when it is made."""

        def create(inputs: Mapping[str, Any]) -> Any:
            seen = driver.create(inputs)
            if inputs.get("role") == "machine":
                self.begins(kind, inputs, seen.id)
            return seen

        return explosive(driver._replace(create=create), self.fuse)  # type: ignore[arg-type]

    def listed(self, listing: Any, run: Any, places: Any) -> Iterator[Any]:
        """The cloud's list, with the fuse."""
        self.fuse.tick()
        yield from listing(run, places)
        self.fuse.tick()

    def released(self, release: Any) -> Any:
        """A dead client gives no lease back."""

        def call(*given: Any) -> None:
            self.fuse.tick()
            release(*given)

        return call

    @property
    def store(self) -> ObjectFolder:
        """The state, for who looks at it from outside."""
        return ObjectFolder(STATE, self.objects)

    def write_spec(self, steps: int) -> None:
        """A spec of so many steps: they decide what a run may take and cost at the most, not how long a machine plays."""
        (self.folder / "cloudtrain.yaml").write_text(SPEC.format(steps))

    def change_data(self, number: int) -> None:
        """Another row of training data."""
        rows = [json.dumps(ROW)] * 4 + [json.dumps({"messages": [*ROW["messages"], {"role": "user", "content": f"n{number}"},
                {"role": "assistant", "content": "yes"}]})]  # fmt: skip
        (self.folder / "data.jsonl").write_text("\n".join(rows) + "\n")

    # Time

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Let something happen at an instant."""
        heapq.heappush(self.events, (when, next(self.numbers), what))

    def until(self, instant: float) -> None:
        """Let time pass, and what is due meanwhile happen; a moment that is over already is now."""
        while self.events and self.events[0][0] <= instant:
            when, _, what = heapq.heappop(self.events)
            self.clock.advance(max(0.0, when - self.clock.now()))
            what()
        self.clock.advance(max(0.0, instant - self.clock.now()))

    # Machines

    def begins(self, kind: str, inputs: Mapping[str, Any], id_: str) -> None:
        """A machine was asked for: it boots, trains, and ends or is taken back."""
        machine = Machine(str(inputs["run"]), int(inputs["attempt"]), kind, dict(inputs), id_)
        self.machines.append(machine)
        now = self.clock.now()
        half = self.plays.preempts()
        self.at(now + BOOT_S, lambda: self.writes(machine, "hb.json", {"time": self.clock.now(), "phase": "training"}))
        if half:
            self.at(now + BOOT_S + self.plays.training_s / 2, lambda: self.taken_back(machine))
        else:
            self.at(now + BOOT_S + self.plays.training_s, lambda: self.ends(machine))

    def stands(self, machine: Machine) -> bool:
        """Whether the cloud shows it."""
        self.fuse.arm(None)
        try:
            return self.cloud.drivers[machine.kind].status(machine.inputs, machine.id).state in ("building", "ready")
        except CloudtrainError:
            return False

    def writes(self, machine: Machine, name: str, document: Mapping[str, Any]) -> None:
        """What a machine that stands writes into its folder."""
        if self.stands(machine):
            figures = {"step": 10, "of": 20, "loss": 1.5}  # no speed: later quotes would learn from it
            put(self.store, f"runs/{machine.run}/machine/{name}", {**figures, **document, "attempt": machine.attempt})

    def exit(self, machine: Machine, code: int, reason: str) -> None:
        """The last thing that it writes."""
        now = self.clock.now()
        record = {"code": code, "signal": 0, "reason": reason, "message": "", "started_at": now - 60, "ended_at": now}
        self.writes(machine, "exit.json", {**record, "log_bytes": 0})

    def ends(self, machine: Machine) -> None:
        """It is done, or has failed, and switches itself off where that is a thing of the machine's."""
        if not self.stands(machine):
            return
        fails = self.plays.fails()
        if not fails:
            self.store.write(f"runs/{machine.run}/machine/output/adapter_config.json", b"{}")
        self.exit(machine, 1 if fails else 0, "failed" if fails else "done")
        if self.name in ("aws", "gce"):
            with self.clock.lock:
                self.fake.power_off(machine.id if self.name == "aws" else self.number_of(machine))

    def number_of(self, machine: Machine) -> str:
        """The id of Compute Engine's own, by which a guest is known."""
        return str(
            next(each["id"] for each in self.fake.table.of("instances") if each["name"] == machine.inputs["name"])
        )

    def taken_back(self, machine: Machine) -> None:
        """The provider takes it back, with a word of warning."""
        if not self.stands(machine):
            return
        self.exit(machine, 75, "preempted")
        if self.name == "tpu":
            node = self.cloud.drivers[machine.kind].status(machine.inputs, machine.id).outputs["node"]
            self.fake.tpu.preempt(node)
        else:
            with self.clock.lock:
                self.fake.preempt(machine.inputs["name"] if self.name == "gce" else machine.id, 0.0)
        self.clock.run_due()

    # Clients

    def client(self, words: list[str], fuse: int | None = None) -> tuple[int | None, str, str]:
        """One command of a new client: exit code (None: it was killed), stdout, stderr."""
        from cloudtrain.cli import run

        self.host = f"runner-{next(self.numbers)}"
        self.fuse.arm(fuse)
        out, err = io.StringIO(), io.StringIO()
        code: int | None = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(Killed):
            code = run(words)
        killed = self.fuse.dead
        self.fuse.arm(None)
        return None if killed else code, out.getvalue(), err.getvalue()
