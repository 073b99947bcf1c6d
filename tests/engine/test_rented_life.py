"""A rented machine's life on every cloud: made, seen, ended, and every way in which that can go wrong by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.providers import Stack, load
from cloudtrain.simulator.aws.wire import backend
from cloudtrain.simulator.clock import Clock
from tests.campaign.client import Client
from tests.campaign.clouds import TARGETS, Target
from tests.engine.pairs import gate

checkpoint = import_module("cloudtrain.stacks._pulumi.checkpoint")
pytestmark = pytest.mark.engine
Rent = Callable[..., str]
everywhere = gate("aws", "gce", "tpu", "runpod")
CREATES = {
    "aws": "RunInstances",
    "digitalocean": "createDroplet",
    "gce": "instances.insert",
    "tpu": "Tpu.CreateQueuedResource",
    "runpod": "createPod",
}


def aws_disk_gb(fake: Any) -> int:
    """The size of the one machine's disk."""
    (machine,) = fake.machines.values()
    (volume,) = machine.volumes
    return int(backend("ec2", fake.account, machine.region).volumes[volume].size)


# What the create call has asked for, as each fake knows it. A slice of the Cloud TPU API comes with its disk, and so does a droplet.
DISK_GB: dict[str, Callable[[Any], int]] = {
    "aws": aws_disk_gb,
    "gce": lambda fake: int(fake.table.of("disks")[0]["sizeGb"]),
    "tpu": lambda fake: 100,
    "runpod": lambda fake: next(iter(fake.pods.pods.values())).body["disk"],
    "digitalocean": lambda fake: next(iter(fake.droplets.all.values())).size["disk"],
}


def state_of(client: Client) -> list[dict[str, object]]:
    """What `ps -a` says."""
    found: list[dict[str, object]] = json.loads(client.run("ps", "-a", "-o", "json").out)
    return found


@gate(*TARGETS)
def test_a_machine_is_made_seen_and_ended(client: Client, target: Target, rented: Rent) -> None:
    """Up makes what costs money, ps shows it with price and guards, down proves it gone, twice is fine."""
    run = rented()
    assert client.fake.ledger.running()
    (row,) = state_of(client)
    assert (row["state"], row["provider"]) == ("running", target.provider)
    assert row["price_usd_per_hour"] is not None
    assert row["guards"]
    quoted = json.loads(client.document(run, "quote.json").read_text())["line"]
    assert quoted["disk_gb"] == DISK_GB[target.name](client.fake)
    (kept,) = client.document(run, "pulumi/.pulumi/stacks/cloudtrain").glob("*.json")
    assert checkpoint.foreign(kept.read_bytes()) == ""
    ended = client.run("down", run)
    assert ended.code == 0, ended.err
    assert f"{target.provider} lists nothing of it, twice" in ended.out
    assert client.fake.leftovers() == []
    assert json.loads(client.document(run, "gone.json").read_text())["said_by"] == target.provider
    assert client.run("down", run).code == 0
    assert state_of(client)[0]["state"] == "cancelled"


@gate("gce")
def test_a_machine_on_demand_is_made_and_ended(client: Client, target: Target) -> None:
    """Without spot it is the same."""
    words = [word for word in target.words if word != "--spot"]
    ended = client.up(*words, "--on-demand", "--name", "mine")
    assert ended.code == 0, ended.err
    assert client.fake.ledger.running()
    assert client.run("down", "mine").code == 0
    assert client.fake.leftovers() == []


@gate("aws")
def test_a_preview_makes_nothing(client: Client, target: Target) -> None:
    """--dry-run shows the plan that the engine has looked at; nothing is made at the cloud or in the state."""
    before = len(client.fake.calls)
    ended = client.up(*target.words, "--dry-run")
    assert ended.code == 0, ended.err
    for row in ("makes", "price", "guards", "ends at", "kept"):
        assert f"\n  {row} " in ended.err
    assert CREATES[target.name] not in client.fake.calls[before:]
    assert client.fake.leftovers() == []
    assert state_of(client) == []


@gate("tpu")
def test_drift_is_seen_and_cleaned_up(client: Client, target: Target, rented: Rent) -> None:
    """Drift: ps does not call it running any more, and down succeeds."""
    run = rented()
    swept = client.run("sweep", "--provider", target.provider, "--all", "--yes")
    assert swept.code == 0, swept.err
    assert client.fake.ledger.running() == []
    assert state_of(client)[0]["state"] == "died"
    assert client.run("down", run).code == 0


