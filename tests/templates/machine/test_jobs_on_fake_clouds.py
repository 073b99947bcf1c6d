"""A run on a machine of each fake cloud, begun by nothing but what the stack sends, in a bucket that checks signatures."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.providers import Stack, load
from cloudtrain.signing import urls
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.cloud_with_bucket import Together
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.runpod import RunpodCloud
from cloudtrain.state.store import open_store
from tests.engine.pairs import gate
from tests.patience import until
from tests.records import row
from tests.templates.machine.agent_world import Machine, Mailbox, bundle

pytestmark = pytest.mark.machine

FAKES: Mapping[str, Any] = {"aws": AwsCloud, "gcp": GceCloud, "runpod": RunpodCloud}
LINES: Mapping[str, dict[str, Any]] = {
    "aws": {"offer": "r8i.16xlarge", "hardware": "cpu-amx", "region": "us-east-1", "zone": ""},
    "gcp": {"offer": "c4-standard-8", "hardware": "cpu-amx", "region": "us-central1", "zone": ""},
    "runpod": {"offer": "cpu5c x4", "hardware": "cpu", "count": 4, "region": "any"},
}
RUN = "runs/one"


class World:
    """One fake cloud with a bucket, and a run whose ticket lies in it."""

    def __init__(self, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.name, self.both = name, Together(FAKES[name]())
        self.fake: Any = self.both.fake
        self.fake.machines_run = True
        self.state = self.both.bucket("bucket") + "/state"
        for key, value in self.both.environment().items():
            monkeypatch.setenv(key, value)
        monkeypatch.setenv("CLOUDTRAIN_STATE", self.state)
        self.store = open_store(self.state)
        cached = Machine(folder, Mailbox())
        cached.make_environment()
        cached.box.server.shutdown()
        self.fake.room.environment |= {"CLOUDTRAIN_CACHE": str(cached.cache), "CLOUDTRAIN_RETRY_S": "0.3"}

    def begin(self, steps: int) -> None:
        """Bundle, ticket, machine."""
        now = time.time()
        self.fake.room.environment["FAKE_TRAINER"] = json.dumps({"steps": steps, "pause_s": 0.02})
        packed = bundle()
        self.store.write("bundles/b.tar.gz", packed)

        def address(key: str) -> dict[str, Any]:
            return {"url": urls.get_url(self.state, key, now, 3600)}

        ticket = {
            **{"version": 1, "run": "one", "attempt": 1, "deadline": now + 3600, "grace_s": 2, "heartbeat_s": 0.3},
            **{"bundle": {**address("bundles/b.tar.gz"), "sha256": hashlib.sha256(packed).hexdigest()}},
            **{
                "post": urls.post_policy(self.state, f"{RUN}/machine/", now, now + 3600),
                "kill": address(RUN + "/kill"),
            },
            **{"exit": address(RUN + "/machine/exit.json"), "hb": address(RUN + "/machine/hb.json")},
            **{"log_bytes": 0, "model": None, "resume": None, "end": {"kind": self.name}},
        }
        self.store.write(RUN + "/tickets/1.json", json.dumps(ticket).encode())
        boot = {"state": self.state, "ticket": RUN + "/tickets/1.json", "signed_at": int(now)}
        cloud = load("stacks", self.name, Stack).cloud
        assert cloud is not None
        line = row(provider=self.name, market="on_demand", **LINES[self.name])
        plan: Any = SimpleNamespace(run="one", state="0123abcd", attempt=1, line=line, deadline=now + 3600, boot=boot)
        made: dict[str, Any] = {}
        for resource in cloud.resources(plan, cloud.account()):
            if resource.role in ("firewall", "machine"):
                inputs = {**resource.inputs, "needs": made}
                made[resource.role] = {"id": cloud.drivers[resource.kind].create(inputs).id}
        self.machine = made["machine"]["id"]

    def document(self, name: str) -> Any:
        """A document of the run, or None."""
        return json.loads(self.store.read(f"{RUN}/machine/{name}") or b"null")

    def billed(self) -> bool:
        """Whether a machine still costs money."""
        return bool(self.fake.ledger.running())


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(request.param, tmp_path, monkeypatch)
    yield made
    made.both.stop()


@gate("aws", "gcp", "runpod", of=FAKES, fixture="world")
def test_a_machine_carries_its_run_through_and_ends_itself(world: World) -> None:
    world.begin(steps=20)
    until(lambda: world.document("exit.json"))
    record = world.document("exit.json")
    assert (record["reason"], record["step"]) == ("done", 20)
    names = world.store.children(f"{RUN}/machine/log")
    log = b"".join(world.store.read(f"{RUN}/machine/log/{name}") or b"" for name in names)
    assert len(log) == record["log_bytes"]
    assert world.store.files(f"{RUN}/machine/output") == ["adapter_config.json", "metrics.json"]
    until(lambda: not world.billed())


@gate("runpod", of=FAKES, fixture="world")  # on the others `test_agent_notice.py` shows it, without a cloud
def test_a_preempted_machine_brings_its_last_checkpoint_home(world: World) -> None:
    world.begin(steps=10000)
    until(lambda: world.document("hb.json") and world.document("hb.json").get("step"))
    world.fake.preempt(world.machine, 30.0)
    until(lambda: world.document("exit.json"))
    record = world.document("exit.json")
    assert record["reason"] == "preempted"
    assert world.store.read(f"{RUN}/machine/ckpt/LATEST") == f"{record['step']}\n".encode()
    until(lambda: not world.billed())
