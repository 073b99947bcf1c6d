"""The hostile world on the real engine: after every accident `down` or a sweep leaves nothing, and codes are true."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import RunpodCloud
from tests.campaign.client import Client, Ended
from tests.campaign.clouds import TARGETS
from tests.engine.hostile_world import Terminal, begin, ended, kill_all, move_clock, processes_of, said, wait_for

pytestmark = pytest.mark.engine
WORDS = TARGETS["runpod"].words
HOUR = 3600.0


@pytest.fixture
def fake() -> Iterator[RunpodCloud]:
    """RunPod, the quickest of the fakes."""
    fake = RunpodCloud(Clock())
    yield fake
    fake.stop()


@pytest.fixture
def user(fake: RunpodCloud, tmp_path: Path) -> Iterator[Client]:
    """A client of it; whatever it has begun is killed at the end of a test."""
    client = Client(tmp_path, fake)
    yield client
    kill_all(client)


def rent(user: Client) -> None:
    """A machine as run `mine`."""
    made = user.up(*WORDS, "--name", "mine")
    assert made.code == 0, made.err
    assert user.fake.ledger.running()


def down(user: Client) -> Ended:
    """End it, and hold `down` to its word."""
    result = user.run("down", "mine")
    assert (result.code == 0) <= (user.fake.leftovers() == []), result
    return result


def gone(user: Client) -> None:
    """`down` says that it is gone, and it is."""
    result = down(user)
    assert result.code == 0, result.err
    assert user.fake.leftovers() == []


def journal(user: Client) -> Path:
    """Of run `mine`."""
    return user.document("mine", "journal.jsonl")


def asked(user: Client) -> bool:
    """Whether a create is written down."""
    return journal(user).exists() and '"create"' in journal(user).read_text()


def test_without_credentials_nothing_is_begun(user: Client) -> None:
    """4, what to export, and no machine; ending what never was needs no credentials."""
    del user.environment["RUNPOD_API_KEY"]
    refused = user.up(*WORDS, "--name", "mine")
    assert refused.code == 4, refused.err
    assert "RUNPOD_API_KEY" in refused.err
    assert "createPod" not in user.fake.calls
    if user.document("mine", "intent.json").exists():
        assert user.run("down", "mine").code == 0


def test_a_region_that_does_not_exist_makes_nothing(user: Client) -> None:
    """No offer lies there: 2 or 3, and a sentence."""
    refused = user.up("--infra", "runpod/XX-NO-1", "--hardware", "mi300x", "--accept-risk")
    assert refused.code in (2, 3), refused.err
    assert "error: " in refused.err
    assert "createPod" not in user.fake.calls


def test_a_second_up_is_refused_and_down_ends_the_first(user: Client, fake: RunpodCloud) -> None:
    """101 for the second, nothing doubled; `down` ends a client at work, and that one does not say 0."""
    fake.pods.ready_s = 1000.0
    first = begin(user, WORDS)
    wait_for(fake.ledger.running, first)
    second = user.up(*WORDS)
    assert second.code == 101, second.err
    assert len(fake.ledger.running()) == 1
    gone(user)
    assert ended(first) not in (0, 1), said(user)
    assert fake.calls.count("createPod") == 1
    assert fake.leftovers() == []


def test_only_a_dead_engine_loses_its_lock(user: Client, fake: RunpodCloud) -> None:
    """unlock: 101 while it lives, 0 when it is dead; down needs no unlock."""
    fake.pods.ready_s = 1000.0
    first = begin(user, WORDS)
    wait_for(fake.ledger.running, first)
    held = user.run("unlock", "mine")
    assert held.code == 101, held.err
    kill_all(user)
    ended(first)
    freed = user.run("unlock", "mine")
    assert (freed.code, "removed the lock of" in freed.out) == (0, True), freed
    assert "is not locked" in user.run("unlock", "mine").out
    gone(user)


def test_damaged_records_do_not_keep_a_machine_alive(user: Client) -> None:
    """The engine's checkpoint is cut in the middle, and so is the journal, within the line of the create."""
    rent(user)
    (checkpoint,) = (user.state / "runs/mine/pulumi/.pulumi/stacks/cloudtrain").glob("*.json")
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    text = journal(user).read_bytes()
    journal(user).write_bytes(text[: text.index(b'"create"') + 20])
    gone(user)


def test_lost_records_do_not_keep_a_machine_alive(user: Client) -> None:
    """Engine's state and journal are gone altogether; only the run's intent is left."""
    rent(user)
    shutil.rmtree(user.state / "runs/mine/pulumi")
    journal(user).unlink()
    gone(user)


def test_a_lost_state_folder_leaves_it_to_the_sweep(user: Client) -> None:
    """Nothing is known any more, and all of it is found and removed."""
    rent(user)
    shutil.rmtree(user.state)
    swept = user.run("sweep", "--provider", "runpod", "--all-states", "--yes")
    assert swept.code == 0, swept.err
    assert user.fake.leftovers() == []


