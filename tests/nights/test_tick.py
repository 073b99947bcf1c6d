"""One tick: a night is begun once, whoever comes how often, and whoever is killed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from cloudtrain import hub
from cloudtrain.errors import UsageError
from cloudtrain.nights import begin, book, unchanged
from cloudtrain.runs.record import Run
from cloudtrain.state.store import write_record
from cloudtrain.trainer import environment
from tests.campaign.toy_engine import Killed
from tests.nights.world import HOUR, Schedule, on_a_ci_system, schedule

pytestmark = pytest.mark.machine


@pytest.fixture
def nightly() -> Iterator[Schedule]:
    """A schedule on the fake RunPod."""
    with schedule() as made:
        yield made


def test_a_night_is_begun_once_and_brought_home(nightly: Schedule) -> None:
    """Not before it is due; however many ticks come after."""
    assert nightly.tick(0.5).tick.outcome == "not due"
    first = nightly.tick(1.1)
    assert (first.tick.outcome, first.tick.date, first.tick.run) == ("started", "2026-03-17", "nightly-2026-03-17")
    assert nightly.tick(1.2).tick.outcome == "going on"
    ended = nightly.tick(2.5)
    assert (ended.tick.outcome, ended.tick.exit_code) == ("finished", 0)
    assert [nightly.tick(hour).tick.outcome for hour in (3, 5, 9)] == ["not due"] * 3
    assert (nightly.runs, nightly.world.both.leftovers()) == (["nightly-2026-03-17"], [])
    assert (nightly.world.folder / "nightly-2026-03-17" / "adapter_config.json").exists()


def test_a_night_without_change_starts_nothing_and_says_since_when(nightly: Schedule) -> None:
    """Also the one after it; a change of the data is one."""
    nightly.tick(1.1)
    nightly.tick(3)
    for day in (1, 2):
        ticked = nightly.tick(24 * day + 2)
        assert (ticked.tick.outcome, ticked.tick.run) == ("unchanged", "nightly-2026-03-17")
        assert "unchanged since run `nightly-2026-03-17`" in ticked.tick.message
    nightly.world.change_data(1)
    assert nightly.tick(24 * 3 + 2).tick.outcome == "started"
    assert nightly.runs == ["nightly-2026-03-17", "nightly-2026-03-20"]


def test_another_commit_and_other_packages_are_a_change(nightly: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that the spec does not pin the hub is asked; one that cannot be asked changes nothing."""
    commits = iter(["a" * 40] * 2 + ["b" * 40] * 9)
    monkeypatch.setattr(hub, "repository", lambda hub_id, token: hub.Repository(next(commits), (), False))
    assert nightly.tick(1.1).tick.outcome == "started"
    nightly.tick(3)
    assert nightly.tick(26).tick.outcome == "unchanged"
    assert nightly.tick(50).tick.outcome == "started"
    nightly.tick(52)

    def unasked(hub_id: str, token: str | None) -> hub.Repository:
        raise hub.Unasked("the hub cannot be reached")

    monkeypatch.setattr(hub, "repository", unasked)
    quiet = nightly.tick(74)
    assert quiet.tick.outcome == "unchanged"
    assert "the hub was not asked: the hub cannot be reached" in quiet.tick.message
    monkeypatch.setattr(environment, "lock_digest", lambda flavour: "another")
    assert nightly.tick(98).tick.outcome == "started"


def test_a_night_that_failed_is_red_once_and_tried_again(nightly: Schedule) -> None:
    """However alike the next one is."""
    nightly.world.plays.fails = lambda: True
    nightly.tick(1.1)
    assert (nightly.tick(3).tick.outcome, nightly.tick(4).tick.outcome) == ("failed", "not due")
    assert nightly.tick(26).tick.outcome == "started"


