"""The demo, a real model, on every cloud that runs jobs: trained by what was sent to its API, from the bucket alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.settings import cache_folder
from tests.campaign.client import Client
from tests.engine.pairs import gate
from tests.engine.rented_world import (
    CLOUDS,
    SPOT,
    World,
    events,
    report,
    said,
    steps,
    until_not_held,
    wait_for,
    world,
)
from tests.patience import PATIENCE_S
from tests.trainer_fixtures import TEMPLATES, demo_model, trainer_python, warm_python

__all__ = ["demo_model", "trainer_python", "warm_python"]
pytestmark = [pytest.mark.engine, pytest.mark.trainer]
NAME = "SmolLM2-135M-Instruct"
STEPS = 12  # of the demo's 16: 8 of its 10 unseen questions are answered in the form after them, none before
FORM = re.compile(r"ANSWER: [^;]+; COUNTRY: [^.]+\.")
WEIGHTS = "model.safetensors"


@pytest.fixture
def everywhere(request: pytest.FixtureRequest, tmp_path: Path, demo_model: Path) -> Iterator[World]:
    """Each cloud in turn, with the model in its bucket."""
    with world(request.param, tmp_path) as made:
        yield with_model(made, demo_model)


@pytest.fixture
def amazon(tmp_path: Path, demo_model: Path) -> Iterator[World]:
    """One of them."""
    with world("aws", tmp_path) as made:
        yield with_model(made, demo_model)


def with_model(made: World, model: Path) -> World:
    """The weights where a machine finds them, and its image's environment, which is the one of these tests."""
    for path in model.iterdir():
        made.put(f"models/{NAME}/{path.name}", path.read_bytes())
    made.use_cache(cache_folder())
    return made


def demo(made: World, model: Path, steps: int, every: str = "5m") -> Client:
    """A client with the demo's spec; its own folder of the model holds no weights."""
    client = made.client("here")
    own = client.folder / NAME
    shutil.copytree(model, own, ignore=shutil.ignore_patterns(WEIGHTS))
    spec = (TEMPLATES / "demo" / "cloudtrain.yaml").read_text()
    spec = spec.replace(f"model: {NAME}", f"model: {own}").replace("max_steps: 16", f"max_steps: {steps}")
    (client.folder / "cloudtrain.yaml").write_text(spec + f"checkpoint: {{every: {every}}}\n")
    shutil.copy(TEMPLATES / "demo" / "capitals.jsonl", client.folder)
    return client


def answer(python: Path, model: Path, adapter: Path) -> str:
    """What the tuned model says about a country that is not in the data."""
    questions = adapter.parent / "question.jsonl"
    questions.write_text(json.dumps({"question": "What is the capital of Portugal?"}) + "\n")
    words: list[str | Path] = [
        python,
        TEMPLATES / "torch" / "ask.py",
        "--model",
        model,
        "--adapter",
        adapter,
        "--questions",
        questions,
    ]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*words, "--max-tokens", "24"], capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout.splitlines()[-1])["answer"])


def same_bytes(made: World) -> bool:
    """Whether the log in the bucket is the one that was written on the machines."""
    return hashlib.sha256(made.log()).digest() == hashlib.sha256(made.machine_logs()).digest()


def fetched_bytes(made: World) -> int:
    """What the machines have fetched out of the bucket besides the bundle, as they tell."""
    told = [json.loads(data) for name, data in made.objects().items() if name.startswith("events.jsonl.d/")]
    return sum(event["bytes"] for event in told if event["event"] == "fetched")


# The gate's one training: an accelerator that the processor plays, so that this is seen as well.
@gate("mi300x", of=CLOUDS, fixture="everywhere")
def test_the_demo_trains_on_a_rented_machine(everywhere: World, warm_python: Path, demo_model: Path) -> None:
    """Exit 0, logs equal by SHA-256, an adapter that answers in the new form, nothing left, quoted beside metered."""
    client = demo(everywhere, demo_model, STEPS)
    ended = client.run(*everywhere.up)
    assert ended.code == 0, everywhere.told(ended)
    assert everywhere.both.leftovers() == []
    assert same_bytes(everywhere)
    assert client.run("logs", "mine").out.encode() == everywhere.log()
    assert steps(everywhere.log()) == list(range(1, STEPS + 1))
    assert fetched_bytes(everywhere) == sum(path.stat().st_size for path in demo_model.iterdir())
    assert FORM.fullmatch(answer(warm_python, demo_model, client.folder / "mine"))
    account = report(client)
    assert account["state"] == "finished"
    assert float(account["quoted_usd"]["likely"]) > 0
    assert float(account["metered_usd"]) > 0
    (start,) = events(everywhere.log(), "start")
    assert start["accelerator"] == everywhere.cloud.accelerator
    assert start.get("played_by") == (None if everywhere.cloud.accelerator == "cpu" else "cpu")
    assert (b"played by the CPU" in everywhere.log()) == ("played_by" in start)


@pytest.mark.soak
def test_a_preempted_training_goes_on_elsewhere(amazon: World, warm_python: Path, demo_model: Path) -> None:
    """With notice in the middle: no step is made twice, the last one is the last, the report has both machines."""
    at = 4
    client = demo(amazon, demo_model, STEPS)
    process = client.begin(*amazon.up, SPOT["aws"])
    amazon.wait_for_step(at)
    (first,) = amazon.room.running
    amazon.take_back(first, 60.0)
    assert process.wait(PATIENCE_S) == 0, said(client)
    assert amazon.both.leftovers() == []
    assert same_bytes(amazon)
    assert steps(amazon.log()) == list(range(1, STEPS + 1))
    resumed = [event["resumed_from"] for event in events(amazon.log(), "start")]
    assert resumed[0] == 0
    assert len(resumed) == 2
    assert resumed[1] >= at
    account = report(client)
    assert [machine["reason"] for machine in account["machines"]] == ["preempted", "done"]
    assert account["machines"][0]["id"] == first != account["machines"][1]["id"]
    assert account["steps"] == STEPS
    assert FORM.fullmatch(answer(warm_python, demo_model, client.folder / "mine"))


@pytest.mark.soak
def test_a_training_needs_no_client_after_the_create_call(amazon: World, demo_model: Path) -> None:
    """kill -9 while the create is on its way, and nobody comes back: another home brings a real adapter home."""
    client = demo(amazon, demo_model, 3)
    with amazon.held_creates():
        process = client.begin(*amazon.up)
        wait_for(lambda: "RunInstances" in amazon.fake.calls, "the create call", process)
        process.kill()
        process.wait()
    wait_for(lambda: "exit.json" in amazon.objects(), "the exit record")
    amazon.wait_for_quiet()
    elsewhere = amazon.newcomer("there")
    polled = until_not_held(elsewhere, "poll", "mine", "--finish")
    assert polled.code == 0, amazon.told(polled)
    assert (elsewhere.folder / "mine" / "adapter_model.safetensors").stat().st_size > 1_000_000
    assert amazon.both.leftovers() == []
    assert same_bytes(amazon)