def fill(folder: Path) -> Path:
    """A file that leaves no space in the folder."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can make a small disk")
def test_a_full_disk_does_not_keep_a_machine_alive(user: Client) -> None:
    """Hardly a byte of state can be written: it is ended, and a certificate that is missing is told."""
    user.state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(user.state)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        rent(user)
        filler = fill(user.state)
        result = user.run("down", "mine")
        assert user.fake.leftovers() == [], result.err
        assert result.code == 0 or (result.code == 2 and "is gone" in result.err), result.err
        filler.unlink()
        gone(user)
    finally:
        subprocess.run(["umount", "-l", str(user.state)], check=True)


@pytest.mark.parametrize("jump_s", [HOUR, -HOUR])
def test_a_clock_that_jumps_does_not_hide_a_late_machine(user: Client, fake: RunpodCloud, jump_s: float) -> None:
    """The create is on its way for two seconds when the client is killed and its clock moved."""
    fake.faults.add("createPod", "late", seconds=2.0)
    first = begin(user, WORDS)
    wait_for(lambda: "createPod" in fake.calls, first)
    kill_all(user)
    ended(first)
    move_clock(journal(user), jump_s)
    gone(user)
    fake.clock.advance(5.0)
    assert fake.leftovers() == []


def test_down_names_expired_credentials_and_works_with_new_ones(user: Client) -> None:
    """6 with the sentence; with somebody else's key as well, because what that one sees proves nothing."""
    rent(user)
    key = user.environment.pop("RUNPOD_API_KEY")
    lost = down(user)
    assert lost.code == 6, lost.err
    assert "RUNPOD_API_KEY" in lost.err
    user.environment["RUNPOD_API_KEY"] = "rpa_another"
    other = down(user)
    assert other.code == 6, other.err
    assert "another RUNPOD_API_KEY" in other.err
    assert "cloudtrain down mine" in other.err
    user.environment["RUNPOD_API_KEY"] = key
    gone(user)


def test_down_says_that_a_provider_is_unavailable_and_works_afterwards(user: Client, fake: RunpodCloud) -> None:
    """6 with what may be left, then 0."""
    rent(user)
    fake.faults.add("*", "unavailable", times=100000)
    user.environment["CLOUDTRAIN_SIMULATOR_TIMING"] = "2,1,0.1,0.02"
    silent = down(user)
    assert silent.code == 6, silent.err
    assert "perhaps pod" in silent.err or "pod " in silent.err
    fake.faults.clear()
    gone(user)


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_an_interrupt_during_a_create_leaves_nothing(user: Client, fake: RunpodCloud, how: str) -> None:
    """Ctrl-C at a real terminal, and SIGTERM as CI sends it: 130, said to be gone, and gone."""
    fake.slow_s = 0.5
    fake.pods.ready_s = 1000.0
    terminal = Terminal(user, WORDS) if how == "ctrl-c" else None
    first = terminal.process if terminal else begin(user, WORDS)
    wait_for(lambda: "createPod" in fake.calls, first)
    terminal.press_ctrl_c() if terminal else first.terminate()
    assert ended(first) == 130, said(user)
    assert "nothing of it is left" in said(user)
    assert fake.calls.count("createPod") == 1
    assert fake.leftovers() == []
    assert json.loads(user.run("ps", "-a", "-o", "json").out)[0]["state"] in ("failed", "cancelled")
    wait_for(lambda: not list(processes_of(user)))


def test_an_interrupted_removal_says_that_something_may_be_left(user: Client, fake: RunpodCloud) -> None:
    """Ctrl-C until it gives in: 6 with the command to repeat, never "nothing is left"; down ends it."""
    fake.pods.ready_s = 1000.0
    first = begin(user, WORDS)
    wait_for(fake.ledger.running, first)
    fake.faults.add("deletePod", "unavailable", times=100000)
    os.killpg(first.pid, signal.SIGINT)
    wait_for(lambda: "deletePod" in fake.calls, first)
    for _ in range(3):
        wait_for(lambda: "removing what was made" in said(user) or first.poll() is not None)
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGINT)
    assert ended(first) == 6, said(user)
    assert "cloudtrain down mine" in said(user)
    assert "nothing of it is left" not in said(user)
    assert not user.document("mine", "gone.json").exists()
    fake.faults.clear()
    gone(user)


def test_a_slow_call_that_outlives_its_client_leaks_nothing(user: Client, fake: RunpodCloud) -> None:
    """Ten seconds from asked to there; client, engine and plugin die meanwhile, and down comes at once."""
    fake.slow_s = 10.0
    user.environment["CLOUDTRAIN_SIMULATOR_TIMING"] = "60,13,0.3,0.05"
    first = begin(user, WORDS)
    wait_for(lambda: "createPod" in fake.calls, first)
    kill_all(user)
    ended(first)
    assert fake.ledger.running() == []
    fake.slow_s = 0.0
    gone(user)
    assert len(fake.ledger.entries) == 1
