"""What a rented machine writes is believed as a claim at most: nothing that decides money or deletion is its word.

Each test shows a door that is open today; the issue "Trust" closes them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cloudtrain.plan import Plan
from cloudtrain.runs.record import Run
from cloudtrain.runs.transfer import ticket as runs_ticket
from cloudtrain.runs.transfer.bundle import Bundle
from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.simulator.aws.wire import backend
from cloudtrain.simulator.gcp.storage import GcsCloud
from cloudtrain.state.store import open_store
from tests.campaign.job_world import JobWorld, Person
from tests.records import raw, row
from tests.runs.trust_world import Liar, command, post, rent, root_of, ticket

pytestmark = pytest.mark.machine

CONTROL = (
    *("intent.json", "quote.json", "candidates.json", "machine.json", "gone.json", "spec.yaml", "kill"),
    *("tombstone", "client.lock", "journal.jsonl", "journal.jsonl.d/1-a", "journal.jsonl.d//x", "attempts/001.json"),
    *("events.jsonl", "tickets/1.json", "hub-token", "pulumi/.pulumi/stacks/cloudtrain/mine.json"),
)


@pytest.fixture(params=["s3", "gs"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The form of a ticket for a run whose state lies in a bucket of this kind."""
    cloud: Any = AwsCloud() if request.param == "s3" else GcsCloud()
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    (s3.make_bucket if request.param == "s3" else GcsCloud.make_bucket)(cloud, "bucket-state")
    store = open_store(f"{request.param}://bucket-state/team" + ("?region=us-east-1" if request.param == "s3" else ""))
    job = {"model": "org/name"}
    plan = Plan("mine", "i", "aws", "cpu", row(), job, "", "0", time.time() + 3600, "test", (), 1.0)
    boot = runs_ticket.issue(store, Run(store, "mine"), plan, Bundle("bundles/0.tar.gz", "0" * 64, 7))
    yield raw(store, boot["ticket"])["post"]
    cloud.stop()


def test_a_machine_cannot_write_the_clients_records(form: dict[str, Any]) -> None:
    """Every control document, with a live form."""
    taken = {name: post(form, root_of(form) + name, b"{}") for name in CONTROL}
    assert taken == dict.fromkeys(CONTROL, 403)


def test_a_machine_can_write_what_is_its_own(form: dict[str, Any]) -> None:
    """Otherwise the refusals above would say nothing."""
    assert post(form, form["prefix"] + "hb.json", b"{}") == 204
    assert post(form, root_of(form).replace("mine", "other") + "hb.json", b"{}") == 403


@pytest.fixture
def person(world: JobWorld) -> Person:
    """Somebody who has rented a machine for `mine`."""
    made = world.person()
    rent(world, made)
    return made


def machines(world: JobWorld) -> list[str]:
    """The instances that cost money now."""
    return [words for words in world.fake.leftovers() if words.startswith("instance")]


def test_a_machine_does_not_decide_what_is_rented_next(world: JobWorld, person: Person) -> None:
    """It says that it was preempted, and that the run may go on for six days at any price with another bundle."""
    liar, first = Liar(world), ticket(world)
    secret = root_of(liar.form).replace("mine", "other") + "tickets/1.json"
    backend("s3", world.fake.account, "aws").put_object(
        "bucket-state", secret, b'{"post": "write form of another run"}'
    )
    intent = next(json.loads(data) for key, data in world.objects().items() if key.endswith("mine/intent.json"))
    bundle = {"key": "runs/other/tickets/1.json", "sha256": "0" * 64, "bytes": len(world.objects()[secret])}
    free = {"max_restarts": 100, "agreed_usd": None, "max_cost_usd": None, "deadline": time.time() + 6 * 86400}
    liar.write("intent.json", {**intent, "bundle": bundle, **free})
    liar.end("preempted", 75)
    command(person, "poll", "mine")
    last = ticket(world)
    assert "runs/other" not in last["bundle"]["url"]
    assert last["deadline"] == first["deadline"]


def test_a_machine_cannot_certify_its_own_end(world: JobWorld, person: Person) -> None:
    """It says that it failed and is gone, and stands: who polls hears of it, or ends it."""
    liar = Liar(world)
    liar.end("failed", 1)
    word = {"run": "mine", "provider": "aws", "said_by": "aws", "answer": "aws lists nothing of it, twice, 60 s apart"}
    liar.write("gone.json", {**word, "time": time.time(), "billed_s": 1.0})
    code, said = command(person, "poll", "mine")
    assert not (code == 0 and machines(world)), said


@pytest.mark.parametrize("name", ["journal.jsonl.d//x", "journal.jsonl.d/../x"])
def test_a_strange_object_name_does_not_block_down(world: JobWorld, person: Person, name: str) -> None:
    """Exit 0 with a certificate."""
    Liar(world).write(name, b"{}")
    code, said = command(person, "down", "mine")
    assert (code, machines(world)) == (0, []), said


CLAIMS = (
    ("hb.json", b"[1]"),
    pytest.param("exit.json", b"[1]", marks=pytest.mark.soak),
    ("exit.json", b'{"reason": ["x"]}'),
)
STANDS = (
    pytest.param("machine.json", b"[1]", marks=pytest.mark.soak),
    ("machine.json", b'{"kind": "x"}'),
    ("tombstone", b"9" * 5000),
)
NO_CERTIFICATE = (("attempts/001.json", b"[1]"), ("quote.json", b"[1]"))


@pytest.mark.parametrize(("name", "data"), [*CLAIMS, *STANDS, *NO_CERTIFICATE])
def test_down_goes_through_whatever_a_record_holds(world: JobWorld, person: Person, name: str, data: bytes) -> None:
    """0 and nothing left, or 6 with a list; never 1."""
    where = next(key for key in world.objects() if key.endswith("mine/intent.json")).removesuffix("intent.json")
    store = backend("s3", world.fake.account, "aws")
    for folder in ("", "machine/"):
        store.put_object("bucket-state", where + folder + name, data)
    code, said = command(person, "down", "mine")
    assert (code, machines(world)) == (0, []) or code == 6, said


def test_a_run_is_not_called_like_an_option(world: JobWorld) -> None:
    """`down -rf` would be read as something else."""
    words = ("-y", "--accept-stale", "--experimental", *world.rental.words, "--on-demand", "--max-hours", "1h", "-d")
    code, said = command(world.person(), "up", *words, "--name=-rf")
    assert (code, machines(world)) == (2, []), said
