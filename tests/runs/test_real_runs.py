"""`cloudtrain up` whole, as processes of its own: the real trainer on a two-layer model, killed and gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloudtrain.providers import Stack, load
from cloudtrain.runs import follow
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.patience import PATIENCE_S
from tests.records import raw
from tests.templates.conftest import PLACES, conversation, tiny_model, write_rows
from tests.trainer_fixtures import demo_model, trainer_python, warm_cache, warm_python

__all__ = ["demo_model", "tiny_model", "trainer_python", "warm_cache", "warm_python"]  # fixtures
pytestmark = pytest.mark.trainer
STEPS = 40
CHECKPOINT_S = 1.0


class Desk:
    """A folder with a spec and data, and the command line as a separate process."""

    def __init__(self, folder: Path, model: Path, state: Path) -> None:
        self.folder, self.state = folder, state
        rows = [
            conversation(f"{asked} the capital of {country}?", f"It is {city}, in {country}.")
            for asked in ("What is", "Which city is", "Do you know", "Name")
            for country, city in PLACES.items()
        ]
        write_rows(folder / "d.jsonl", rows)
        (folder / "cloudtrain.yaml").write_text(
            f"model: {model}\ndata: d.jsonl\nmethod: lora\nsequence_length: 128\nmax_steps: {STEPS}\nlr: 0.005\n"
            f"checkpoint: {{every: {CHECKPOINT_S}s, keep: 2}}\n"
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command, running."""
        return subprocess.Popen(
            [sys.executable, "-m", "cloudtrain", *words],
            cwd=self.folder,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        """A command, to its end."""
        process = self.start(*words)
        out, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, out, err

    def json(self, *words: str) -> Any:
        """The JSON of a command."""
        code, out, err = self.run(*words, "-o", "json")
        assert code == 0, err
        return json.loads(out)

    @property
    def record(self) -> Run:
        """The only run."""
        store = LocalFolder(self.state)
        (name,) = store.children("runs")
        return Run(store, name)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The trainer's events of these kinds so far, of all attempts."""
        if not LocalFolder(self.state).children("runs"):
            return []
        lines = b"".join(follow.blocks(self.record, 0)).splitlines()
        return [event for event in filter(None, map(follow.parse_event, lines)) if event["event"] in kinds]

    def wait_for_step(self, step: int) -> None:
        """Until the log shows that step."""
        give_up = time.monotonic() + PATIENCE_S
        while not any(event["step"] >= step for event in self.events("step")):
            assert time.monotonic() < give_up, f"step {step} was not reached"
            time.sleep(0.1)


@pytest.fixture
def real_desk(tmp_path: Path, tiny_model: Path, own_world: Path) -> Desk:
    """A place to work at."""
    return Desk(tmp_path, tiny_model, own_world / "state")


@pytest.fixture
def desk(real_desk: Desk, warm_cache: Path) -> Desk:
    """A place to work at, where the trainer begins in a fork of a process that has imported PyTorch."""
    return real_desk


def nothing_runs(run: str) -> bool:
    """Whether no process of the run is left."""
    return not [owned for owned in load("stacks", "local", Stack).list_owned() if owned.run == run]


def final_step(desk: Desk) -> int:
    """The step at which the newest checkpoint stands."""
    return int((desk.record.store.folder(desk.record.key("ckpt")) / "LATEST").read_text())


def test_a_whole_run_answers_every_command(real_desk: Desk, trainer_python: Path, warm_python: Path) -> None:
    """up, ps, logs, events, report, pull, down: each does what it says on one real run, and nothing of it is left."""
    desk = real_desk
    code, out, err = desk.run("up", "-y", "--to", "home")
    assert code == 0, err
    assert "finished" in out
    run = desk.record.id
    opened = "import sys; from peft import PeftConfig; print(PeftConfig.from_pretrained(sys.argv[1]).r)"
    assert subprocess.check_output([warm_python, "-c", opened, desk.folder / "home"], text=True).strip() == "16"
    assert {"README.md", "metrics.json", "tokenizer.json"} <= {path.name for path in (desk.folder / "home").iterdir()}
    for name, words in [
        ("ps", ["ps", "-a"]),
        ("report", ["report", run]),
        ("events", ["events", run]),
        ("logs", ["logs", run]),
    ]:
        document = desk.json(*words)
        jsonschema.validate(document, json.loads(desk.run("schema", name)[1]))
    account = desk.json("report", run)
    assert account["steps"] == STEPS
    assert account["tokens_per_second"]["measured"] > 0
    assert account["peak_bytes"]["measured"] > 10**8
    assert Decimal(account["metered_usd"]) > 0  # electricity, assumed
    log = desk.run("logs", run)[1]
    assert (
        hashlib.sha256(log.encode()).hexdigest() == hashlib.sha256(b"".join(follow.blocks(desk.record, 0))).hexdigest()
    )
    assert len(desk.run("logs", run, "--tail", "3")[1].splitlines()) == 3
    assert all('"step"' in line for line in desk.run("logs", run, "--grep", '"step":')[1].splitlines())
    assert desk.run("pull", run, "--to", "again")[0] == 0
    assert (desk.folder / "again" / "adapter_model.safetensors").read_bytes() == (
        desk.folder / "home" / "adapter_model.safetensors"
    ).read_bytes()
    for _ in range(2):
        code, out, _ = desk.run("down", run)
        assert (code, "gone" in out) == (0, True)
    assert nothing_runs(run)
    code, out, err = desk.run("up", "-y", "--to", "home")
    assert (code, "is finished" in err) == (0, True)


@pytest.mark.parametrize("victim", ["client", "supervisor", "trainer"])
def test_after_a_kill_of_anything_the_adapters_step_agrees(desk: Desk, victim: str) -> None:
    """kill -9 at a random step, then `up` again: same last step, at most one checkpoint interval is repeated."""
    client = desk.start("up", "-y")
    desk.wait_for_step(random.Random(victim).randrange(8, 20))
    if victim == "client":
        client.kill()
    else:
        os.kill(raw(desk.record.store, desk.record.key("processes.json"))[victim], signal.SIGKILL)
    client.communicate(timeout=PATIENCE_S)
    assert client.returncode != 0
    saved = desk.events("checkpoint")
    code, _, err = desk.run("up", "-y")
    assert code == 0, err
    assert final_step(desk) == STEPS
    assert {event["step"] for event in desk.events("step")} == set(range(1, STEPS + 1))
    if victim == "client":  # nobody else died: the run was attached to, and trained on from its only start
        assert len(desk.events("start")) == 1
    else:
        assert desk.events("start")[-1]["resumed_from"] >= max((event["step"] for event in saved), default=0)
    assert overdue(desk.events("start", "step", "checkpoint")) == []
    assert nothing_runs(desk.record.id)


def overdue(events: list[dict[str, Any]]) -> list[int]:
    """Steps that began when a checkpoint was due already, and that no checkpoint followed.

    A checkpoint's clock begins when the one before it was written; the first one's, before the first step.
    """
    found: list[int] = []
    began = told = None
    interval_s = CHECKPOINT_S
    for event, after in pairwise(events):
        if event["event"] == "start":
            began, told, interval_s = None, None, CHECKPOINT_S
        elif event["event"] == "checkpoint":
            began, told, interval_s = event["time"], None, max(CHECKPOINT_S, 20 * event["seconds"])
        else:
            if told is not None and told - began >= interval_s and after["event"] == "step":
                found.append(event["step"])
            told = event["time"]
            began = told if began is None else began
    return found


def test_the_deadline_holds_with_supervisor_and_client_killed(desk: Desk) -> None:
    """A trainer that nobody watches any more ends at --max-hours by its own clock, with a checkpoint."""
    client = unwatched(desk)
    processes = raw(desk.record.store, desk.record.key("processes.json"))
    client.kill()
    client.communicate()
    os.kill(processes["supervisor"], signal.SIGKILL)
    os.kill(processes["guard"], signal.SIGKILL)
    give_up = time.monotonic() + PATIENCE_S
    while not nothing_runs(desk.record.id):
        assert time.monotonic() < give_up
        time.sleep(0.2)
    assert desk.events("stopped")[-1]["reason"] == "deadline"
    assert final_step(desk) > 0


def unwatched(desk: Desk) -> subprocess.Popen[str]:
    """The client of a run that has made three steps and whose deadline is near: how near depends on how busy all is."""
    for seconds in (15, 60, 240):
        client = desk.start("up", "-y", "--max-hours", f"{seconds}s", "max_steps=100000")
        while client.poll() is None:
            if any(event["step"] >= 3 for event in desk.events("step")):
                return client
            time.sleep(0.1)
        client.communicate()
        shutil.rmtree(desk.state)
    raise AssertionError("three steps took more than four minutes")


def test_logs_follow_through_twenty_cuts(desk: Desk) -> None:
    """A reader that is killed and goes on at its offset twenty times has the bytes of the log, by sha256."""
    client = desk.start("up", "-y")
    desk.wait_for_step(1)
    chance, read = random.Random(3), b""
    for _ in range(20):
        reader = subprocess.Popen(
            [sys.executable, "-m", "cloudtrain", "logs", "-f", "--offset", str(len(read))],
            cwd=desk.folder,
            stdout=subprocess.PIPE,
        )
        assert reader.stdout is not None
        os.set_blocking(reader.stdout.fileno(), False)
        until = time.monotonic() + chance.uniform(0.1, 0.6)
        while time.monotonic() < until:
            read += reader.stdout.read(chance.randrange(1, 400)) or b""
            time.sleep(0.02)
        reader.kill()
        reader.communicate()
    rest = subprocess.run(
        [sys.executable, "-m", "cloudtrain", "logs", "-f", "--offset", str(len(read))],
        cwd=desk.folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    client.communicate(timeout=PATIENCE_S)
    whole = b"".join(follow.blocks(desk.record, 0))
    assert hashlib.sha256(read + rest.stdout).hexdigest() == hashlib.sha256(whole).hexdigest()


def test_a_second_client_is_refused_while_the_first_is_there(desk: Desk) -> None:
    """`up` of the same spec beside a living client is 101 and says how to follow; detached it attaches to nothing twice."""
    client = desk.start("up", "-y")
    desk.wait_for_step(1)
    code, _, err = desk.run("up", "-y")
    assert (code, "logs -f" in err) == (101, True)
    assert desk.run("down", desk.record.id)[0] == 0
    client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 103
    assert nothing_runs(desk.record.id)


def test_above_its_cap_a_run_stops_and_can_continue(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """At $1 an hour: the quote stays below $1, steps of 18 ms and more do not. Exit 5, a checkpoint, most of it unspent."""
    monkeypatch.setenv("CLOUDTRAIN_WATTS", "1000")
    monkeypatch.setenv("CLOUDTRAIN_USD_PER_KWH", "1")
    up = ("up", "-y", "--infra", "local", "sequence_length=64", "max_steps=200000")
    code, _, err = desk.run(*up, "--max-cost", "1", "--stop-above-cap")
    assert code == 5, err
    assert "stopped above its cap: at its own rate it may cost $" in err
    assert "rest quoted from its own rate: " in err
    assert nothing_runs(desk.record.id)
    saved = final_step(desk)
    assert saved >= 50
    account = desk.json("report", desk.record.id)
    assert account["requoted"]["step"] >= 50
    assert float(account["requoted"]["total_usd"]["likely"]) > float(account["quoted_usd"]["likely"])
    assert float(account["metered_usd"]) < 0.5
    client = desk.start(*up, "--max-cost", "500", "--stop-above-cap")
    desk.wait_for_step(saved + 5)
    assert desk.events("start")[-1]["resumed_from"] == saved
    assert desk.run("down", desk.record.id)[0] == 0
    client.communicate(timeout=PATIENCE_S)
    assert client.returncode == 103
