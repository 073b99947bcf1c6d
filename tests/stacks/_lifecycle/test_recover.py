"""`down` says gone only when it is proven, whatever lags, fails, refuses or lies; and says what is left otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtrain import errors
from cloudtrain.errors import TeardownIncomplete, UsageError
from cloudtrain.state.store import LocalFolder
from tests.chance import examples
from tests.stacks._lifecycle.protocol_world import BEGIN, INPUTS, TIMING, NoEngine, ScriptedCloud, recover

BUSY = errors.Unavailable("busy", "try again")


@pytest.fixture
def cloud(tmp_path: Path) -> ScriptedCloud:
    """A cloud that obeys until its script says otherwise."""
    return ScriptedCloud(tmp_path)


def down(cloud: ScriptedCloud, engine: NoEngine | None = None) -> Any:
    """The protocol, for attempt 1."""
    return recover.recover(cloud.world(), engine or NoEngine(), 1)


def asked(cloud: ScriptedCloud, answer: str = "done") -> None:
    """A create is in the journal, with its answer and its thing, or without."""
    number = cloud.journal.intend("create", "scripted", "box", INPUTS)
    if answer == "done":
        cloud.journal.answered(number, cloud.make().id)
    elif answer == "failed":
        cloud.journal.refused(number, errors.Quota("no"))


def lists(cloud: ScriptedCloud) -> list[float]:
    """When it was asked for everything of the run."""
    return [time for verb, time, _ in cloud.calls if verb.startswith("list")]


def test_gone_needs_two_empty_answers_a_consistency_delay_apart(cloud: ScriptedCloud) -> None:
    """The thing is deleted first, and the tombstone lies."""
    asked(cloud)
    absence = down(cloud)
    assert cloud.things == {}
    empty = [time for time in lists(cloud) if time > BEGIN]
    assert empty[-1] - empty[0] >= TIMING.consistency_s
    assert absence.said_by == "scripted"
    assert absence.time == cloud.time
    assert cloud.journal.cancelled_attempt() == 1


def test_a_journal_without_a_create_proves_by_itself_that_nothing_is_there(cloud: ScriptedCloud) -> None:
    """Nobody is asked, so no credentials are needed."""
    cloud.journal.store.append(cloud.journal.key("journal.jsonl"), b'{"time": 1.0, "phase": "intent", "call": "start"}')
    assert down(cloud).said_by == "the journal"
    assert cloud.calls == []


@pytest.mark.parametrize("text", [b"", b'{"phase": "int', b'{"phase": "intent"}\n\x00\x00\x00'])
def test_a_lost_or_damaged_journal_proves_nothing(cloud: ScriptedCloud, text: bytes) -> None:
    """It is looked everywhere by tag, for as long as an unknown call may be on its way."""
    if text:
        cloud.journal.store.append(cloud.journal.key("journal.jsonl"), text)
    cloud.make()
    down(cloud)
    assert cloud.things == {}
    assert set(cloud.verbs()) == {"list everywhere", "delete"}
    assert cloud.time - BEGIN >= TIMING.in_flight_s + TIMING.consistency_s


def test_a_lost_journal_stays_lost_when_a_sweep_of_it_dies(cloud: ScriptedCloud) -> None:
    """The first one wrote of a delete and died; that line is no proof of anything."""
    cloud.journal.intend("delete", "scripted", "box", INPUTS, "i9")
    cloud.make()
    down(cloud)
    assert cloud.things == {}


def test_an_empty_answer_followed_by_a_full_one_begins_anew(cloud: ScriptedCloud) -> None:
    """A list that lags: empty, then the thing, then empty twice."""
    asked(cloud, "failed")

    def appears() -> Any:
        cloud.make()

    cloud.script["list 1"] = [list, list, appears]
    down(cloud)
    assert cloud.things == {}
    seen_at = lists(cloud)[2]
    assert cloud.time - seen_at >= TIMING.consistency_s


@pytest.mark.parametrize("error", [BUSY, errors.Unknown("?"), errors.Rejected("odd")])
def test_an_answer_that_fails_is_no_empty_one(cloud: ScriptedCloud, error: Exception) -> None:
    """Neither a list nor a find that fails counts."""
    asked(cloud)
    cloud.script["list 1"] = [lambda: None, list, error, error]
    down(cloud)
    failed_at = lists(cloud)[3]
    assert cloud.time - failed_at >= TIMING.consistency_s


@settings(max_examples=examples(60))
@given(
    sent_before_s=st.floats(0.0, 300.0),
    arrives_s=st.floats(0.0, TIMING.in_flight_s),
    shift_s=st.sampled_from([0.0, 3600.0, -3600.0, 30.0, -30.0]),
    reboot=st.booleans(),
)
def test_a_create_on_its_way_is_waited_for_whatever_the_clock_says(
    tmp_path_factory: pytest.TempPathFactory, sent_before_s: float, arrives_s: float, shift_s: float, reboot: bool
) -> None:
    """Sent so long ago, comes so late after it, and the clock was moved between: gone is true."""
    cloud = ScriptedCloud(tmp_path_factory.mktemp("late"))
    asked(cloud, "none")
    arrives = BEGIN + arrives_s
    cloud.time += sent_before_s
    cloud.wall_shift_s = shift_s
    if reboot and shift_s <= 0:
        cloud.boot = ("another boot", 10.0)

    def look() -> Any:
        if cloud.time >= arrives and not cloud.made:
            cloud.make()

    cloud.script["list 1"] = [look] * 1000
    cloud.script["find"] = [look] * 1000
    down(cloud)
    assert cloud.time >= arrives
    assert cloud.things == {}
    assert cloud.made == (1 if cloud.time >= arrives else 0)


def test_an_intent_from_the_future_counts_from_the_beginning_of_the_sweep(cloud: ScriptedCloud) -> None:
    """The clock was moved back: not waited for a whole hour, and not short of a horizon."""
    asked(cloud, "none")
    cloud.wall_shift_s = -3600.0
    cloud.time += 50
    began = cloud.time
    down(cloud)
    waited_s = cloud.time - began
    settled_s = TIMING.in_flight_s + TIMING.consistency_s
    assert settled_s <= waited_s <= settled_s + 2 * TIMING.poll_s


def test_an_old_unanswered_intent_needs_no_wait(cloud: ScriptedCloud) -> None:
    """A day later only the two empty answers count."""
    asked(cloud, "none")
    cloud.time += 86400
    began = cloud.time
    down(cloud)
    assert cloud.time - began <= TIMING.consistency_s + 2 * TIMING.poll_s


def test_a_thing_that_only_its_id_leads_to_is_deleted(cloud: ScriptedCloud) -> None:
    """Neither name nor tag shows it, its status does."""
    asked(cloud)
    cloud.script["list 1"] = [list] * 1000
    cloud.script["find"] = [list] * 1000
    down(cloud)
    assert cloud.things == {}


def test_a_delete_that_is_refused_for_a_while_is_repeated(cloud: ScriptedCloud) -> None:
    """Busy as long as a whole delete has patience."""
    asked(cloud)
    cloud.script["delete"] = [BUSY] * 70
    down(cloud)
    assert cloud.things == {}


def test_a_delete_that_is_taken_and_not_obeyed_is_told(cloud: ScriptedCloud) -> None:
    """What, where, with its page and the command to repeat."""
    asked(cloud)
    cloud.script["delete"] = [lambda: True] * 1000
    with pytest.raises(TeardownIncomplete) as told:
        down(cloud)
    assert "box i1" in told.value.message
    assert "https://cloud.example/i1" in told.value.message
    assert told.value.hint == "cloudtrain down r"
    assert cloud.things


def test_a_provider_that_is_down_for_good_is_told_with_what_may_be_left(cloud: ScriptedCloud) -> None:
    """After some patience; the next time everything is cleaned up."""
    asked(cloud)
    for verb in ("list 1", "find", "status", "delete"):
        cloud.script[verb] = [BUSY] * 10000
    with pytest.raises(TeardownIncomplete) as told:
        down(cloud)
    assert "perhaps box ct-1 in here" in told.value.message
    assert "busy" in told.value.message
    assert "cloudtrain down r" in told.value.hint
    cloud.script.clear()
    down(cloud)
    assert cloud.things == {}


@pytest.mark.parametrize("error", [errors.MissingCredentials("no key", "export KEY"), errors.Permission("not you")])
def test_what_only_a_person_can_mend_is_told_at_once(cloud: ScriptedCloud, error: errors.ProviderError) -> None:
    """Nobody waits for a key to appear."""
    asked(cloud)
    cloud.script["list 1"] = [error] * 10
    cloud.script["find"] = [error] * 10
    with pytest.raises(TeardownIncomplete, match=error.message) as told:
        down(cloud)
    assert cloud.time == BEGIN
    assert error.hint in told.value.hint


def test_an_engine_that_fails_at_everything_does_not_keep_a_machine_alive(cloud: ScriptedCloud) -> None:
    """Its words are kept for the case that something is left."""
    asked(cloud)
    engine = NoEngine()
    engine.failing = errors.Unavailable("the checkpoint is damaged")
    down(cloud, engine)
    assert cloud.things == {}
    assert engine.steps == ["seize", "pending", "destroy", "forget"]


def test_the_state_is_only_forgotten_after_the_proof(cloud: ScriptedCloud) -> None:
    """As long as something may be left, its record stays."""
    asked(cloud)
    cloud.script["delete"] = [lambda: True] * 1000
    engine = NoEngine()
    with pytest.raises(TeardownIncomplete):
        down(cloud, engine)
    assert "forget" not in engine.steps


def test_an_owner_on_another_machine_stops_it_before_anything_is_deleted(cloud: ScriptedCloud) -> None:
    """The tombstone lies by then."""
    asked(cloud)

    class Held(NoEngine):
        def take_lock(self) -> None:
            raise TeardownIncomplete("somebody else is at it")

    with pytest.raises(TeardownIncomplete):
        down(cloud, Held())
    assert cloud.things
    assert cloud.journal.cancelled_attempt() == 1


def test_a_state_that_cannot_be_written_keeps_nothing_alive(
    cloud: ScriptedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: everything is deleted and proven gone all the same."""
    asked(cloud)

    def refuse(*given: Any) -> None:
        raise UsageError("no space left on device")

    for name in ("append", "write", "create", "delete"):
        monkeypatch.setattr(LocalFolder, name, refuse)
    down(cloud)
    assert cloud.things == {}


def test_ending_twice_is_fine(cloud: ScriptedCloud) -> None:
    """Also after it is gone."""
    asked(cloud)
    down(cloud)
    deletes = cloud.verbs().count("delete")
    down(cloud)
    assert cloud.verbs().count("delete") == deletes
