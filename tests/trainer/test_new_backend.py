"""Adding a trainer back end is one folder in `templates/`: dropped into a copy of the product, everything works with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain import backends
from tests.campaign.client import ROOT, Ended
from tests.campaign.fork_server import ForkServer
from tests.campaign.forked_client import ForkedClient
from tests.campaign.job_world import Command, JobWorld
from tests.patience import until
from tests.product_copy import copy_of_the_product

pytestmark = [pytest.mark.machine, pytest.mark.xdist_group("new-backend")]  # they share a copy of the product
STEPS = 30
SPEC = f"model: HuggingFaceTB/SmolLM2-135M-Instruct\nmethod: lora\ndata: {{path: data.jsonl}}\nmax_steps: {STEPS}\n"
NO_CLOUD: Any = SimpleNamespace(slow_s=0.0, environment=dict)  # a client on this machine needs none


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the product with the toy's folder in it, as a search path; not one line elsewhere was changed for it."""
    folder = tmp_path_factory.mktemp("product")
    package = copy_of_the_product(folder)
    shutil.copytree(Path(__file__).parent / "toy", package / "templates" / "toy")
    return f"{folder}:{ROOT}"


def result() -> str:
    """What the adapter of a whole run holds: every step's state is made of the one before."""
    state = ""
    for step in range(1, STEPS + 1):
        state = hashlib.sha256(f"{state}/{step}".encode()).hexdigest()
    return state


def events(log: str, kind: str) -> list[dict[str, Any]]:
    """The trainer's events of one kind."""
    found = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [event for event in found if event["event"] == kind]


class Here:
    """Somebody with a spec, on this machine alone."""

    def __init__(self, folder: Path, product: str, commands: ForkServer) -> None:
        more = {"CLOUDTRAIN_CACHE": str(folder / "cache"), "HOME": str(folder)}
        self.client = ForkedClient(commands, folder, NO_CLOUD, **more, PYTHONPATH=product)
        (folder / "cloudtrain.yaml").write_text(SPEC)

    def up(self, *words: str) -> Ended:
        return self.client.run("up", "-y", "--infra", "local", "--name", f"toy-{os.getpid()}", *words)

    def log(self) -> str:
        return self.client.run("logs", f"toy-{os.getpid()}").out


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory, product: str) -> Iterator[ForkServer]:
    """Of the copy."""
    made = ForkServer(tmp_path_factory.mktemp("commands"), product)
    yield made
    made.close()


@pytest.fixture
def here(tmp_path: Path, product: str, commands: ForkServer) -> Iterator[Here]:
    made = Here(tmp_path, product, commands)
    yield made
    made.client.run("down", f"toy-{os.getpid()}")


def test_the_new_trainer_runs_stops_and_resumes_here(here: Here) -> None:
    """Its environment, its token check, its variables, its SIGTERM, its checkpoint, its result."""
    here.client.environment["TOY_STAYS_AT"] = "6"
    begun = here.up("--detach")
    assert begun.code == 0, begun.out + begun.err
    assert "making the toy trainer's environment" in begun.err + begun.out
    assert "the standard library" in begun.out + begun.err
    until(lambda: len(events(here.log(), "step")) >= 6, "the sixth step")
    assert here.client.run("down", f"toy-{os.getpid()}").code == 0
    first = here.log()
    assert events(first, "stopped")[0]["reason"] == "SIGTERM"
    assert events(first, "start")[0]["mood"] == "cheerful"
    assert [event["step"] for event in events(first, "checkpoint")] == [4, 6]
    here.client.environment.pop("TOY_STAYS_AT")
    ended = here.up()
    assert ended.code == 0, ended.out + ended.err
    whole = here.log()
    assert events(whole, "start")[-1]["resumed_from"] == 6
    assert [event["step"] for event in events(whole, "step")] == list(range(1, STEPS + 1))
    home = here.client.folder / f"toy-{os.getpid()}"
    assert (home / "adapter_model.bin").read_text() == result()
    merged = here.client.run("pull", f"toy-{os.getpid()}", "--merge", "--to", str(here.client.folder / "whole"))
    assert merged.code == 2
    assert "the `toy` trainer cannot merge its adapters" in merged.err