def test_a_night_that_nobody_came_for_is_missed_once(nightly: Schedule) -> None:
    """Late by less than the limit it is begun; days of silence are said night by night."""
    nightly.tick(0.5)
    assert nightly.tick(6.9).tick.outcome == "started"
    nightly.tick(12)
    silent = nightly.tick(24 * 3 + 8)
    assert [(each.outcome, each.date) for each in silent.events] == [
        ("missed", "2026-03-18"), ("missed", "2026-03-19"), ("missed", "2026-03-20")]  # fmt: skip
    assert silent.tick.exit_code == 7
    assert nightly.tick(24 * 3 + 9).tick.outcome == "not due"


def test_what_was_due_before_the_schedule_is_not_missed(nightly: Schedule) -> None:
    """The first tick comes at noon: the next night is the first."""
    assert nightly.tick(12).tick.outcome == "not due"
    assert nightly.tick(25.5).tick.outcome == "started"


@pytest.mark.parametrize("calls", [12, 20, 30, 45, 60, 80, 100, 120])
def test_a_night_survives_the_death_of_its_tick_anywhere(calls: int) -> None:
    """The next tick goes on; there is one run, and in the end nothing is left."""
    with schedule() as nightly:
        nightly.tick(0.5)
        nightly.killed(1.1, calls)
        outcomes = [nightly.tick(hour).tick.outcome for hour in (1.5, 2.5, 3.5, 5, 6, 7.5)]
        assert nightly.night("17").outcome == "finished", outcomes
        assert (nightly.runs, nightly.world.both.leftovers()) == (["nightly-2026-03-17"], [])


def test_a_changed_spec_after_a_broken_start_gets_another_run(nightly: Schedule) -> None:
    """The first start came to nothing under the night's name, with other data."""
    nightly.tick(0.5)
    nightly.world.fake.faults.add("createPod", "no_capacity", times=9)
    waits = nightly.tick(1.1)
    assert (waits.tick.outcome, "tried again until 2026-03-17 07:00 UTC" in waits.tick.message) == ("going on", True)
    nightly.world.fake.faults.clear()
    nightly.world.change_data(5)
    assert (nightly.tick(1.6).tick.run, nightly.tick(3).tick.outcome) == ("nightly-2026-03-17-2", "finished")


def test_no_machine_in_time_is_a_missed_night(nightly: Schedule) -> None:
    """Each tick tries again until it is too late."""
    nightly.tick(0.5)
    nightly.world.fake.faults.add("createPod", "no_capacity", times=99)
    assert [nightly.tick(hour).tick.outcome for hour in (1.1, 3, 6.5)] == ["going on"] * 3
    missed = nightly.tick(7.5)
    assert (missed.tick.outcome, "no place had a machine" in missed.tick.message) == ("missed", True)
    assert nightly.world.both.leftovers() == []


def test_a_machine_taken_back_is_replaced_by_a_tick(nightly: Schedule) -> None:
    """One run, two machines."""
    takes = iter([True])
    nightly.world.plays.preempts = lambda: next(takes, False)
    outcomes = [nightly.tick(hour).tick.outcome for hour in (1.1, 1.6, 2.6, 3.6)]
    assert outcomes == ["started", "going on", "finished", "not due"]
    assert len(nightly.world.machines) == 2


def test_no_second_run_beside_one_that_goes_on(nightly: Schedule) -> None:
    """Tonight's is begun when last night's has ended in time, else it is missed, with the reason."""
    nightly.world.write_spec(200_000_000)
    nightly.world.plays.training_s = 26 * HOUR
    nightly.tick(1.1)
    waits = nightly.tick(25.5)
    assert (waits.tick.outcome, waits.tick.run) == ("going on", "nightly-2026-03-17")
    nightly.world.change_data(1)
    nightly.world.plays.training_s = 27.5 * HOUR
    both = nightly.tick(28)
    assert [each.outcome for each in both.events] == ["finished", "started"]
    assert (both.tick.outcome, both.tick.date) == ("started", "2026-03-18")
    missed = nightly.tick(55.2)
    assert (missed.tick.outcome, "`nightly-2026-03-18` of 2026-03-18 still goes on" in missed.tick.message) == (
        "missed", True)  # fmt: skip


