"""A fake of the Pulumi engine: its records, its lock and its own process, without its second of start-up.

As the real one, it keeps a stack in the run's part of the state, goes on when its client dies, holds a lock there
while it works, leaves a pending create when it is killed, and says of every failure only that it refused. It plays the
engine and its plugin in one process (`stacks/README.md`: what was measured).
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cloudtrain.errors import CloudtrainError, Unavailable
from cloudtrain.providers import Resource, Stack, load
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import open_store
from tests.campaign.parts import crud, journal
from tests.records import put, raw

door = ""  # where engine processes are asked for


def take_place(address: str) -> None:
    """From now on this process's stacks use the fake engine."""
    global door  # noqa: PLW0603  # set once, before anything is forked
    door = address
    import_module("cloudtrain.stacks._pulumi.launch").__dict__["Engine"] = FakeEngine
    import_module("cloudtrain.stacks._pulumi.owners")
    import_module("cloudtrain.stacks._lifecycle.recover")


def key(run: str) -> str:
    """The state key of the stack's record: {made: [[kind, inputs, id]], waiting: [[kind, inputs]]}."""
    return f"runs/{run}/pulumi/fake-engine.json"


class FakeEngine:
    """What `stacks/_pulumi/engine.py` offers to who launches and who recovers."""

    def __init__(self, store: Store, run: str, log: Callable[[str], None] = lambda text: None) -> None:
        self.store, self.run, self.log = store, run, log
        self.work = import_module("cloudtrain.stacks._pulumi.engine").work_folder(store, run)

    @property
    def plugin_folder(self) -> Path:
        """Where engines leave their pid files."""
        folder: Path = self.work / "plugins"
        return folder

    def up(self, cloud: str, resources: Sequence[Resource]) -> dict[str, Any]:
        """Make them; returns role -> {id, outputs}. Raises Unavailable."""
        wanted = [[r.role, r.kind, dict(r.inputs), list(r.after)] for r in resources]
        found: dict[str, Any] = self.operate({"what": "up", "cloud": cloud, "resources": wanted})
        return found

    def preview(self, cloud: str, resources: Sequence[Resource]) -> dict[str, int]:
        """Everything would be made."""
        return {"create": len(resources)}

    def exists(self) -> bool:
        """Whether the state holds a stack."""
        return raw(self.store, key(self.run)) is not None

    def pending(self) -> list[tuple[str, dict[str, Any]]]:
        """Creates that were begun and have no end."""
        return [(kind, inputs) for kind, inputs in (raw(self.store, key(self.run)) or {}).get("waiting", [])]

    def destroy(self) -> None:
        """Delete what the record knows. Raises Unavailable."""
        self.operate({"what": "destroy"})

    def clear(self) -> None:
        """Forget the creates that never came to an end."""
        record = raw(self.store, key(self.run)) or {}
        put(self.store, key(self.run), {**record, "waiting": []})

    def forget(self) -> None:
        """Remove the stack."""
        self.store.delete(f"runs/{self.run}/pulumi")

    def operate(self, wanted: Mapping[str, Any]) -> Any:
        """One operation in a process of its own, which outlives this one."""
        from tests.campaign.fork_server import Forked

        given = {**wanted, "store": self.store.url, "run": self.run, "pids": str(self.plugin_folder)}
        process = Forked(door, {"engine": given, "environment": dict(os.environ)})
        answer: dict[str, Any] = {"refused": "it was killed"}
        while (said := process.say()) is not None:
            answer = said
        if "refused" in answer:
            raise Unavailable(f"the fake engine refused: {answer['refused']}", "repeat the command")
        return answer["made"]


def work(given: Mapping[str, Any], tell: Callable[[Mapping[str, Any]], None]) -> int:
    """The engine's process. The exit code is 0 when it did what was asked for."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopping.set())
    try:
        tell({"made": Operation(given, stopping).run()})
        return 0
    except CloudtrainError as error:
        tell({"refused": error.message})
    except Exception as error:
        tell({"refused": f"{type(error).__name__}: {error}"})
    return 1


class Operation:
    """One operation on a run's stack, under its lock."""

    def __init__(self, given: Mapping[str, Any], stopping: threading.Event) -> None:
        self.given, self.run_name = given, str(given["run"])
        self.store = open_store(given["store"])
        self.stopping = stopping
        self.record = raw(self.store, key(self.run_name)) or {"made": [], "waiting": []}

    def run(self) -> dict[str, Any]:
        """Leave a pid file, take the lock, do it, give the lock back."""
        pid_file = Path(self.given["pids"]) / str(os.getpid())
        pid_file.parent.mkdir(parents=True, exist_ok=True)
        start = import_module("cloudtrain.stacks._lifecycle.processes").start_of(os.getpid())
        pid_file.write_text(json.dumps({"pid": os.getpid(), "start": start}))
        folder = import_module("cloudtrain.stacks._pulumi.owners").lock_folder(self.run_name)
        if self.store.children(folder):
            raise Unavailable("the stack is currently locked")
        lock = f"{folder}/{uuid.uuid4()}.json"
        who = {"pid": os.getpid(), "username": getpass.getuser(), "hostname": socket.gethostname(), "timestamp": "now"}
        put(self.store, lock, who)
        try:
            return self.up() if self.given["what"] == "up" else self.destroy()
        finally:
            with contextlib.suppress(CloudtrainError):
                self.store.delete(lock)

    def world(self, cloud: str) -> Any:
        """What the protocol needs, as the plugin makes it."""
        record = load("stacks", cloud, Stack).cloud
        assert record is not None
        notes = journal().Journal(self.store, self.run_name)

        def sleep(seconds: float) -> None:
            self.stopping.wait(seconds)

        return crud().World(cloud, record, notes, crud().steady, sleep, self.stopping.is_set)

    def keep(self) -> None:
        """Write the record down."""
        put(self.store, key(self.run_name), self.record)

    def up(self) -> dict[str, Any]:
        """Make one after the other; what fails is recorded as far as it exists."""
        cloud = str(self.given["cloud"])
        self.record["cloud"] = cloud
        world = self.world(cloud)
        done: dict[str, dict[str, Any]] = {}
        for role, kind, inputs, after in self.given["resources"]:
            needs = {name: {**done[name]["outputs"], "id": done[name]["id"]} for name in after}
            filled = {**inputs, "needs": needs} if after else inputs
            self.record["waiting"].append([kind, filled])
            self.keep()
            failure: BaseException | None = None
            try:
                seen = crud().create(world, kind, filled)
            except crud().HalfMade as half:
                seen, failure = half.seen, half.cause
            except CloudtrainError:
                self.record["waiting"].pop()
                self.keep()
                raise
            self.record["waiting"].pop()
            self.record["made"].append([kind, filled, seen.id])
            self.keep()
            if failure is not None:
                raise failure
            done[role] = {"id": seen.id, "outputs": dict(seen.outputs)}
        return done

    def destroy(self) -> dict[str, Any]:
        """Backwards; one failure does not keep the others alive."""
        failure: CloudtrainError | None = None
        for kind, inputs, made in list(reversed(self.record["made"])):
            try:
                crud().delete(self.world(str(self.record["cloud"])), kind, inputs, made)
            except CloudtrainError as error:
                failure = error
                continue
            self.record["made"].remove([kind, inputs, made])
        self.keep()
        if failure is not None:
            raise failure
        return {}
