"""`cloudtrain doctor`: what stands in the way, in a line each, with the exit code that the lines deserve."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from cloudtrain.errors import UsageError
from cloudtrain.provisioner import Held
from cloudtrain.simulator.http_server import Fake
from cloudtrain.state.store import LocalFolder
from tests.campaign.clouds import TARGETS
from tests.cli.clouds_here import HOUR, forget_machine, pretend_engine, same_as_golden, standing, without_credentials
from tests.conftest import NOW, Result
from tests.records import begin

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch, own_world: Path) -> None:
    """Nobody's credentials, an engine of the pinned version, 40 GB free, the tests' instant, no process of ours."""
    without_credentials(monkeypatch, own_world)
    pretend_engine(monkeypatch)
    usage = SimpleNamespace(total=10**12, used=0, free=40 * 10**9)
    monkeypatch.setattr("cloudtrain.doctor.local.shutil", SimpleNamespace(disk_usage=lambda folder: usage))
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(own_world))
    monkeypatch.setattr("cloudtrain.stacks._lifecycle.processes.tagged", lambda run=None: [])


@pytest.fixture
def runpod(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """RunPod's fake: the quickest."""
    with standing("runpod", monkeypatch) as fake:
        yield fake


def states(result: Result) -> dict[str, str]:
    """What was looked at -> its state, of a JSON output."""
    return {f"{line['about']}: {line['what']}": line["state"] for line in json.loads(result.out)}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_whole_output_about_each_cloud(
    cloudtrain: Command, monkeypatch: pytest.MonkeyPatch, own_world: Path, name: str
) -> None:
    """Credentials, permissions, quotas with their link, prices, leftovers; nothing is made there. JSON by its schema."""
    with standing(name, monkeypatch) as fake:
        argv = ["doctor", TARGETS[name].provider]
        same_as_golden(f"doctor-{name}", argv, cloudtrain(*argv), (str(own_world), "WORLD"))
        assert fake.leftovers() == []
        document = json.loads(cloudtrain(*argv, "-o", "json").out)
    jsonschema.validate(document, json.loads(cloudtrain("schema", "doctor").out))


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("doctor", ["doctor"]),
        ("doctor-csv", ["doctor", "local", "-o", "csv"]),
        ("doctor-no-credentials", ["doctor", "runpod", "gcp"]),
        ("doctor-unknown-provider", ["doctor", "runpood"]),
    ],
)
def test_whole_output_without_credentials(cloudtrain: Command, own_world: Path, name: str, argv: list[str]) -> None:
    """Unknown when nobody asked for the provider, a problem and exit 4 when somebody did."""
    same_as_golden(name, argv, cloudtrain(*argv), (str(own_world), "WORLD"))


def test_what_costs_money_past_its_deadline_is_6(
    cloudtrain: Command, runpod: Fake, monkeypatch: pytest.MonkeyPatch, own_world: Path
) -> None:
    """Unexpired: fine. Expired, or of a run that our records know as ended: 6, with the command that ends it."""
    forget_machine(runpod, TARGETS["runpod"])
    assert cloudtrain("doctor").code == 0
    begin(LocalFolder(own_world / "state"), "lost", provider="runpod", wanted="down")
    result = cloudtrain("doctor", "-o", "json")
    assert (result.code, states(result)["runpod: left over"]) == (6, "problem")
    LocalFolder(own_world / "state").delete("runs/lost")
    monkeypatch.setenv("CLOUDTRAIN_NOW", str(runpod.clock.now() + 2 * HOUR))
    result = cloudtrain("doctor", "runpod")
    assert (result.code, "`cloudtrain sweep --provider runpod`" in result.out) == (6, True)
    assert runpod.ledger.running()


