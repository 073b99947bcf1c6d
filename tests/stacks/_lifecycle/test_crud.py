"""Create, wait and delete write down before they ask, and never double what an answer may have hidden."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain import errors
from cloudtrain.errors import UsageError
from cloudtrain.providers import ResourceState
from cloudtrain.state.store import LocalFolder
from tests.stacks._lifecycle.protocol_world import BEGIN, INPUTS, TIMING, ScriptedCloud, crud

LOST = errors.Unknown("no answer")
BUSY = errors.Unavailable("busy")


@pytest.fixture
def cloud(tmp_path: Path) -> ScriptedCloud:
    """A cloud that obeys until its script says otherwise."""
    return ScriptedCloud(tmp_path)


def lost_after_making(cloud: ScriptedCloud, delay_s: float = 0.0) -> Callable[[], Any]:
    """A create whose answer is lost; what it makes is there `delay_s` later."""

    def deed() -> Any:
        due = cloud.time + delay_s
        hidden = [True]

        def find() -> Any:
            if cloud.time >= due and hidden:
                hidden.clear()
                cloud.make()
            return None

        cloud.script["find"] = [find] * 1000
        raise LOST

    return deed


def test_the_record_comes_before_the_call_and_its_answer_before_any_wait(cloud: ScriptedCloud) -> None:
    """intent, create, done, status."""
    cloud.state = "building"
    cloud.script["status"] = [lambda: ResourceState("i1", "ready")]
    assert crud.create(cloud.world(), "box", INPUTS).state == "ready"
    assert [(verb, before) for verb, _, before in cloud.calls] == [("create", "intent"), ("status", "done")]
    assert cloud.phases() == ["intent", "done"]


def test_nothing_is_asked_behind_a_tombstone(cloud: ScriptedCloud) -> None:
    """Nor written down."""
    cloud.journal.mark_cancelled(1)
    with pytest.raises(errors.Cancelled):
        crud.create(cloud.world(), "box", INPUTS)
    assert (cloud.calls, cloud.phases()) == ([], [])


def test_a_tombstone_laid_between_two_tries_stops_the_second(cloud: ScriptedCloud) -> None:
    """Down has come meanwhile."""

    def refuse_and_bury() -> Any:
        cloud.journal.mark_cancelled(1)
        raise BUSY

    cloud.script["create"] = [refuse_and_bury]
    with pytest.raises(errors.Cancelled):
        crud.create(cloud.world(), "box", INPUTS)
    assert cloud.verbs() == ["create"]


def test_a_record_that_cannot_be_written_keeps_the_call_from_being_sent(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk nothing is made."""
    full(monkeypatch)
    with pytest.raises(UsageError):
        crud.create(cloud.world(), "box", INPUTS)
    assert cloud.things == {}


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No space left for anything in the state."""

    def refuse(*given: Any) -> None:
        raise UsageError("no space left on device")

    for name in ("append", "write", "create"):
        monkeypatch.setattr(LocalFolder, name, refuse)


@pytest.mark.parametrize("repeatable", [True, False])
def test_what_a_lost_answer_made_is_adopted(cloud: ScriptedCloud, repeatable: bool) -> None:
    """One thing, one create, and the intent has its answer."""
    cloud.script["create"] = [lost_after_making(cloud, 10.0)]
    assert crud.create(cloud.world(repeatable=repeatable), "box", INPUTS).id == "i1"
    assert cloud.verbs().count("create") == 1
    assert [(i.answer, i.id) for i in cloud.journal.intents()] == [("done", "i1")]


def test_a_create_that_is_the_same_twice_is_repeated_with_the_same_inputs_soon(cloud: ScriptedCloud) -> None:
    """After as long as a list may lag."""
    cloud.script["create"] = [LOST]
    crud.create(cloud.world(), "box", INPUTS)
    first, second = (time for verb, time, _ in cloud.calls if verb == "create")
    assert TIMING.consistency_s <= second - first < TIMING.in_flight_s
    tokens = [intent.inputs for intent in cloud.journal.intents()]
    assert tokens == [INPUTS, INPUTS]
    assert [intent.answer for intent in cloud.journal.intents()] == ["", "done"]


@given(delay_s=st.floats(0.0, TIMING.in_flight_s))
def test_a_create_that_makes_two_things_is_not_repeated_while_the_first_may_come(
    tmp_path_factory: pytest.TempPathFactory, delay_s: float
) -> None:
    """However late within the horizon the first comes: there is one thing."""
    cloud = ScriptedCloud(tmp_path_factory.mktemp("late"))
    cloud.script["create"] = [lost_after_making(cloud, delay_s)]
    crud.create(cloud.world(repeatable=False), "box", INPUTS)
    assert list(cloud.things) == ["i1"]


def test_a_create_that_makes_two_things_is_repeated_only_after_the_horizon(cloud: ScriptedCloud) -> None:
    """It has come to nothing then."""
    cloud.script["create"] = [LOST]
    crud.create(cloud.world(repeatable=False), "box", INPUTS)
    first, second = (time for verb, time, _ in cloud.calls if verb == "create")
    assert second - first >= TIMING.in_flight_s + TIMING.consistency_s


def test_it_is_not_repeated_while_nobody_says_that_nothing_is_there(cloud: ScriptedCloud) -> None:
    """Lists that fail all the time prove nothing: the lost answer is told, and the thing is made once."""
    cloud.script["create"] = [lambda: lost(cloud)]
    cloud.script["find"] = [BUSY] * 1000
    with pytest.raises(errors.Unknown):
        crud.create(cloud.world(repeatable=False), "box", INPUTS)
    assert cloud.made == 1
    assert [intent.answer for intent in cloud.journal.intents()] == [""]


def lost(cloud: ScriptedCloud) -> Any:
    """Made at once, and no answer."""
    cloud.make()
    raise LOST


def test_after_a_long_failure_of_the_list_it_is_adopted(cloud: ScriptedCloud) -> None:
    """The provider comes back after the horizon."""
    cloud.script["create"] = [lambda: lost(cloud)]
    cloud.script["find"] = [BUSY] * 30  # 150 s
    assert crud.create(cloud.world(repeatable=False), "box", INPUTS).id == "i1"
    assert cloud.made == 1


def test_a_call_that_was_surely_not_performed_is_repeated_a_few_times(cloud: ScriptedCloud) -> None:
    """With growing pauses; each try has its record and its answer."""
    cloud.script["create"] = [BUSY, BUSY]
    crud.create(cloud.world(), "box", INPUTS)
    times = [time for verb, time, _ in cloud.calls if verb == "create"]
    assert times[2] - times[1] > times[1] - times[0] > 0
    assert cloud.phases() == ["intent", "failed", "intent", "failed", "intent", "done"]
    cloud.script["create"] = [BUSY] * 50
    with pytest.raises(errors.Unavailable):
        crud.create(cloud.world(), "box", INPUTS)
    assert cloud.made == 1


@pytest.mark.parametrize("kind", crud.FINAL)
def test_what_repeating_does_not_mend_is_raised_at_once(cloud: ScriptedCloud, kind: type[errors.ProviderError]) -> None:
    """One call, one refusal in the journal."""
    cloud.script["create"] = [kind("no")]
    with pytest.raises(kind):
        crud.create(cloud.world(), "box", INPUTS)
    assert cloud.phases() == ["intent", "failed"]
    assert cloud.time == BEGIN


def test_being_stopped_while_waiting_tells_of_the_half_made_thing(cloud: ScriptedCloud) -> None:
    """Its id is kept for whoever deletes it."""
    cloud.state, cloud.stop_at = "building", BEGIN + 30
    with pytest.raises(crud.HalfMade) as told:
        crud.create(cloud.world(), "box", INPUTS)
    assert told.value.seen.id == "i1"
    assert isinstance(told.value.cause, errors.Cancelled)
    assert [(i.answer, i.id) for i in cloud.journal.intents()] == [("done", "i1")]


def test_a_list_that_lags_right_after_a_create_is_tolerated(cloud: ScriptedCloud) -> None:
    """NotFound for a while."""
    cloud.state = "building"
    cloud.script["status"] = [errors.NotFound("not yet")] * 3 + [lambda: ResourceState("i1", "ready")]
    assert crud.create(cloud.world(), "box", INPUTS).state == "ready"


def test_a_thing_that_stays_not_found_has_vanished(cloud: ScriptedCloud) -> None:
    """Another place may have one."""
    cloud.state = "building"
    cloud.script["status"] = [errors.NotFound("gone")] * 50
    with pytest.raises(crud.HalfMade) as told:
        crud.create(cloud.world(), "box", INPUTS)
    assert isinstance(told.value.cause, errors.NoCapacity)
    assert cloud.time - BEGIN <= TIMING.consistency_s + 2 * TIMING.poll_s


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (errors.NoCapacity("given up"), errors.NoCapacity),
        (errors.Rejected("odd"), errors.Rejected),
        (lambda: ResourceState("i1", "ended", "it broke"), errors.Unavailable),
        (lambda: ResourceState("i1", "deleting"), errors.Unavailable),
    ],
)
def test_what_came_to_nothing_after_its_acceptance_is_half_made(cloud: ScriptedCloud, status: Any, cause: Any) -> None:
    """And the journal says why."""
    cloud.state = "building"
    cloud.script["status"] = [status]
    with pytest.raises(crud.HalfMade) as told:
        crud.create(cloud.world(), "box", INPUTS)
    assert type(told.value.cause) is cause
    assert cloud.journal.last_refusal(1)[0] == cause.__name__


def test_patience_has_an_end(cloud: ScriptedCloud) -> None:
    """A thing that is never ready."""
    cloud.state = "building"
    with pytest.raises(crud.HalfMade, match="not ready in 60 s"):
        crud.create(cloud.world(ready_s=60.0), "box", INPUTS)


def test_a_delete_is_asked_for_until_it_is_taken(cloud: ScriptedCloud) -> None:
    """Throttled, lost and throttled again."""
    cloud.make()
    cloud.script["delete"] = [BUSY, LOST, BUSY]
    crud.delete(cloud.world(), "box", INPUTS, "i1")
    assert cloud.verbs() == ["delete"] * 4
    assert cloud.things == {}
    assert cloud.phases() == ["intent", "done"]


def test_a_delete_of_what_is_not_there_is_done(cloud: ScriptedCloud) -> None:
    """NotFound is its success."""
    cloud.script["delete"] = [errors.NotFound("gone")]
    crud.delete(cloud.world(), "box", INPUTS, "i1")
    assert cloud.phases() == ["intent", "done"]


@pytest.mark.parametrize("error", [errors.MissingCredentials("no key"), errors.Permission("not you")])
def test_a_delete_that_only_a_person_can_make_possible_fails_at_once(cloud: ScriptedCloud, error: Exception) -> None:
    """One call, and no answer in the journal."""
    cloud.script["delete"] = [error] * 5
    with pytest.raises(type(error)):
        crud.delete(cloud.world(), "box", INPUTS, "i1")
    assert cloud.verbs() == ["delete"]
    assert cloud.phases() == ["intent"]


def test_a_full_disk_keeps_nothing_alive(cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete without a record does no harm; its absence would."""
    cloud.make()
    full(monkeypatch)
    crud.delete(cloud.world(), "box", INPUTS, "i1")
    assert cloud.things == {}


def test_what_belongs_to_all_runs_is_looked_for_first_and_never_deleted(cloud: ScriptedCloud) -> None:
    """A shared thing."""
    world = cloud.world(shared=True)
    made = crud.create(world, "box", INPUTS)
    assert crud.create(world, "box", INPUTS).id == made.id
    crud.delete(world, "box", INPUTS, made.id)
    assert cloud.verbs() == ["find", "create", "find"]


def test_reading_tells_gone_from_there(cloud: ScriptedCloud) -> None:
    """None for NotFound."""
    cloud.make()
    assert crud.read(cloud.world(), "box", INPUTS, "i1") == ResourceState("i1", "ready")
    assert crud.read(cloud.world(), "box", INPUTS, "i2") is None