def test_the_plan_says_what_the_new_trainer_cannot_do(here: Here) -> None:
    """A method and a field, each in a sentence with what it takes instead; nothing is made for them."""
    for change, says, instead in (
        ("method=qlora", "`toy` trainer does not do `method: qlora`: it has nothing else", "it takes lora"),
        ("lora.dropout=0.1", "`toy` trainer does not do `lora.dropout: 0.1`: it never forgets", "it takes 0"),
    ):
        refused = here.up("--new", change)
        assert refused.code == 3, refused.out
        assert says in refused.err
        assert instead in refused.err
    assert not list((here.client.folder / "cache" / "environments").glob("toy-*"))


def test_its_rows_are_judged_before_anything_is_made(here: Here) -> None:
    """By the one reader; and its own program counts what the client then shows."""
    planned = here.up("--dry-run")
    assert planned.code == 0, planned.err
    assert "data: 10 rows, 20 tokens" in planned.out + planned.err
    (here.client.folder / "data.jsonl").write_text('{"conversations": [{"from": "nobody", "value": "a"}]}\n')
    refused = here.up("--dry-run")
    assert refused.code == 2
    assert "data.jsonl:1: turn 1 is from `nobody`" in refused.err


@pytest.fixture
def world(commands: ForkServer) -> Iterator[JobWorld]:
    """A cloud whose machines run, for clients of the copy."""
    made = JobWorld("gce", commands)
    made.begin()
    yield made
    made.end()
    made.close()


def ends(command: Command) -> int:
    """The exit code of a command."""
    until(lambda: command.process.poll() is not None, "the end of the command")
    assert command.process.code is not None
    return command.process.code


def test_the_new_trainer_survives_a_machine_that_is_preempted(world: JobWorld) -> None:
    """The machine makes the environment itself; another one goes on from the checkpoint; the result comes home."""
    room = world.fake.room.environment
    room.pop("CLOUDTRAIN_CACHE")
    room.update(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", TOY_STAYS_AT="6")
    person = world.person()
    (person.folder / "cloudtrain.yaml").write_text(SPEC)
    words = ("up", *world.rental.words, "--spot", "-y", "--accept-stale", "--max-hours", "1h", "--name", "mine")
    command = person.give(*words)

    def log() -> str:
        chunks = {name: data for name, data in world.objects().items() if "/runs/mine/" in name and "/log/" in name}
        return b"".join(chunks[name] for name in sorted(chunks)).decode()

    until(lambda: len(events(log(), "step")) >= 6 or command.process.poll() is not None, "the sixth step")
    assert command.process.poll() is None, command.said
    room.pop("TOY_STAYS_AT")
    (name,) = [each["name"] for each in world.fake.table.of("instances")]
    world.fake.preempt(name, 300.0)  # as long as its last checkpoint takes
    assert ends(command) == 0, command.said + str([world.fake.room.console(each) for each in world.fake.room.ended])
    starts = events(log(), "start")
    assert [event["mood"] for event in starts] == ["cheerful", "cheerful"]
    assert starts[1]["resumed_from"] == 6
    assert sorted({event["step"] for event in events(log(), "step")}) == list(range(1, STEPS + 1))
    assert (person.folder / "mine" / "adapter_model.bin").read_text() == result()
    assert not world.both.leftovers()


def test_the_copy_differs_by_new_files_alone(product: str) -> None:
    """What was dropped in is a folder; everything else is the product as it is installed."""
    copy = Path(product.partition(":")[0]) / "cloudtrain" / "templates"
    before = {path.relative_to(backends.templates()): path.read_bytes() for path in files_of(backends.templates())}
    after = {path.relative_to(copy): path.read_bytes() for path in files_of(copy)}
    assert before.items() <= after.items()
    assert {path.parts[0] for path in after.keys() - before.keys()} == {"toy"}


def files_of(folder: Path) -> list[Path]:
    """What Python has not written itself."""
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