def test_above_the_budget_a_night_is_left_out(nightly: Schedule) -> None:
    """Exit code 0; once a night."""
    nightly.tick(0.5)
    refused = nightly.tick(1.1, budget_month=Decimal("0.01"))
    assert (refused.tick.outcome, refused.tick.exit_code) == ("skipped: budget", 0)
    assert nightly.tick(2, budget_month=Decimal("0.01")).tick.outcome == "not due"
    assert (nightly.world.machines, nightly.world.both.leftovers()) == ([], [])


def test_a_damaged_run_stops_neither_the_night_nor_the_sweep(nightly: Schedule) -> None:
    """It is a note."""
    nightly.world.store.write("runs/broken/intent.json", b"{")
    ticked = nightly.tick(1.1, budget_month=None)
    assert ticked.tick.outcome == "started"
    assert any("`runs/broken/intent.json`" in note for note in ticked.notes)


def test_a_damaged_night_is_not_begun_again(nightly: Schedule) -> None:
    """Nobody can say whether it was begun."""
    nightly.tick(0.5)
    nightly.world.store.write("nights/nightly/nights/2026-03-17.json", b"{")
    ticked = nightly.tick(1.1)
    assert (ticked.tick.outcome, nightly.runs) == ("not due", [])
    assert any("2026-03-17.json" in note for note in ticked.notes)


def test_two_ticks_at_once_do_the_work_of_one(nightly: Schedule) -> None:
    """The second one leaves again."""
    nightly.tick(0.5)
    nightly.world.until(nightly.world.clock.now() + HOUR)
    with nightly.world.store.hold(book.key("nightly", "tick.lock")):
        second = nightly.tick()
    assert (second.tick.outcome, nightly.runs) == ("going on", [])
    assert "another tick is at it" in second.tick.message


def test_a_bad_spec_fails_the_night_once(nightly: Schedule) -> None:
    """With the sentence that `up` would say."""
    nightly.tick(0.5)
    (nightly.world.folder / "cloudtrain.yaml").write_text("model: qwen3-8b\nmethod: lroa\ndata: data.jsonl\n")
    failed = nightly.tick(1.1)
    assert (failed.tick.outcome, failed.tick.exit_code) == ("failed", 100)
    assert "lora" in failed.tick.message
    assert nightly.tick(1.6).tick.outcome == "not due"


def test_a_name_is_one_spec_of_one_repository(nightly: Schedule) -> None:
    """A fork, a second spec: a sentence each, and nothing is done. A person in a clone may tick."""
    nightly.environment = on_a_ci_system("acme/tuning")
    nightly.tick(0.5)
    nightly.environment = {}
    assert nightly.tick(1.1).tick.outcome == "started"
    nightly.environment = on_a_ci_system("stranger/tuning")
    with pytest.raises(UsageError, match="belongs to the repository acme/tuning, and this is stranger/tuning: a fork"):
        nightly.tick(1.6)
    nightly.environment = {}
    other = nightly.world.folder / "other.yaml"
    other.write_text((nightly.world.folder / "cloudtrain.yaml").read_text())
    with pytest.raises(UsageError, match=r"runs the spec cloudtrain.yaml, and this is other.yaml"):
        nightly.tick(1.7, spec=other)


