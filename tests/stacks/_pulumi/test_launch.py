"""`start` leaves a machine or nothing, and says that nothing is left only after the proof."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain import errors
from cloudtrain.errors import TeardownIncomplete, is_nothing_left
from cloudtrain.providers import DeletionProof, StopOptions
from cloudtrain.state.store import LocalFolder
from tests.records import intent, row
from tests.stacks._lifecycle.protocol_world import ScriptedCloud

launch = import_module("cloudtrain.stacks._pulumi.launch")
PLAN: Any = SimpleNamespace(run="r", attempt=1, line=row(), state="")


@pytest.fixture
def cloud(tmp_path: Path) -> Any:
    """A cloud record."""
    return ScriptedCloud(tmp_path).world().cloud


def start(cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, up: Any, recover: Any) -> BaseException:
    """What `start` raises when the engine's `up` and the removal do so."""

    def fail(error: Any) -> Any:
        def act(*given: Any) -> Any:
            if isinstance(error, BaseException):
                raise error
            return error

        return act

    monkeypatch.setattr(launch.Engine, "up", fail(up))
    monkeypatch.setattr(launch.recover, "recover", fail(recover))
    with pytest.raises(BaseException) as told:  # noqa: PT011  # that is the question
        launch.start("scripted", cloud, PLAN, LocalFolder(tmp_path), lambda text: None)
    return told.value


GONE = DeletionProof("scripted", "nothing", 1.0)


@pytest.mark.parametrize("failure", [errors.Quota("no"), KeyboardInterrupt(), ValueError("a defect")])
def test_a_failure_after_which_all_was_removed_says_so(
    cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """With the error itself."""
    raised = start(cloud, tmp_path, monkeypatch, failure, GONE)
    assert type(raised) is type(failure)
    assert is_nothing_left(raised)


@pytest.mark.parametrize("trouble", [TeardownIncomplete("left"), KeyboardInterrupt(), OSError("disk")])
def test_a_removal_that_was_not_finished_is_never_called_a_proof(
    cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    """Interrupted, failed or broken."""
    raised = start(cloud, tmp_path, monkeypatch, errors.Quota("no"), trouble)
    assert not is_nothing_left(raised)
    assert isinstance(raised, TeardownIncomplete | OSError)


def test_without_credentials_nothing_was_begun(cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is proof enough."""

    def refuse(plan: Any, account: Any) -> Any:
        raise errors.MissingCredentials("no key")

    object.__setattr__(cloud, "resources", refuse)
    assert is_nothing_left(start(cloud, tmp_path, monkeypatch, None, GONE))


def stop(cloud: Any, folder: Path) -> Any:
    """`down` of the run."""
    return launch.stop("scripted", cloud, "r", LocalFolder(folder), StopOptions(0.0))


def test_an_attempt_that_begins_while_down_is_at_work_is_ended_as_well(
    cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client was between two places."""
    store, attempts = LocalFolder(tmp_path), []
    store.write("runs/r/intent.json", intent(attempt=2).as_bytes())

    def recover(world: Any, state: Any, attempt: int) -> DeletionProof:
        attempts.append(attempt)
        store.write("runs/r/intent.json", intent(attempt=3).as_bytes())
        return GONE

    monkeypatch.setattr(launch.recover, "recover", recover)
    assert stop(cloud, tmp_path) == GONE
    assert attempts == [2, 3]


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), errors.UsageError("cannot be read", "look at the disk")])
def test_down_that_is_interrupted_or_cannot_read_its_records_says_that_something_may_be_left(
    cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    """6 with the command, never a mere usage error."""

    def recover(*given: Any) -> Any:
        raise trouble

    monkeypatch.setattr(launch.recover, "recover", recover)
    with pytest.raises(TeardownIncomplete) as told:
        stop(cloud, tmp_path)
    assert "cloudtrain down r" in told.value.hint


def test_a_machine_that_somebody_ended_while_it_was_made_is_cancelled_and_not_unavailable(
    cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine only says that it was stopped; the tombstone of `down` says why."""
    refusal = errors.Unavailable("the engine refused")
    assert type(start(cloud, tmp_path, monkeypatch, refusal, GONE)) is errors.Unavailable
    LocalFolder(tmp_path).write("runs/r/tombstone", b"1")
    raised = start(cloud, tmp_path, monkeypatch, refusal, GONE)
    assert type(raised) is errors.Cancelled
    assert is_nothing_left(raised)


def test_a_place_that_is_closed_to_the_account_is_left_before_anything_is_asked_for_there(
    cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as one without capacity, so that the next place is tried."""
    object.__setattr__(cloud, "resources", lambda plan, account: [])
    object.__setattr__(cloud, "unavailable_reason", lambda line: "region far-1 is not switched on")
    raised = start(cloud, tmp_path, monkeypatch, AssertionError("the engine is not needed"), AssertionError("nor this"))
    assert isinstance(raised, errors.NoCapacity)
    assert "far-1" in str(raised)
    assert is_nothing_left(raised)