@everywhere
def test_a_guard_ends_it_when_nobody_comes_back(client: Client, target: Target, rented: Rent) -> None:
    """Past the deadline nothing that costs money is left where the provider ends it, and a sweep takes the rest."""
    rented()
    client.fake.clock.advance(2 * 3600)
    guards = load("stacks", target.provider, Stack).guards(target.line.offer, target.line.market)
    assert bool(client.fake.ledger.running()) != any(guard.alone for guard in guards)
    client.environment["CLOUDTRAIN_NOW"] = str(client.fake.clock.now())
    swept = client.run("sweep", "--yes", "--provider", target.provider)
    assert swept.code == 0, swept.err
    assert client.fake.leftovers() == []


@gate("runpod", "tpu")
def test_no_capacity_tries_the_next_place(client: Client, target: Target) -> None:
    """The first place is full: the next one gets the run, nothing stays behind at the first, and the place is remembered."""
    client.fake.faults.add(CREATES[target.name], "no_capacity")
    ended = client.up(*target.words, "--name", "mine")
    assert ended.code == 0, ended.err
    assert "no capacity for" in ended.err
    assert (client.state / "places.json").exists()
    assert json.loads(client.document("mine", "intent.json").read_text())["attempt"] == 2
    assert client.run("down", "mine").code == 0
    assert client.fake.leftovers() == []


def test_a_region_that_is_not_switched_on_is_passed_over(tmp_path: Path) -> None:
    """The cheapest place is in one that an account has only when it asks: nothing is asked for there."""
    amazon = TARGETS["aws"].fake(Clock())
    client = Client(tmp_path, amazon)
    try:
        for words, code in ((TARGETS["aws"].words, 0), (("--hardware", "cpu-amx", "--spot"), 7)):
            ended = client.up("--infra", "aws/eu-south-2", *words, "--name", f"mine-{code}", "--new")
            assert ended.code == code, ended.err
            assert "region eu-south-2 is not switched on in this AWS account" in ended.err
        assert client.run("down", "mine-0").code == 0
        assert amazon.leftovers() == []
    finally:
        amazon.stop()


@gate("gce")
def test_a_lost_answer_is_adopted(client: Client, target: Target) -> None:
    """The create succeeds and its answer is lost: one machine, not two."""
    client.fake.faults.add(CREATES[target.name], "lost_reply")
    ended = client.up(*target.words, "--name", "mine")
    assert ended.code == 0, ended.err
    assert client.fake.faults.happened
    machines = [line for line in client.document("mine", "journal.jsonl").read_text().splitlines() if '"done"' in line]
    assert machines
    assert client.run("down", "mine").code == 0
    assert client.fake.leftovers() == []


BY_A_PERSON = {"quota", "permission", "balance"}
REFUSALS = {  # of them, what each provider can refuse a machine for
    "aws": ("permission", "quota"),
    "gce": ("balance", "permission", "quota"),
    "tpu": ("balance", "permission", "quota"),
    "runpod": ("balance", "permission"),
    "digitalocean": ("permission", "quota"),
}
IN_GATE = {("aws", "quota"), ("tpu", "permission"), ("runpod", "balance")}


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        pytest.param(name, fault, marks=() if (name, fault) in IN_GATE else pytest.mark.soak)
        for name, faults in REFUSALS.items()
        for fault in faults
    ],
    indirect=["target"],
)
def test_a_refusal_for_a_person_ends_with_4(client: Client, target: Target, fault: str) -> None:
    """Quota, permission and balance are told with what to do next; nothing is left."""
    assert BY_A_PERSON & set(dict(client.fake.fault_table)[CREATES[target.name]]) == set(REFUSALS[target.name])
    client.fake.faults.add(CREATES[target.name], fault, times=50)  # type: ignore[arg-type]
    ended = client.up(*target.words)
    assert ended.code == 4, ended.err
    assert "error: " in ended.err
    assert "hint: " in ended.err
    if (target.name, fault) == ("aws", "quota"):
        assert "quota L-" in ended.err
        assert "console.aws.amazon.com/servicequotas" in ended.err
    assert client.fake.leftovers() == []


@gate("runpod")
def test_no_secret_is_written_or_shown_anywhere(client: Client, target: Target) -> None:
    """Planted credentials are in no file of the state, no output and no argument list."""
    secrets = [value for value in client.environment.values() if "PLANTED" in value]
    assert secrets
    process = client.begin("up", *client.up_words(), *target.words, "--name", "mine")
    seen = b""
    while process.poll() is None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen += entry.read_bytes()
            except OSError:
                continue
        time.sleep(0.02)
    client.fake.faults.add("*", "throttled", times=3)
    client.run("down", "mine")
    seen += client.run("ps").err.encode()
    for path in client.folder.rglob("*"):
        if path.is_file():
            seen += path.read_bytes()
    for secret in secrets:
        assert secret.encode() not in seen
