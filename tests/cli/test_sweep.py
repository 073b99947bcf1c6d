"""`cloudtrain sweep`: finds what a client made and forgot on every cloud, ends what should be gone, and says the truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest

from cloudtrain.providers import run_key
from cloudtrain.simulator.http_server import Fake
from cloudtrain.state.store import LocalFolder
from tests.campaign.clouds import TARGETS, Target
from tests.cli.clouds_here import HOUR, forget_machine, same_as_golden, standing, without_credentials
from tests.conftest import Result
from tests.records import begin

Command = Callable[..., Result]
SOMEWHERE_ELSE = {
    "aws": {"region": "us-west-2", "zone": "usw2-az4"},
    "gce": {"region": "us-central1", "zone": "us-central1-b"},
    "tpu": {"region": "us-central1", "zone": "us-central1-a"},
    "runpod": {"region": "EU-RO-1"},
    "digitalocean": {"region": "mem1", "offer": "gpu-mi355x1-288gb-spot", "hardware": "mi355x"},
}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, own_world: Path) -> None:
    """No credentials but those of a fake."""
    without_credentials(monkeypatch, own_world)


@pytest.fixture(params=sorted(TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    """Each cloud in turn."""
    return TARGETS[request.param]


@pytest.fixture
def fake(target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """Its fake."""
    with standing(target.name, monkeypatch) as fake:
        yield fake


@pytest.fixture
def runpod(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """RunPod's fake: the quickest."""
    with standing("runpod", monkeypatch) as fake:
        yield fake


def later(fake: Fake, monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """Only the client's clock moves on: what should have ended has not."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", str(fake.clock.now() + hours * HOUR))


def test_what_was_forgotten_is_found_in_every_place_and_ended(
    cloudtrain: Command, fake: Fake, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a record: two regions and more than a page, unexpired left alone, expired gone, the ledger empty."""
    forget_machine(fake, target, "one")
    forget_machine(fake, target, "two", **SOMEWHERE_ELSE[target.name])
    forget_machine(fake, target, "three", hours=40)
    standing_things = fake.leftovers()
    unexpired = cloudtrain("sweep", "--yes", "--provider", target.provider)
    assert (unexpired.code, fake.leftovers()) == (0, standing_things)
    assert "not due: left alone" in unexpired.out
    later(fake, monkeypatch, 2)
    swept = cloudtrain("sweep", "--yes", "--provider", target.provider)
    assert swept.code == 0, swept.err
    assert "past its deadline" in swept.out
    assert fake.ledger.running()
    listed = json.loads(cloudtrain("sweep", "-o", "json", "--provider", target.provider).out)
    assert {thing["run_key"] for thing in listed} == {run_key("three")}
    everything = cloudtrain("sweep", "--yes", "--all", "--provider", target.provider)
    assert everything.code == 0, everything.err
    assert fake.leftovers() == []


def test_json_follows_its_schema(cloudtrain: Command, fake: Fake, target: Target) -> None:
    """`-o json` validates against `cloudtrain schema sweep`, with things and without."""
    schema = json.loads(cloudtrain("schema", "sweep").out)
    assert json.loads(cloudtrain("sweep", "-o", "json").out) == []
    forget_machine(fake, target)
    things = json.loads(cloudtrain("sweep", "-o", "json", "--provider", target.provider).out)
    jsonschema.validate(things, schema)
    assert any(thing["bills"] for thing in things)
    assert not any(thing["left_over"] for thing in things)
    assert {thing["provider"] for thing in things} == {target.provider}


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("sweep-left-alone", ["sweep", "--provider", "runpod"]),
        ("sweep-all", ["sweep", "--all", "--yes"]),
        ("sweep-markdown", ["sweep", "--provider", "runpod", "-o", "md"]),
        ("sweep-csv", ["sweep", "--provider", "runpod", "-o", "csv"]),
        ("sweep-nobody-to-ask", ["sweep", "--all", "--provider", "runpod"]),
    ],
)
def test_whole_outputs(cloudtrain: Command, runpod: Fake, name: str, argv: list[str]) -> None:
    """What a person reads, kept whole; only what was asked for is deleted."""
    forget_machine(runpod, TARGETS["runpod"])
    same_as_golden(name, argv, cloudtrain(*argv))
    assert (runpod.leftovers() == []) == ("--yes" in argv)


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("sweep-nothing-to-ask", ["sweep"]),
        ("sweep-no-credentials", ["sweep", "--provider", "runpod"]),
        ("sweep-unknown-provider", ["sweep", "--provider", "runpood"]),
        ("sweep-local", ["sweep", "--provider", "local"]),
    ],
)
def test_without_credentials(cloudtrain: Command, name: str, argv: list[str]) -> None:
    """Nothing to ask is success; a provider that was named and cannot be asked is not."""
    same_as_golden(name, argv, cloudtrain(*argv))


def test_fail_if_found_also_fails_for_who_was_not_asked(cloudtrain: Command, own_world: Path) -> None:
    """--fail-if-found in a job that has lost its credentials is not green."""
    ended = cloudtrain("sweep", "--yes", "--fail-if-found")
    assert ended.code == 4
    assert "nobody could be asked" in ended.err
    assert cloudtrain("sweep", "--yes").code == 0


