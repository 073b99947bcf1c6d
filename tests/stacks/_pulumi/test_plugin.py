"""The plugin as the engine meets it: the real executable, the protocol's own stub, a fake RunPod behind it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import status_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as protocol

from cloudtrain import __version__
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import RunpodCloud
from tests.patience import PATIENCE_S, TIMING, until
from tests.stacks.runpod.runpod_world import NOW

pytestmark = [pytest.mark.machine, pytest.mark.xdist_group("plugin")]  # they share a process
EXECUTABLE = Path(sysconfig.get_path("scripts")) / "pulumi-resource-cloudtrain"
INPUTS = {
    "run": "mine", "attempt": 1, "role": "machine", "name": "ct-0123abcd-1-xtlq0zk", "place": {"region": "any"},
    "expires": NOW + 3600, "image": "i", "disk_gb": 20, "data_centers": [], "cpu": {"id": "cpu5c", "count": 2},
}  # fmt: skip
PROPERTIES = {"cloud": "runpod", "kind": "pod", "inputs": json.dumps(INPUTS), "needs": {}, "outputs": None}


class Started:
    """A plugin at work, and a stub of it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.pids, self.state = folder / "pids", folder / "state"
        self.process = subprocess.Popen(
            [str(EXECUTABLE), "127.0.0.1:1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("CLOUDTRAIN_")},
                **environment,
                "CLOUDTRAIN_STATE": str(self.state),
                "CLOUDTRAIN_PLUGIN_RUN": "mine",
                "CLOUDTRAIN_PLUGIN_PIDS": str(self.pids),
            },
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.stub: Any = provider_pb2_grpc.ResourceProviderStub(grpc.insecure_channel(f"127.0.0.1:{self.port}"))

    def end(self) -> None:
        """As the engine's death does."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(PATIENCE_S)

    def create(self, preview: bool = False, **changes: Any) -> Any:
        """One Create."""
        request = protocol.CreateRequest(urn="urn:machine", properties=struct(changes), preview=preview)
        return self.stub.Create(request, timeout=PATIENCE_S)

    def phases(self) -> list[str]:
        """The journal's."""
        text = (self.state / "runs/mine/journal.jsonl").read_text()
        return [json.loads(line)["phase"] for line in text.splitlines()]


def struct(changes: dict[str, Any] | None = None) -> struct_pb2.Struct:
    """The properties of the pod as the engine sends them."""
    made = struct_pb2.Struct()
    made.update({**PROPERTIES, **(changes or {})})
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Started, RunpodCloud]]:
    """A plugin of run `mine` and a fake RunPod: its start is most of what a test costs, and it keeps nothing in memory."""
    fake = RunpodCloud(Clock(NOW))
    started = Started(tmp_path_factory.mktemp("plugin"), {**fake.environment(), "CLOUDTRAIN_SIMULATOR_TIMING": TIMING})
    yield started, fake
    started.end()
    fake.stop()


@pytest.fixture
def fake(shared: tuple[Started, RunpodCloud]) -> RunpodCloud:
    """A fake RunPod, empty."""
    shared[1].reset(Clock(NOW))
    return shared[1]


@pytest.fixture
def plugin(shared: tuple[Started, RunpodCloud], fake: RunpodCloud) -> Started:
    """A plugin of run `mine` against it, in an empty state."""
    shutil.rmtree(shared[0].state, ignore_errors=True)
    return shared[0]


@pytest.fixture
def own_plugin(fake: RunpodCloud, tmp_path: Path) -> Iterator[Started]:
    """One for a single test: what it is told changes it, or ends it."""
    started = Started(tmp_path, {**fake.environment(), "CLOUDTRAIN_SIMULATOR_TIMING": TIMING})
    yield started
    started.end()


def test_it_says_who_it_is_and_leaves_its_number(own_plugin: Started) -> None:
    """Version, and a pid file from which a teardown finds it."""
    assert own_plugin.stub.GetPluginInfo(empty_pb2.Empty()) == plugin_pb2.PluginInfo(version=__version__)
    (path,) = own_plugin.pids.iterdir()
    document = json.loads(path.read_text())
    assert (path.name, document["pid"]) == (str(own_plugin.process.pid), own_plugin.process.pid)
    assert document["start"]
    assert own_plugin.stub.Handshake(protocol.ProviderHandshakeRequest(engine_address="x")).accept_secrets


@pytest.mark.parametrize(
    ("changes", "property"),
    [({"kind": "spaceship"}, "kind"), ({"cloud": "nowhere"}, "cloud"), ({"cloud": "local"}, "cloud")],
)
def test_what_nobody_knows_is_refused_before_anything_is_made(
    plugin: Started, fake: RunpodCloud, changes: dict[str, str], property: str
) -> None:
    """Check names what is wrong."""
    answer = plugin.stub.Check(protocol.CheckRequest(news=struct(changes)), timeout=PATIENCE_S)
    assert [failure.property for failure in answer.failures] == [property]
    good = plugin.stub.Check(protocol.CheckRequest(news=struct()), timeout=PATIENCE_S)
    assert not good.failures
    assert MessageToDict(good.inputs) == PROPERTIES
    assert fake.calls == []