def test_a_ci_job_without_a_bucket_is_refused(nightly: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state would be empty each time, and every tick start a run."""
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(nightly.world.folder / "state"))
    nightly.environment = on_a_ci_system("acme/tuning")
    with pytest.raises(UsageError, match="needs a state that outlives a CI job"):
        nightly.tick(1.1)
    assert nightly.runs == []


def test_a_dead_engine_s_lock_is_removed_after_an_hour() -> None:
    """Until then it is a leak: nobody can see from here whether it is at work."""
    for calls in range(140, 300, 10):  # some call within the engine's work, with a machine on its way
        with schedule("aws") as nightly:
            nightly.tick(0.5)
            nightly.killed(1.1, calls)
            if not nightly.world.machines or not any("/locks/" in key for key in nightly.world.store.files("runs")):
                continue
            outcomes = [nightly.tick(hour).tick.outcome for hour in (1.2, 1.6, 2.4, 3.5, 5, 6, 7.5)]
            assert nightly.night("17").outcome == "finished", outcomes
            assert (nightly.runs, nightly.world.both.leftovers()) == (["nightly-2026-03-17"], [])
            return
    raise AssertionError("no tick died there")


def test_a_provider_that_does_not_answer_is_no_leak(nightly: Schedule) -> None:
    """It is a note, and the next tick asks again; one that refuses where a run stands is one."""
    nightly.tick(1.1)
    nightly.world.fake.faults.add("listPods", "unavailable", times=99)
    quiet = nightly.tick(1.2)
    assert (quiet.tick.outcome, any("runpod could not be asked" in note for note in quiet.notes)) == ("going on", True)
    nightly.world.fake.faults.clear()
    nightly.world.fake.faults.add("listPods", "permission", times=99)
    refused = nightly.tick(1.3)
    assert (refused.tick.outcome, refused.tick.exit_code) == ("leak", 6)
    nightly.world.fake.faults.clear()
    assert nightly.tick(3).tick.outcome == "finished"


def test_a_fingerprint_is_of_what_the_run_began_with(nightly: Schedule) -> None:
    """A spec that is another by the time it is looked at has none."""
    nightly.tick(1.1)
    run = Run(nightly.world.store, "nightly-2026-03-17")
    prepared = begin.prepare.prepare(nightly.world.folder / "cloudtrain.yaml", [])
    assert unchanged.of_run(nightly.world.store, run, prepared) == nightly.night("17").fingerprint != ""
    nightly.world.change_data(7)
    prepared = begin.prepare.prepare(nightly.world.folder / "cloudtrain.yaml", [])
    assert unchanged.of_run(nightly.world.store, run, prepared) == ""


def test_a_run_whose_records_are_gone_has_failed(nightly: Schedule) -> None:
    """Its machine is found by the sweep."""
    nightly.tick(1.1)
    nightly.world.store.delete("runs/nightly-2026-03-17")
    ticked = nightly.tick(1.6)
    assert (ticked.tick.outcome, "there are no records of run" in ticked.tick.message) == ("failed", True)


def test_only_ticks_that_did_something_leave_a_line(nightly: Schedule) -> None:
    """Most ticks do nothing."""
    for hour in (0.5, 1.1, 1.2, 3, 4):
        nightly.tick(hour)
    lines = (nightly.world.store.read("nights/nightly/ticks.jsonl") or b"").splitlines()
    assert [b'"started"' in line or b'"finished"' in line for line in lines] == [True, True]
    last = book.last_tick(nightly.world.store, "nightly")
    assert last is not None
    assert (last.outcome, last.time) == ("not due", nightly.world.clock.now())


def test_what_a_dead_tick_did_not_tell_is_told(nightly: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is red then, once."""
    nightly.world.plays.fails = lambda: True
    nightly.tick(1.1)

    def die(*given: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(book, "write_tick", die)
        nightly.killed(3, 10**6)
    assert nightly.night("17").outcome == "failed"
    late = nightly.tick(3.5)
    assert (late.tick.outcome, late.tick.date, late.tick.exit_code) == ("failed", "2026-03-17", 100)
    assert nightly.tick(4).tick.outcome == "not due"


def test_a_night_is_not_begun_again_at_another_hour(nightly: Schedule) -> None:
    """A date that was begun is not begun again at another hour."""
    nightly.tick(1.1)
    nightly.tick(3)
    assert nightly.tick(5.1, at="05:00").tick.outcome == "not due"
    kept = book.schedule(nightly.world.store, "nightly")
    assert kept is not None
    assert kept.at == "05:00"
    write_record(nightly.world.store, book.key("nightly", "schedule.json"), kept)