def test_a_provider_of_a_standing_run_is_to_be_asked(cloudtrain: Command, runpod: Fake, own_world: Path) -> None:
    """One was begun at AWS, and here are only RunPod's credentials."""
    assert cloudtrain("sweep", "--yes", "--fail-if-found").code == 0
    begin(LocalFolder(own_world / "state"), "far", provider="aws")
    ended = cloudtrain("sweep", "--yes", "--fail-if-found")
    assert ended.code == 4
    assert "aws" in ended.err


def test_a_damaged_record_may_be_of_a_provider_not_asked(cloudtrain: Command, runpod: Fake, own_world: Path) -> None:
    """It may have been begun at a provider that was not asked."""
    (own_world / "state" / "runs" / "odd").mkdir(parents=True)
    (own_world / "state" / "runs" / "odd" / "intent.json").write_text("[1]")
    ended = cloudtrain("sweep", "--yes", "--fail-if-found")
    assert ended.code == 4
    assert "odd" in ended.err
    assert cloudtrain("sweep", "--yes", "--fail-if-found", "--provider", "runpod").code == 0


def test_found_and_gone_can_be_a_failure(cloudtrain: Command, runpod: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """--fail-if-found: 0 for an empty account and for what is not due, 1 when something had to be deleted."""
    assert cloudtrain("sweep", "--yes", "--fail-if-found").code == 0
    forget_machine(runpod, TARGETS["runpod"])
    assert cloudtrain("sweep", "--yes", "--fail-if-found").code == 0
    later(runpod, monkeypatch, 2)
    result = cloudtrain("sweep", "--yes", "--fail-if-found")
    assert (result.code, runpod.leftovers()) == (1, [])
    assert cloudtrain("sweep", "--yes", "--fail-if-found").code == 0


@pytest.mark.parametrize("words", [[], ["--provider", "runpod"], ["--fail-if-found"]])
def test_a_provider_that_is_down_is_named_and_ends_6(cloudtrain: Command, runpod: Fake, words: list[str]) -> None:
    """Nothing is proven about a provider that does not answer, so nothing is claimed."""
    runpod.faults.add("list*", "unavailable", times=99)
    result = cloudtrain("sweep", "--yes", *words)
    assert result.code == 6
    assert "runpod could not be asked" in result.err


def test_a_provider_that_is_down_leaves_the_others_swept(
    cloudtrain: Command, runpod: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another provider holds is deleted first, then the silence is told; so with missing credentials."""
    forget_machine(runpod, TARGETS["runpod"])
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "set")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "set")
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        result = cloudtrain("sweep", "--yes", "--all")
    assert result.code == 6
    assert "aws could not be asked" in result.err
    assert runpod.leftovers() == []
    forget_machine(runpod, TARGETS["runpod"], "another")
    result = cloudtrain("sweep", "--yes", "--all", "--provider", "gcp", "--provider", "runpod")
    assert (result.code, runpod.leftovers()) == (4, [])


def test_a_key_that_is_refused_is_not_a_clean_account(
    cloudtrain: Command, runpod: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI with a key that has been revoked must not be told that all is well."""
    monkeypatch.setenv("RUNPOD_API_KEY", "revoked")
    assert cloudtrain("sweep", "--yes").code == 6
    assert cloudtrain("sweep", "--yes", "--provider", "runpod").code == 4


def test_what_cannot_be_deleted_is_6_with_a_link(
    cloudtrain: Command, runpod: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused delete is repeated; in the end it is told what is left, why, and where a person can look at it."""
    forget_machine(runpod, TARGETS["runpod"])
    later(runpod, monkeypatch, 2)
    runpod.faults.add("deletePod", "refused", times=999)
    monkeypatch.setattr("cloudtrain.runs.sweep.PATIENCE_ROUNDS", 4)
    result = cloudtrain("sweep", "--yes")
    assert (result.code, "the pod is locked" in result.err, "https://" in result.err) == (6, True, True)
    assert "runpod: 0 of 1 gone" in result.err
    runpod.faults.clear()
    assert (cloudtrain("sweep", "--yes").code, runpod.leftovers()) == (0, [])


def test_a_damaged_state_does_not_stop_it(
    cloudtrain: Command, runpod: Fake, own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut documents, a file in the place of the state, broken settings: told, and the cloud is swept all the same."""
    store = LocalFolder(own_world / "state")
    store.write("runs/cut/intent.json", b'{"provider": "run')
    begin(store, "done", provider="runpod", wanted="down")
    forget_machine(runpod, TARGETS["runpod"], "done")
    result = cloudtrain("sweep", "--yes")
    assert (result.code, runpod.leftovers()) == (0, [])
    assert "run `done` is ended" in result.out
    assert "runs/cut/intent.json" in result.err
    (own_world / "file").write_text("not a folder")
    for state in (own_world / "file", "s3://"):
        monkeypatch.setenv("CLOUDTRAIN_STATE", str(state))
        forget_machine(runpod, TARGETS["runpod"], "done")
        assert (cloudtrain("sweep", "--yes", "--all").code, runpod.leftovers()) == (0, [])
    (own_world / "config.toml").write_text("= =")
    forget_machine(runpod, TARGETS["runpod"], "done")
    result = cloudtrain("sweep", "--yes", "--all")
    assert (result.code, runpod.leftovers()) == (0, [])
    assert "config.toml" in result.err
