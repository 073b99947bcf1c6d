"""A model on a rented machine: how gated weights get there, and its tokenizer's look at the data before it is rented."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.simulator.aws.wire import backend
from tests import fakes
from tests.campaign.job_world import JobWorld, Person
from tests.patience import PATIENCE_S
from tests.runs.trust_world import RUN, command, rent, ticket

pytestmark = pytest.mark.machine

GATED = "meta-llama/Llama-3.2-1B-Instruct"
TOKEN = "hf_PlantedSecretOfTheHub"  # it opens nothing
NAME = f"{RUN}hub-token"


@pytest.fixture
def person(world: JobWorld) -> Person:
    """Somebody with a spec for a gated model, and a token in a variable."""
    made = world.person()
    (made.folder / "cloudtrain.yaml").write_text(f"model: {GATED}\ndata: {{path: data.jsonl}}\nmethod: lora\n")
    made.environment["MY_TOKEN"] = TOKEN
    return made


def holding(world: JobWorld, text: str) -> list[str]:
    """The objects of the bucket that hold a text."""
    return [key for key, data in world.objects().items() if text.encode() in data]


def put_in_state(world: JobWorld, *names: str) -> None:
    """Files of the model, where a rented machine can reach them."""
    for name in names:
        key = f"team/models/meta-llama--Llama-3.2-1B-Instruct/{name}"
        backend("s3", world.fake.account, "aws").put_object("bucket-state", key, b"{}")


def plan_of(world: JobWorld, person: Person) -> tuple[int, str]:
    """What a dry run says."""
    words = ("--accept-stale", "--on-demand", "--max-hours", "1h", "--name", "mine", "--dry-run")
    return command(person, "up", *world.rental.words, *words)


def instances(world: JobWorld) -> list[Any]:
    """Every instance of the fake cloud, with what it was given."""
    regions = ("us-east-1", "us-west-2")
    backends = [backend("ec2", world.fake.account, region) for region in regions]
    return [each for found in backends for held in found.all_reservations() for each in held.instances]


def test_nothing_is_rented_for_a_gated_model_without_a_token(world: JobWorld, person: Person) -> None:
    """One sentence with both ways out; a token in a variable of the client is not taken unasked."""
    person.environment["HF_TOKEN"] = TOKEN
    words = ("up", "-y", "--accept-stale", *world.rental.words, "--on-demand", "--name", "mine")
    code, said = command(person, *words)
    assert (code, world.fake.leftovers()) == (2, [])
    assert f"cloudtrain.yaml:1: {GATED} is gated" in said
    assert "--hub-token-from" in said
    assert "models/meta-llama--Llama-3.2-1B-Instruct/" in said
    assert len(said.splitlines()) == 2
    assert TOKEN not in said
    assert not [key for key in world.objects() if RUN in key]


def test_a_copy_in_the_state_needs_no_token(world: JobWorld, person: Person) -> None:
    """The machine is sent there."""
    put_in_state(world, "config.json", "model.safetensors")
    rent(world, person)
    found = ticket(world)
    assert len(found["model"]["files"]) == 2
    assert found["hub_token"] is None


def test_a_token_is_in_one_object_until_the_end(world: JobWorld, person: Person) -> None:
    """Behind a signed address that only the ticket has; in no record, no user data, no output; deleted by `down`."""
    rent(world, person, "--hub-token-from", "MY_TOKEN")
    (key,) = holding(world, TOKEN)
    assert key.endswith(NAME)
    assert world.objects()[key].decode() == TOKEN
    with urllib.request.urlopen(ticket(world)["hub_token"]["url"], timeout=PATIENCE_S) as answer:
        assert answer.read().decode() == TOKEN
    (given,) = [each.user_data.decode() for each in instances(world)]
    assert "CLOUDTRAIN_TICKET" in given
    assert TOKEN not in given
    code, said = command(person, "down", "mine")
    assert code == 0, said
    assert TOKEN not in said
    assert holding(world, TOKEN) == []


def test_a_run_that_found_no_place_keeps_no_token(world: JobWorld, person: Person) -> None:
    """Every place is full: exit 7."""
    world.fake.faults.add("RunInstances", "no_capacity", times=1000)
    place = ("--infra", "aws/us-east-1", "--hardware", "cpu-amx:64")
    words = ("up", "-y", "--accept-stale", *place, "--on-demand", "--name", "mine", "-d")
    code, said = command(person, *words, "--hub-token-from", "MY_TOKEN")
    assert code == 7, said
    assert holding(world, TOKEN) == []


def test_the_tokenizer_in_the_state_judges_the_data(
    world: JobWorld, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is rented: its figures are in the plan, and data that it cannot use is refused."""
    put_in_state(world, "config.json", "model.safetensors", "tokenizer_config.json")
    code, said = plan_of(world, person)
    assert code == 0, said
    assert "not checked with the model's tokenizer: there is no environment of the trainer on this machine" in said
    monkeypatch.setenv("CLOUDTRAIN_CACHE", person.environment["CLOUDTRAIN_CACHE"])
    home = Path(person.environment["HOME"])
    python = fakes.environment_with_fake_trainer(home)
    code, said = plan_of(world, person)
    assert code == 0, said
    assert "data: 4 rows, 400 tokens" in said
    assert "checked and counted with the model's tokenizer" in said
    problem = {**fakes.COUNTED, "problem_count": 1, "problems": [{"line": 3, "problem": "the template drops tools"}]}
    python.write_text(python.read_text().replace(json.dumps(fakes.COUNTED), json.dumps(problem)))
    code, said = plan_of(world, person)
    assert (code, world.fake.leftovers()) == (2, [])
    assert "data.jsonl:3: the template drops tools" in said


def test_a_tokenizer_that_cannot_be_had_is_said(
    world: JobWorld, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan says that the data was not checked, and why; the weights' line says that they are not pinned."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", person.environment["CLOUDTRAIN_CACHE"])
    fakes.environment_with_fake_trainer(Path(person.environment["HOME"]))
    (person.folder / "cloudtrain.yaml").write_text("model: qwen3-0.6b\ndata: {path: data.jsonl}\nmethod: lora\n")
    code, said = plan_of(world, person)
    assert code == 0, said
    assert (
        "not checked with the model's tokenizer: its tokenizer is not on this machine (HF_HUB_OFFLINE is set)" in said
    )
    assert "Qwen/Qwen3-0.6B of the hub, whatever is newest when they are fetched: not pinned (HF_HUB_OFFLINE" in said