def test_only_a_named_provider_makes_its_refusal_a_4(
    cloudtrain: Command, runpod: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is refused is a problem: 4 for the provider that was named, 1 among all."""
    monkeypatch.setenv("RUNPOD_API_KEY", "revoked")
    assert cloudtrain("doctor", "runpod").code == 4
    result = cloudtrain("doctor", "-o", "json")
    assert (result.code, states(result)["runpod: RunPod key"]) == (1, "problem")


def test_a_missing_permission_and_a_quota_of_zero_are_4(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the provider's own dry run says decides."""
    with standing("aws", monkeypatch) as fake:
        fake.faults.add("RunInstances", "permission", times=9)
        result = cloudtrain("doctor", "aws", "-o", "json")
    assert (result.code, states(result)["aws: EC2 RunInstances in us-east-1"]) == (4, "problem")


def test_no_capacity_is_a_problem_but_no_4(cloudtrain: Command, runpod: Fake) -> None:
    """Nobody can give a permission for a machine that is not there."""
    runpod.stock = False  # type: ignore[attr-defined]
    result = cloudtrain("doctor", "runpod", "-o", "json")
    assert (result.code, states(result)["runpod: RunPod MI300X"]) == (1, "problem")


def test_a_silent_provider_is_told_and_the_rest_looked_at(cloudtrain: Command, runpod: Fake) -> None:
    """Down is a problem of its own; the machine's lines are there all the same."""
    runpod.faults.add("*", "unavailable", times=999)
    result = cloudtrain("doctor", "runpod", "-o", "json")
    found = states(result)
    assert (result.code, found["runpod: leftovers"], found["this machine: state"]) == (1, "problem", "ok")


def test_a_missing_engine_matters_only_to_those_who_rent(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a provider to rent from it is told; with one it is a problem with the way to install it."""

    def missing() -> Any:
        raise UsageError("it is not installed", "`cloudtrain doctor --install-pulumi` installs it")

    pretend_engine(monkeypatch, find=missing)
    result = cloudtrain("doctor", "-o", "json")
    assert (result.code, states(result)["this machine: Pulumi's command line"]) == (0, "unknown")
    with standing("runpod", monkeypatch):
        result = cloudtrain("doctor", "-o", "json")
    assert (result.code, states(result)["this machine: Pulumi's command line"]) == (1, "problem")
    assert "--install-pulumi" in result.out


@pytest.mark.parametrize(("version", "state"), [("3.1.0", "ok"), ("4.0.0", "problem")])
def test_another_version_of_the_engine(
    cloudtrain: Command, monkeypatch: pytest.MonkeyPatch, version: str, state: str
) -> None:
    """Any of the same major number is used; another cannot be."""
    pretend_engine(monkeypatch, find=lambda: (Path("/opt/pulumi"), version))
    with standing("runpod", monkeypatch):
        assert states(cloudtrain("doctor", "-o", "json"))["this machine: Pulumi's command line"] == state


@pytest.mark.parametrize(
    ("owner", "state", "code"), [("dead", "problem", 1), ("alive", "ok", 0), ("elsewhere", "unknown", 0)]
)
def test_the_lock_of_a_dead_owner_is_a_problem(
    cloudtrain: Command, monkeypatch: pytest.MonkeyPatch, own_world: Path, owner: Any, state: str, code: int
) -> None:
    """A living owner is told, one elsewhere cannot be asked, a dead one is in the way; a run that is gone has none."""
    pretend_engine(monkeypatch, held=lambda store, run: [Held("somebody", owner)])
    store = LocalFolder(own_world / "state")
    begin(store, "r", provider="runpod")
    result = cloudtrain("doctor", "local", "-o", "json")
    assert (result.code, states(result)["this machine: lock of run `r`"]) == (code, state)
    store.write("runs/r/gone.json", b'{"time": 1.0}')
    assert states(cloudtrain("doctor", "local", "-o", "json"))["this machine: locks"] == "ok"


def test_a_lock_file_is_seen_through_the_engines_own_eyes(cloudtrain: Command, own_world: Path) -> None:
    """The real reading of locks: this host with a process that is none of the engine's is dead; another host's is not."""
    store = LocalFolder(own_world / "state")
    for run, host in (("mine", socket.gethostname()), ("theirs", "another-host")):
        begin(store, run, provider="runpod")
        lock = {"pid": 1, "username": "ann", "hostname": host, "timestamp": "2026-11-24T11:00:00Z"}
        store.write(f"runs/{run}/pulumi/.pulumi/locks/organization/cloudtrain/{run}/a.json", json.dumps(lock).encode())
    found = states(cloudtrain("doctor", "local", "-o", "json"))
    assert found["this machine: lock of run `mine`"] == "problem"
    assert found["this machine: lock of run `theirs`"] == "unknown"


def test_an_unusable_state_is_a_problem_and_not_the_end(
    cloudtrain: Command, runpod: Fake, own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in its place, a cut record, an address that is none: 1, and the cloud is looked at."""
    store = LocalFolder(own_world / "state")
    store.write("runs/cut/intent.json", b"{")
    result = cloudtrain("doctor", "-o", "json")
    assert (result.code, states(result)["this machine: run records"]) == (1, "problem")
    assert "runs/cut/intent.json" in result.out
    (own_world / "file").write_text("not a folder")
    for state in (str(own_world / "file"), "ftp://x/y"):
        monkeypatch.setenv("CLOUDTRAIN_STATE", state)
        found = states(cloudtrain("doctor", "-o", "json"))
        assert (found["this machine: state"], found["runpod: leftovers"]) == ("problem", "ok")


def test_looking_at_the_state_leaves_nothing_in_it(cloudtrain: Command, own_world: Path) -> None:
    """The trial document goes, and a folder that was not there is not there afterwards."""
    cloudtrain("doctor", "local")
    assert not (own_world / "state").exists()
    store = LocalFolder(own_world / "state")
    begin(store, "r")
    cloudtrain("doctor", "local")
    assert store.children("") == ["runs"]


def test_a_full_disk_is_a_problem(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a checkpoint's worth."""
    usage = SimpleNamespace(free=5 * 10**8)
    monkeypatch.setattr("cloudtrain.doctor.local.shutil", SimpleNamespace(disk_usage=lambda folder: usage))
    result = cloudtrain("doctor", "local")
    assert (result.code, "0.5 GB free" in result.out) == (1, True)


def test_no_secret_is_shown(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted credentials are in no output, whatever the provider answers."""
    for name in sorted(TARGETS):
        with standing(name, monkeypatch) as fake:
            secrets = [value for value in fake.environment().values() if "PLANTED" in value]
            shown = ""
            for fault in (None, "unavailable", "permission"):
                if fault:
                    fault_kind: Any = fault
                    fake.faults.add("*", fault_kind, times=20)
                result = cloudtrain("doctor", TARGETS[name].provider)
                shown += result.out + result.err
        assert secrets
        assert not any(secret in shown for secret in secrets)
