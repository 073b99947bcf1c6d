"""A slice of four hosts on the fake Google cloud: one job on all of them, one voice, and a common end."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.client import ROOT
from tests.campaign.fork_server import Forked, ForkServer
from tests.engine.rented_world import World, steps, wait_for, world
from tests.product_copy import copy_of_the_product

pytestmark = [
    pytest.mark.machine,
    pytest.mark.soak,
    pytest.mark.xdist_group("slices"),
]  # they share a copy of the product
STEPS, HOSTS = 24, 4
SPEC = (
    "model: HuggingFaceTB/SmolLM2-135M-Instruct\nmethod: lora\ndata: {path: data.jsonl}\n"
    f"max_steps: {STEPS}\ngrad_accum: 16\n"
)
TABLE = "flavour,hardware,families,methods,devices,image,verdict,reason,instead\ntpu,*,*,*,*,*,yes,,\n"


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Of a copy of the product whose TPU trainer is the stand-in, and works on slices."""
    folder = tmp_path_factory.mktemp("product")
    tpu = copy_of_the_product(folder) / "templates" / "tpu"
    shutil.copy(Path(__file__).with_name("slice_trainer.py"), tpu / "fine_tune.py")
    (tpu / "quote" / "environments.csv").write_text(TABLE)
    made = ForkServer(tmp_path_factory.mktemp("commands"), f"{folder}:{ROOT}")
    yield made
    made.close()


@pytest.fixture(params=["v6e-16", "v5e-16"])
def rented(request: pytest.FixtureRequest, tmp_path: Path, commands: ForkServer) -> Iterator[World]:
    """A managed group of Compute Engine, and a queued resource of the Cloud TPU API."""
    with world(request.param, tmp_path, commands) as made:
        python = made.folder / "image"
        made.use_fake_trainer()
        for each in python.glob("environments/*/bin/python"):
            each.write_text(f'#!/bin/sh\nexec {sys.executable} -B "$@"\n')
        made.room.environment["SLICE_PAUSE_S"] = "0.1"
        yield made


def result() -> str:
    state = ""
    for step in range(1, STEPS + 1):
        state = hashlib.sha256(f"{state}/{step}".encode()).hexdigest()
    return json.dumps({"state": state})


def begin(made: World) -> tuple[Any, Forked]:
    """`up`, on the slice."""
    client = made.client("here")
    (client.folder / "cloudtrain.yaml").write_text(SPEC)
    process: Any = client.begin(*made.up, "--spot")
    return client, process


def ends(made: World, client: Any, process: Any) -> None:
    """The run is finished whole, by whatever way, and nothing is left."""
    wait_for(lambda: process.poll() is not None, "the end of the command")
    told = (client.folder / "output.txt").read_text()
    boots = [path.read_text() for box in made.boxes() for path in box.folder.glob("cloudtrain/boot.log")]
    assert process.code == 0, "\n".join([told, *boots])
    assert made.both.leftovers() == []
    assert (client.folder / "mine" / "adapter_config.json").read_text() == result()
    assert sorted(set(steps(made.log()))) == list(range(1, STEPS + 1))
    assert not made.objects_with_a_secret()


def starts(made: World) -> list[dict[str, Any]]:
    """What the trainers were told, of all hosts and attempts."""
    found = [json.loads(line) for line in made.machine_logs().splitlines() if line.startswith(b'{"event": "start"')]
    return [{key: each[key] for key in ("host", "hosts", "devices")} for each in found]


def test_a_slice_trains_as_one_machine(rented: World) -> None:
    """Every host is told its number; host 0 alone writes the run's log, checkpoints and result."""
    client, process = begin(rented)
    ends(rented, client, process)
    assert sorted(each["host"] for each in starts(rented)) == list(range(HOSTS))
    assert {(each["hosts"], each["devices"]) for each in starts(rented)} == {(HOSTS, 16)}
    assert steps(rented.log()) == list(range(1, STEPS + 1))
    names = rented.objects()
    for number in range(1, HOSTS):
        record = json.loads(names[f"hosts/1/{number}/exit.json"])
        assert (record["reason"], record["attempt"]) == ("done", 1)
        assert f"hosts/1/{number}/log/0000000000000000" in names
    assert not [name for name in names if name.startswith("hosts/") and ("ckpt" in name or "output" in name)]
    assert "hosts/1/0/exit.json" not in names


def tell(made: World, number: int) -> str:
    """The id of the machine that is the host of that number."""
    for name, box in made.room.running.items():
        logs = [path.read_bytes() for path in box.folder.glob("cloudtrain/*/run/log/*")]
        if any(f'"host": {number}'.encode() in log for log in logs):
            return name
    raise AssertionError(f"no host {number}")


def preempt(made: World, number: int) -> None:
    """With notice."""
    made.take_back(tell(made, number), 300.0)


def kill(made: World, number: int) -> None:
    """Without a word."""
    made.lose(tell(made, number))


@pytest.mark.parametrize("happens", [preempt, kill])
@pytest.mark.parametrize("number", [0, 2])
def test_one_lost_host_ends_all_and_another_slice_goes_on(
    rented: World, happens: Callable[[World, int], None], number: int
) -> None:
    """From the newest checkpoint, whichever host it was; the result is that of all steps in their order."""
    client, process = begin(rented)
    rented.wait_for_step(6)
    happens(rented, number)
    ends(rented, client, process)
    assert len(starts(rented)) == 2 * HOSTS
    resumed = [json.loads(line)["step"] for line in rented.log().splitlines() if b'"resumed"' in line]
    assert resumed[0] == 0
    assert resumed[1] >= 4
