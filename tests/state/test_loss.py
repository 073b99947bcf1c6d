"""A state that fails in the middle of something: no machine is forgotten, and no exit code calls it gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import NoCapacity, TeardownIncomplete, UsageError
from cloudtrain.plan import Plan
from cloudtrain.providers import DeletionProof, Stack, StopOptions
from cloudtrain.records import MachineRecord
from cloudtrain.runs import launch, teardown
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import pull
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine, row


class Failing(LocalFolder):
    """A folder that takes nothing any more after `broken` was set."""

    broken = False

    def _translate_errors(self, key: str, what: str) -> Any:
        if self.broken:
            raise UsageError("state cannot be reached", "try again")
        return super()._translate_errors(key, what)


@pytest.fixture
def failing(tmp_path: Path) -> Failing:
    """A state that works until it is told not to."""
    return Failing(tmp_path / "state")


def stack(monkeypatch: pytest.MonkeyPatch, direct: bool, **verbs: Callable[..., Any]) -> None:
    """Let every provider be this one."""
    made = Stack("toy", lambda offer, market: (), frozenset(), direct, *([lambda *given: pytest.fail("called")] * 4))
    made = made._replace(alive=lambda machine: True, **verbs)
    for module in ("launch", "record"):
        monkeypatch.setattr(f"cloudtrain.runs.{module}.load", lambda *given: made)


def toy_plan() -> Plan:
    """A plan of which nothing but the name matters."""
    return Plan("mine", "id" * 20, "toy", "cpu", row(), {}, "model: x\n", "0", 2e9, "the test", (), 1.0, idle=True)


def test_a_machine_that_cannot_be_recorded_is_told_with_6(failing: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands and costs money: the id, and the command that ends it."""

    def start(plan: Plan, store: Store, say: Any) -> MachineRecord:
        failing.broken = True
        return machine()

    stack(monkeypatch, False, start=start)
    with pytest.raises(TeardownIncomplete, match=r"box-1.*exists at toy") as told:
        launch.start(failing, toy_plan())
    assert "cloudtrain down mine" in told.value.hint


def test_a_state_failing_too_does_not_hide_what_went_wrong(failing: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    """No capacity stays no capacity."""

    def start(plan: Plan, store: Store, say: Any) -> MachineRecord:
        failing.broken = True
        raise NoCapacity("full")

    stack(monkeypatch, False, start=start)
    with pytest.raises(NoCapacity):
        launch.start(failing, toy_plan())


def test_an_end_unproven_for_want_of_records_is_6(failing: Failing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state fails while the run is ended: that is no "gone, but not written down"."""

    def stop(run: str, store: Store, ending: StopOptions) -> DeletionProof:
        raise UsageError("state cannot be reached", "try again")

    stack(monkeypatch, False, stop=stop)
    begin(failing, "mine", provider="toy")
    with pytest.raises(TeardownIncomplete, match="not proven gone"):
        teardown.down(Run(failing, "mine"))


def test_two_clients_of_one_spec_come_to_the_same_name(failing: Failing) -> None:
    """While the first has only the lease, the second meets it there; a run that was begun has its name for itself."""
    identity = "3f9a2c" * 6
    with failing.hold("runs/m-3f9a2c/client.lock"):
        assert launch.new_id(failing, "m", identity) == "m-3f9a2c"
    begin(failing, "m-3f9a2c")
    assert launch.new_id(failing, "m", identity) == "m-3f9a2c-2"


def test_a_result_is_brought_home_from_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and in its folders, block by block."""
    from obstore.store import MemoryStore

    monkeypatch.setattr(pull, "BLOCK_BYTES", 1000)
    store = ObjectFolder("s3://states/a", MemoryStore())
    content = bytes(range(256)) * 20
    store.write("runs/mine/machine/output/deep/adapter.bin", content)
    store.write("runs/mine/machine/output/empty", b"")
    home = pull.pull(Run(store, "mine"), tmp_path / "home")
    assert (home / "deep" / "adapter.bin").read_bytes() == content
    assert (home / "empty").read_bytes() == b""
    assert sorted(path.name for path in home.iterdir()) == ["deep", "empty"]
