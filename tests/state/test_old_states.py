"""States that commit b36332d wrote, before documents had a version: read, shown, ended and gone on with as then.

`data/finished`, `data/failed` (two attempts: its deadline, then bad data) and `data/rented` (a second machine, after a
preemption, in the middle of its training) are the documents; `said.json` is what that commit said of them.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import MissingCredentials
from cloudtrain.plan import Plan
from cloudtrain.providers import Stack, StopOptions, load
from cloudtrain.records import MachineRecord
from cloudtrain.runs import candidates, launch, reconcile, teardown
from cloudtrain.runs.client import attached
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements, out_of_memory, pull
from cloudtrain.state import identity
from cloudtrain.state.store import LocalFolder
from tests.records import machine

DATA = Path(__file__).parent / "data"
LATER = 1796040000.0  # 2026-11-30, after all their deadlines
STATES = ("finished", "failed", "rented")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """The run of one of the states, which may be written to, at that hour."""
    monkeypatch.setattr(time, "time", lambda: LATER)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    def copy(name: str) -> Run:
        shutil.copytree(DATA / name, tmp_path / name)
        monkeypatch.setenv("CLOUDTRAIN_STATE", str(tmp_path / name))
        return Run(LocalFolder(tmp_path / name), "mine")

    return copy


@pytest.mark.parametrize("name", STATES)
def test_every_command_says_of_it_what_it_said(name: str, old: Callable[[str], Run], cloudtrain: Any) -> None:
    """ps, report, events and logs, as JSON and for a person: the same figures; JSON may have further fields."""
    run = old(name)
    said = json.loads((DATA / name / "said.json").read_text())
    assert {words.split()[0] for words in said} == {"ps", "report", "events", "logs"}
    if name == "rented":
        with pytest.raises(MissingCredentials):
            assert run.alive
    for words, then in said.items():
        now = cloudtrain(*words.split())
        assert (now.code, now.err) == (then["code"], then["err"]), words
        if words.endswith("-o json") and words != "logs mine -o json":
            check_kept(json.loads(then["out"]), json.loads(now.out))
        else:
            assert figures(then["out"]) <= figures(now.out), words


def figures(shown: str) -> set[str]:
    """The words with a digit in them: what a table says, however it is set."""
    return {word for word in shown.split() if any(map(str.isdigit, word))}


def check_kept(then: Any, now: Any) -> None:
    """That JSON of today has all that it had: fields may be added, and nothing else may change."""
    if isinstance(then, dict):
        assert then.keys() <= now.keys()
        for key, value in then.items():
            check_kept(value, now[key])
    elif isinstance(then, list):
        assert len(then) == len(now)
        for one, other in zip(then, now, strict=True):
            check_kept(one, other)
    else:
        assert then == now


@pytest.mark.parametrize("name", STATES)
def test_every_document_of_it_is_a_record(name: str, old: Callable[[str], Run]) -> None:
    """None of them is passed over, and all have what was written."""
    run = old(name)
    assert run.quote is not None
    assert (run.intent.attempt, run.intent.wanted, run.line) == (len(run.attempts) + 1, "up", run.quote.line)
    assert run.machine is not None
    assert run.heartbeat is not None or name == "failed"
    assert (run.exit is None) == (run.gone is None) == (name == "rented")
    assert len(run.places) == (0 if name != "rented" else 9)
    journal = import_module("cloudtrain.stacks._lifecycle.journal").Journal(run.store, "mine")
    assert journal.whole
    assert len(journal.lines()) == len((run.store.read("runs/mine/journal.jsonl") or b"").splitlines())


@pytest.mark.parametrize("name", ["finished", "failed"])
def test_a_run_of_this_machine_is_ended_again(name: str, old: Callable[[str], Run]) -> None:
    """It is looked for, and the certificate that is there stays."""
    run = old(name)
    before = run.store.read("runs/mine/gone.json")
    after = teardown.down(run, StopOptions(0.0))
    assert run.store.read("runs/mine/gone.json") == before
    assert after.gone is not None
    assert [each.reason for each in after.machines()] == (["done"] if name == "finished" else ["deadline", "bad_data"])


def test_a_finished_one_is_brought_home_and_has_taught(old: Callable[[str], Run], tmp_path: Path) -> None:
    """Its result is copied, and its measurement is not added a second time."""
    run = old("finished")
    assert (pull.pull(run, tmp_path / "home") / "adapter_config.json").exists()
    before = run.store.read(measurements.FILE)
    measurements.learn(run)
    assert run.store.read(measurements.FILE) == before
    assert out_of_memory.Estimate.of(run) is not None


def test_a_rented_one_is_gone_on_with_from_its_records(old: Callable[[str], Run]) -> None:
    """The plan, the places to try with their prices, and the ones that are full."""
    run = old("rented")
    plan = reconcile.plan_again(run)
    assert (plan.provider, plan.line, plan.max_restarts) == ("aws", run.line, 3)
    assert plan.agreed_usd is not None
    assert all(place.beside_usd_per_hour for place in run.places)
    first = run.attempts[0].line
    assert first is not None
    assert list(candidates.full_places(run.store)) == [first.key.place]
    assert [each.reason for each in run.machines()] == ["preempted", ""]
    assert attached.log_begin(run) > 0


def test_a_rented_one_asked_to_end_keeps_its_record(old: Callable[[str], Run]) -> None:
    """What `down` writes before anything is asked of the cloud."""
    run = old("rented")
    before = json.loads((DATA / "rented" / "runs" / "mine" / "intent.json").read_text())
    run.write("intent.json", run.intent.replace(wanted="down"))
    now = json.loads(run.store.read("runs/mine/intent.json") or b"")
    assert now == {**before, "wanted": "down", "version": 1}


BEFORE = 1796028000.0  # while its second machine trains


@pytest.fixture
def amazon(old: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch) -> Iterator[Standing]:
    """The account that it was begun in, at that hour, where the machine of its second attempt stands."""
    from cloudtrain.simulator.aws import AwsCloud
    from cloudtrain.simulator.clock import Clock

    monkeypatch.setattr(time, "time", lambda: BEFORE)
    fake = AwsCloud(Clock(BEFORE))
    for variable, value in fake.environment().items():
        monkeypatch.setenv(variable, value)
    crud, verbs = (import_module(f"cloudtrain.stacks.{name}") for name in ("_lifecycle.crud", "_pulumi.launch"))
    monkeypatch.setattr(verbs, "World", partial(crud.World, now=fake.clock.now, sleep=fake.clock.sleep))
    yield Standing(fake, old("rented"))
    fake.stop()


class Standing:
    """The recorded run, and in the fake account what its second attempt made, under the names and tokens of then."""

    def __init__(self, fake: Any, run: Run) -> None:
        cloud = load("stacks", "aws", Stack).cloud
        assert cloud is not None
        self.fake, self.cloud, self.run = fake, cloud, run
        own = cloud.account()["account"].encode()
        for name in ("journal.jsonl", "machine.json"):  # as if it were this account
            run.store.write(run.key(name), (run.store.read(run.key(name)) or b"").replace(b"100000000001", own))
        journal = import_module("cloudtrain.stacks._lifecycle.journal").Journal(run.store, "mine")
        made = {}
        for intent in journal.intents():
            if intent.call == "create" and (intent.inputs["attempt"] == 2 or cloud.drivers[intent.kind].shared):
                role = str(intent.inputs["role"])
                fake.clock.advance(30)  # until a new role is known everywhere
                made[role] = self.make(
                    intent.kind, {**intent.inputs, "needs": {**intent.inputs.get("needs", {}), **made}}
                )
        id = made["machine"]["id"]
        text = (run.store.read(run.key("journal.jsonl")) or b"").replace(b"i-57308db35317ebffc", id.encode())
        run.store.write(
            run.key("journal.jsonl"), text.replace(b"sg-746735d14a2a80c3b", made["firewall"]["id"].encode())
        )
        assert run.machine is not None
        run.write("machine.json", run.machine.replace(id=id))
        self.run = Run(run.store, "mine")

    def make(self, kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """One thing of those inputs, ready; as others need it."""
        driver = self.cloud.drivers[kind]
        seen = driver.create(inputs)
        while seen.state == "building":
            self.fake.clock.advance(1)
            seen = driver.status(inputs, seen.id)
        return {**seen.outputs, "id": seen.id}

    def machines(self) -> set[str]:
        """The names of the machines that cost money now."""
        return {owned.inputs["name"] for owned in self.cloud.list_owned(None, None) if owned.kind == "instance"}


def test_a_standing_machine_of_then_is_followed_and_ended(amazon: Standing) -> None:
    """Under its old name; the machine of the same run in another state stays."""
    plan = replace(reconcile.plan_again(amazon.run), attempt=2, state="0a1b2c3d")
    other = {each.role: each for each in amazon.cloud.resources(plan, amazon.cloud.account())}
    firewall = amazon.make("security_group", dict(other["firewall"].inputs))
    amazon.make("instance", {**other["machine"].inputs, "needs": {"firewall": firewall}, "boot": None})
    assert amazon.machines() == {"ct-3fd30542-2-machine", "ct-0a1b2c3d3fd30542-2-machine"}
    assert amazon.run.state == "running"
    assert reconcile.look(amazon.run) == ""
    after = teardown.down(amazon.run, StopOptions(0.0, force=True))
    assert after.gone is not None
    assert "lists nothing of it, twice" in after.gone.answer
    assert amazon.machines() == {"ct-0a1b2c3d3fd30542-2-machine"}


def test_a_further_attempt_keeps_the_old_names(amazon: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of it may still be somewhere is found by one name."""
    plans = []

    def start(plan: Plan, store: object, log: object) -> MachineRecord:
        plans.append(plan)
        return machine(provider="aws", kind="instance")

    run = Run(amazon.run.store, teardown.down(amazon.run, StopOptions(0.0, force=True)).id)
    plan = replace(reconcile.plan_again(run), idle=True)
    monkeypatch.setattr(launch, "load", lambda *names: load(*names)._replace(start=start))
    launch.start(run.store, plan)
    begun = Run(run.store, "mine").intent
    assert [(each.attempt, each.state) for each in plans] == [(3, "")] == [(begun.attempt, begun.state)]
    launch.start(run.store, replace(plan, run="new"))
    assert plans[1].state == Run(run.store, "new").intent.state == identity.find(run.store) != ""


def test_a_rented_one_is_proven_gone_by_its_old_journal(
    old: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash protocol looks for every create in it, in the account that it names."""
    from cloudtrain.simulator.aws import AwsCloud
    from cloudtrain.simulator.clock import Clock

    recover, crud, journal = (
        import_module(f"cloudtrain.stacks._lifecycle.{name}") for name in ("recover", "crud", "journal")
    )
    run, clock = old("rented"), Clock(LATER)
    fake = AwsCloud(clock)
    try:
        for variable, value in fake.environment().items():
            monkeypatch.setenv(variable, value)
        cloud = load("stacks", "aws", Stack).cloud
        assert cloud is not None
        key, own = "runs/mine/journal.jsonl", cloud.account()["account"].encode()
        run.store.write(key, (run.store.read(key) or b"").replace(b"100000000001", own))  # as if it were this account
        world = crud.World("aws", cloud, journal.Journal(run.store, "mine", clock.now), clock.now, clock.sleep)
        assert len(recover.creates(world)) == 6
        proof = recover.sweep(world, [])
    finally:
        fake.stop()
    assert "lists nothing of it, twice" in proof.answer
