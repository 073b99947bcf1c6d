"""A cloud that does what a script says, on a clock that nobody waits for: the world of the crash protocol's tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from cloudtrain.errors import NotFound
from cloudtrain.providers import Cloud, Driver, OwnedResource, ResourceState, Timing, run_key
from cloudtrain.state.store import LocalFolder

crud = import_module("cloudtrain.stacks._lifecycle.crud")
journal = import_module("cloudtrain.stacks._lifecycle.journal")
recover = import_module("cloudtrain.stacks._lifecycle.recover")
BEGIN = 1795600000.0
TIMING = Timing(request_s=10.0, in_flight_s=100.0, consistency_s=20.0, poll_s=5.0)
INPUTS: Mapping[str, Any] = {
    "run": "r", "attempt": 1, "role": "machine", "name": "ct-1", "place": {"region": "here"}, "expires": BEGIN + 3600
}  # fmt: skip
Deed = Callable[[], Any] | Exception | None


class ScriptedCloud:
    """One kind, `box`. `script[verb]` is used up deed by deed: raise it, do it, or (None, and afterwards) obey.

    `things` exist: id -> state. `calls` are (verb, instant, last phase in the journal before it).
    """

    def __init__(self, folder: Path) -> None:
        self.time = BEGIN
        self.wall_shift_s = 0.0  # how far somebody has moved the clock of the client
        self.boot = ("boot", 1000.0)
        self.things: dict[str, str] = {}
        self.script: dict[str, list[Deed]] = {}
        self.calls: list[tuple[str, float, str]] = []
        self.said: list[str] = []
        self.stop_at: float | None = None
        self.made = 0
        self.state = "ready"
        self.journal = journal.Journal(LocalFolder(folder), "r", self.wall, self.uptime)

    def wall(self) -> float:
        """The client's clock on the wall."""
        return self.time + self.wall_shift_s

    def uptime(self) -> tuple[str, float]:
        """The client's boot and seconds since it."""
        return self.boot[0], self.boot[1] + self.time - BEGIN

    def sleep(self, seconds: float) -> None:
        """Nobody waits."""
        self.time += seconds

    def play(self, verb: str) -> Any:
        """Write down the call and do the next deed of the script; returns what that gives."""
        lines = self.journal.lines()
        self.calls.append((verb, self.time, lines[-1].phase if lines else ""))
        deeds = self.script.get(verb, [])
        deed = deeds.pop(0) if deeds else None
        if isinstance(deed, Exception):
            raise deed
        return deed() if deed else None

    def make(self) -> ResourceState:
        """A thing more."""
        self.made += 1
        self.things[f"i{self.made}"] = self.state
        return ResourceState(f"i{self.made}", self.state)  # type: ignore[arg-type]

    def create(self, inputs: Mapping[str, Any]) -> ResourceState:
        return self.play("create") or self.make()

    def find(self, inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
        found = self.play("find")
        return self.seen() if found is None else found

    def seen(self) -> list[ResourceState]:
        """Everything that exists."""
        return [ResourceState(id, state) for id, state in self.things.items()]  # type: ignore[arg-type]

    def status(self, inputs: Mapping[str, Any], id: str) -> ResourceState:
        given = self.play("status")
        if given is not None:
            return given  # type: ignore[no-any-return]
        if id not in self.things:
            raise NotFound(f"no {id}")
        return ResourceState(id, self.things[id])  # type: ignore[arg-type]

    def delete(self, inputs: Mapping[str, Any], id: str) -> None:
        if self.play("delete") is None:
            self.things.pop(id, None)

    def list_owned(self, run: str | None, places: Sequence[Mapping[str, str]] | None) -> list[OwnedResource]:
        found = self.play(f"list {'everywhere' if places is None else len(places)}")
        owned = [OwnedResource(run_key("r"), id, f"box {id}", "box", {"place": {}}) for id in self.things]
        return owned if found is None else found  # type: ignore[no-any-return]

    def world(self, **more: Any) -> Any:
        """The protocol's surroundings; `more` for the driver."""
        driver = Driver(self.create, self.find, self.status, self.delete)._replace(**more)
        cloud = Cloud(
            account=dict,
            resources=lambda plan, account: [],
            drivers={"box": driver},
            list_owned=self.list_owned,
            timing=lambda: TIMING,
            console_url=lambda inputs, id: f"https://cloud.example/{id}",
            findings=lambda: [],
            serves=lambda line: True,
        )
        stopped = lambda: self.stop_at is not None and self.time >= self.stop_at  # noqa: E731
        return crud.World("scripted", cloud, self.journal, lambda: self.time, self.sleep, stopped, self.said.append)

    def verbs(self) -> list[str]:
        """The calls' names."""
        return [call[0] for call in self.calls]

    def phases(self) -> list[str]:
        """The journal's."""
        return [line.phase for line in self.journal.lines()]


class NoEngine:
    """An engine that knows nothing of the run."""

    failing: Exception | None = None

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if self.failing is not None:
            raise self.failing

    def take_lock(self) -> None:
        self.steps.append("seize")

    def pending(self) -> list[tuple[str, dict[str, Any]]]:
        self.step("pending")
        return []

    def destroy(self) -> None:
        self.step("destroy")

    def forget(self) -> None:
        self.step("forget")
