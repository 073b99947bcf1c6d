"""The life of a run on this machine, with real processes: start, watch, stop, kill, resume, end."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloudtrain.errors import NotFinished, TeardownIncomplete, Unavailable
from cloudtrain.plan import Plan
from cloudtrain.providers import Stack, StopOptions
from cloudtrain.runs import follow, launch, teardown
from cloudtrain.runs.record import Run
from cloudtrain.state.protocol import AlreadyThere
from cloudtrain.state.store import LocalFolder
from tests.patience import until
from tests.records import raw
from tests.runs.conftest import wait_for, wait_for_step

pytestmark = pytest.mark.machine

Make = Callable[..., Plan]
Knobs = Callable[..., None]


def whole_log(run: Run) -> bytes:
    """All bytes, chunk after chunk."""
    folder = run.store.folder(run.key("log"))
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def pids(run: Run) -> dict[str, Any]:
    """Supervisor, trainer and guard of the living attempt."""
    found: dict[str, Any] = raw(run.store, run.key("processes.json"))
    return found


def test_a_run_ends_by_itself_and_leaves_every_document(store: LocalFolder, local: Stack, plan: Make) -> None:
    """A finished run has its record, its exit, its heartbeat and its result, and nothing of it runs."""
    run = wait_for(launch.start(store, plan()), "finished")
    assert run.exit is not None
    assert (run.exit.reason, run.exit.step, run.exit.tokens) == ("done", 20, 2000)
    assert run.exit.peak_bytes > 0
    gone = teardown.certify(run).gone
    assert gone is not None
    assert gone.said_by == "the operating system"
    assert [owned for owned in local.list_owned() if owned.run == run.id] == []
    ours = {"spec.yaml", "quote.json", "intent.json", "journal.jsonl", "machine.json", "events.jsonl", "gone.json"}
    assert set(store.children(f"runs/{run.id}")) == {*ours, "machine"}
    machines = set(store.children(f"runs/{run.id}/machine"))
    assert {"hb.json", "log", "ckpt", "exit.json", "events.jsonl", "output"} <= machines


def test_the_record_is_written_before_anything_is_started(
    store: LocalFolder, local: Stack, plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intent and journal are on disk when the stack is called."""
    seen: list[str] = []

    def start(made: Plan, state: Any, say: Any) -> Any:
        seen.extend(os.listdir(store.folder(f"runs/{made.run}")))
        return local.start(made, state, say)

    monkeypatch.setattr(launch, "load", lambda *_: local._replace(start=start))
    launch.start(store, plan())
    assert {"intent.json", "spec.yaml", "quote.json", "journal.jsonl"} <= set(seen)