def test_a_preview_makes_nothing(plugin: Started, fake: RunpodCloud) -> None:
    """Nor is anything asked or written."""
    assert plugin.create(preview=True).id == ""
    assert fake.calls == []
    assert not plugin.state.exists()


def test_a_pod_is_made_read_and_deleted_twice(plugin: Started, fake: RunpodCloud) -> None:
    """Its life in the protocol's calls."""
    made = plugin.create()
    assert [entry.id for entry in fake.ledger.running()] == [made.id]
    kept = MessageToDict(made.properties)
    assert json.loads(kept["outputs"])["name"] == INPUTS["name"]
    assert {key: kept[key] for key in ("cloud", "kind", "inputs")} == {
        k: PROPERTIES[k] for k in ("cloud", "kind", "inputs")
    }
    reading = protocol.ReadRequest(id=made.id, urn="urn:machine", properties=made.properties)
    assert plugin.stub.Read(reading, timeout=PATIENCE_S).id == made.id
    deleting = protocol.DeleteRequest(id=made.id, urn="urn:machine", properties=made.properties)
    for _ in range(2):
        plugin.stub.Delete(deleting, timeout=PATIENCE_S)
    assert plugin.stub.Read(reading, timeout=PATIENCE_S) == protocol.ReadResponse()
    assert fake.leftovers() == []
    assert plugin.phases() == ["intent", "done"] * 3


def test_whatever_differs_is_made_anew(plugin: Started) -> None:
    """And the old one goes first."""
    same = protocol.DiffRequest(old_inputs=struct(), news=struct(), olds=struct())
    assert plugin.stub.Diff(same).changes == protocol.DiffResponse.DIFF_NONE
    other = protocol.DiffRequest(old_inputs=struct(), news=struct({"inputs": "{}"}), olds=struct())
    answer = plugin.stub.Diff(other)
    assert (list(answer.replaces), answer.deleteBeforeReplace) == (["inputs"], True)


def test_a_refusal_carries_its_name_and_words(plugin: Started, fake: RunpodCloud) -> None:
    """No id, because nothing is there."""
    fake.faults.add("createPod", "balance")
    with pytest.raises(grpc.RpcError) as told:
        plugin.create()
    assert "Balance: RunPod answers 402" in told.value.details()
    assert plugin.phases() == ["intent", "failed"]


def half_made(error: grpc.RpcError) -> Any:
    """The detail that the engine reads."""
    trailing = {key: value for key, value in error.trailing_metadata()}
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    detail = protocol.ErrorResourceInitFailed()
    assert status.details[0].Unpack(detail)
    return detail


def test_a_pod_that_breaks_while_it_is_made_is_told_with_its_id(plugin: Started, fake: RunpodCloud) -> None:
    """The engine keeps it, so destroy deletes it."""
    fake.pods.ready_s = 1000.0
    fake.faults.add("createPod", "no_capacity_later", seconds=0.0)
    with pytest.raises(grpc.RpcError) as told:
        plugin.create()
    detail = half_made(told.value)
    assert [entry.id for entry in fake.ledger.running()] == [detail.id]
    assert detail.reasons
    assert MessageToDict(detail.inputs) == PROPERTIES
    assert MessageToDict(detail.properties)["kind"] == "pod"


def test_cancel_ends_the_waiting_and_makes_nothing_more(own_plugin: Started, fake: RunpodCloud) -> None:
    """What was begun is told with its id, at once."""
    fake.pods.ready_s = 1000.0
    failures: list[grpc.RpcError] = []

    def create() -> None:
        try:
            own_plugin.create()
        except grpc.RpcError as error:
            failures.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    until(fake.ledger.running)
    own_plugin.stub.Cancel(empty_pb2.Empty())
    thread.join(PATIENCE_S)
    assert half_made(failures[0]).id == fake.ledger.running()[0].id
    assert "asked to stop" in failures[0].details()


def test_behind_a_tombstone_nothing_is_made(plugin: Started, fake: RunpodCloud) -> None:
    """Down was there meanwhile."""
    (plugin.state / "runs/mine").mkdir(parents=True)
    (plugin.state / "runs/mine/tombstone").write_text("1")
    with pytest.raises(grpc.RpcError) as told:
        plugin.create()
    assert "Cancelled" in told.value.details()
    assert fake.calls == []


def test_the_death_of_the_engine_ends_it(own_plugin: Started) -> None:
    """Its end of our stdin closes."""
    own_plugin.end()
    assert own_plugin.process.returncode == 0


@pytest.mark.parametrize("cloud", ["runpod", "aws", "gcp"])
def test_it_imports_no_sdk_but_its_own(cloud: str, tmp_path: Path) -> None:
    """One cloud's plugin starts without the others' packages: start-up time and memory, each time the engine works."""
    foreign = {"boto3", "botocore", "google.cloud", "google.auth", "googleapiclient", "moto"}
    words = f"""
import sys
from importlib import import_module
plugin = import_module("cloudtrain.stacks._pulumi.plugin")
from pulumi.runtime.proto import provider_pb2 as protocol
from google.protobuf import struct_pb2
news = struct_pb2.Struct()
news.update({{"cloud": {cloud!r}, "kind": "x"}})
assert plugin.Plugin("").Check(protocol.CheckRequest(news=news), None).failures
print(*sorted({foreign!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [os.sys.executable, "-c", words],  # type: ignore[attr-defined]
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