def test_down_ends_a_living_run_with_a_checkpoint(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """Down asks first: the trainer writes a checkpoint, and the certificate says that no process is left."""
    knobs(steps=1000, every=10_000)
    run = launch.start(store, plan())
    wait_for_step(run, 1)
    after = teardown.down(Run(store, run.id))
    assert after.state == "cancelled"
    assert after.gone is not None
    assert "no process carries" in after.gone.answer
    assert int((store.folder(run.key("ckpt")) / "LATEST").read_text()) > 0


def test_down_twice_is_fine(store: LocalFolder, local: Stack, plan: Make) -> None:
    """A run that is gone can be ended again; the certificate stays the first one."""
    run = wait_for(launch.start(store, plan()), "finished")
    first = teardown.down(run).gone
    assert teardown.down(Run(store, run.id)).gone == first


def test_down_says_so_when_a_process_cannot_be_ended(
    store: LocalFolder, local: Stack, plan: Make, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that survives is exit 6 with the list, and no certificate is written."""
    import sys

    knobs(steps=1000)
    run = launch.start(store, plan())
    processes = sys.modules["cloudtrain.stacks._lifecycle.processes"]
    monkeypatch.setattr(processes, "end", lambda run, states, grace_s: processes.tagged(run))
    with pytest.raises(TeardownIncomplete) as failed:
        teardown.down(Run(store, run.id), StopOptions(0.0))
    assert failed.value.exit_code == 6
    assert str(pids(run)["trainer"]) in failed.value.message
    assert Run(store, run.id).gone is None
    monkeypatch.undo()


def test_a_deaf_trainer_is_killed_after_its_grace(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """At the deadline the supervisor asks, waits the grace time, then kills; the run counts as stopped."""
    knobs(steps=10_000, deaf=True)
    run = launch.start(store, plan(deadline=time.time() + 0.5, grace_s=0.5))
    ended = wait_for(run, "stopped")
    assert ended.exit is not None
    assert ended.exit.reason == "deadline"


def test_the_guard_ends_a_trainer_whose_supervisor_was_killed(
    store: LocalFolder, local: Stack, plan: Make, knobs: Knobs
) -> None:
    """With the supervisor gone and a trainer that hears nothing, the second clock still ends it after the deadline."""
    knobs(steps=10_000, deaf=True)
    run = launch.start(store, plan(deadline=time.time() + 1.0, grace_s=0.3))
    os.kill(pids(run)["supervisor"], signal.SIGKILL)
    ended = wait_for(run, "stopped")
    assert ended.exit is not None
    assert ended.exit.reason == "deadline"
    assert [owned for owned in local.list_owned() if owned.run == run.id and "--guard" not in owned.what] == []


@pytest.mark.parametrize("victim", ["supervisor", "trainer", "guard"])
def test_after_a_kill_of_any_process_the_steps_agree(
    store: LocalFolder, local: Stack, plan: Make, knobs: Knobs, victim: str
) -> None:
    """kill -9 of one process, then the same plan again: the last step is the same, at most one interval was repeated."""
    knobs(steps=30, pause_s=0.03, every=5)
    run = launch.start(store, plan())
    wait_for_step(run, 8)
    os.kill(pids(run)["trainer" if victim == "trainer" else victim], signal.SIGKILL)
    if victim == "guard":
        assert wait_for(run, "finished").exit is not None
        return
    wait_for(run, "died", "failed")
    again = wait_for(launch.start(store, plan()), "finished")
    assert again.exit is not None
    assert again.exit.step == 30
    steps = [
        e["step"] for line in whole_log(again).splitlines() if (e := follow.parse_event(line)) and e["event"] == "step"
    ]
    assert sorted(set(steps)) == list(range(1, 31))
    assert len(steps) - 30 <= 5
    assert len(again.attempts) == 1


def test_a_client_that_dies_during_the_start_forgets_nothing(
    store: LocalFolder, local: Stack, plan: Make, knobs: Knobs
) -> None:
    """A run whose machine document was never written is found by its tag, ended, and begun again."""
    knobs(steps=1000)
    run = launch.start(store, plan())
    store.delete(run.key("machine.json"))  # as if the client had been killed just before writing it
    orphan = pids(run)["trainer"]
    knobs(steps=5)
    again = wait_for(launch.start(store, plan()), "finished")
    assert again.exit is not None
    assert not os.path.exists(f"/proc/{orphan}")


def test_a_living_run_is_not_started_again(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """The same plan while it runs is refused with 101."""
    knobs(steps=1000)
    launch.start(store, plan())
    with pytest.raises(NotFinished):
        launch.start(store, plan())


def test_only_one_client_holds_a_run(store: LocalFolder) -> None:
    """A second holder is told who has it; after the first lets go it is free."""
    with store.hold("runs/x/client.lock"):
        other = LocalFolder(store.root)
        with pytest.raises(AlreadyThere, match=str(os.getpid())), other.hold("runs/x/client.lock"):
            pass
    with store.hold("runs/x/client.lock"):
        pass


def test_a_log_read_through_random_cuts_is_the_log(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """Twenty readers, each cut off at a random byte and gone on with at that offset, read the same bytes as the file."""
    knobs(steps=60, pause_s=0.01)
    run = launch.start(store, plan())
    read, offset, chance = b"", 0, random.Random(7)
    for _ in range(20):
        piece = follow.read_log(Run(store, run.id), offset, chance.randrange(1, 700))
        read, offset = read + piece, offset + len(piece)
        time.sleep(0.02)
    for piece in follow.stream(run, offset):
        read += piece
    assert hashlib.sha256(read).hexdigest() == hashlib.sha256(whole_log(run)).hexdigest()
    assert run.exit is None or Run(store, run.id).exit.log_bytes == len(read)  # type: ignore[union-attr]


def test_the_log_goes_on_over_attempts(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """The second attempt's chunk is named by the byte at which the first ended, and a reader passes over the seam."""
    knobs(steps=40, pause_s=0.02)
    run = launch.start(store, plan())
    wait_for_step(run, 8)
    os.kill(pids(run)["trainer"], signal.SIGKILL)
    wait_for(run, "failed")
    again = wait_for(launch.start(store, plan()), "finished")
    names = store.children(again.key("log"))
    assert len(names) == 2
    assert int(names[1]) == (store.folder(again.key("log")) / names[0]).stat().st_size
    assert b"".join(follow.blocks(again, 0)) == whole_log(again)


def test_a_failed_trainer_is_told_by_its_reason(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """The trainer's exit code becomes a reason, and its own sentence is kept."""
    knobs(fail=65)
    failed = wait_for(launch.start(store, plan()), "failed")
    assert failed.exit is not None
    assert (failed.exit.reason, failed.exit.message) == ("bad_data", "the fake was told to fail")


def test_a_start_that_is_given_up_leaves_nothing(
    store: LocalFolder, local: Stack, plan: Make, knobs: Knobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no sign of life is seen in time the start fails, and supervisor, trainer and guard are ended."""
    import sys

    knobs(steps=1000)
    module = sys.modules["cloudtrain.stacks.local"]
    real = module.await_start

    def too_late(*given: Any) -> None:
        until((given[1] / "processes.json").exists)  # by now all three run
        real(*given)

    monkeypatch.setattr(module, "await_start", too_late)
    monkeypatch.setattr(module, "START_PATIENCE_S", -1.0)
    with pytest.raises(Unavailable):
        launch.start(store, plan())
    assert [owned for owned in local.list_owned() if owned.run == plan().run] == []


def test_a_run_keeps_that_it_is_not_to_teach(store: LocalFolder, local: Stack, plan: Make) -> None:
    """Whoever brings it home reads it there, and adds no measurement."""
    run = wait_for(launch.start(store, replace(plan(), teaches=False)), "finished")
    assert not run.intent.teaches
