"""The time limits of Cloud TPU API machines, and what the sweep sees of both, against the fake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cloudtrain.errors import Rejected, Unavailable, Unknown
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.tpu import TpuCloud
from tests.patience import TIMING
from tests.stacks.gcp.tpu_world import FLEX, HOUR, PROJECT, SPOT, START, arm, delete, find, make, parts, plan_of, tpu


@pytest.fixture(scope="module")
def one_cloud() -> Iterator[TpuCloud]:
    made = TpuCloud(Clock(START))
    yield made
    made.stop()


@pytest.fixture
def cloud(one_cloud: TpuCloud, monkeypatch: pytest.MonkeyPatch) -> TpuCloud:
    one_cloud.reset(Clock(START))
    for name, value in one_cloud.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    return one_cloud


def test_a_spot_machine_that_everybody_forgot_is_deleted_by_its_task_at_the_deadline(cloud):
    made = parts(SPOT)
    arm(made)
    make(made["machine"])
    cloud.clock.advance(4 * HOUR - 60)
    assert len(cloud.ledger.running()) == 1
    cloud.clock.advance(120)
    assert cloud.leftovers() == []


def test_a_task_whose_first_deletes_fail_repeats_until_the_machine_is_gone(cloud):
    made = parts(SPOT)
    arm(made)
    make(made["machine"])
    cloud.faults.add("tasks.fire", "unavailable", times=3)
    cloud.clock.advance(4 * HOUR + 1800)
    assert cloud.leftovers() == []


def test_the_time_limit_cannot_be_taken_off_a_machine_that_stands(cloud):
    made = parts(SPOT)
    arm(made)
    seen = make(made["machine"])
    (task,) = find(made["time-limit"])
    with pytest.raises(Rejected, match="time limit"):
        delete(made["time-limit"], task.id)
    delete(made["machine"], seen.id)
    delete(made["time-limit"], task.id)
    cloud.clock.advance(10)
    assert cloud.leftovers() == []


def test_a_time_limit_in_a_paused_queue_is_refused_with_the_command_that_mends_it(cloud):
    made = parts(SPOT)
    queue = make(made["time-limit-queue"])
    cloud.tasks.queues[queue.id]["state"] = "PAUSED"
    with pytest.raises(Rejected) as refused:
        make(made["time-limit"])
    assert "gcloud tasks queues resume cloudtrain --location us-central1" in refused.value.hint


def test_a_time_limit_is_armed_once_however_often_it_is_asked_for(cloud):
    made = parts(SPOT)
    make(made["time-limit-queue"])
    make(made["time-limit-queue"])
    cloud.faults.add("tasks.create", "lost_reply")
    with pytest.raises(Unknown):
        make(made["time-limit"])
    first = make(made["time-limit"])
    assert first.id == find(made["time-limit"])[0].id
    assert len(cloud.tasks.tasks) == 1


def test_a_time_limit_whose_name_was_used_up_is_refused(cloud):
    made = parts(SPOT)
    arm(made)
    delete(made["time-limit"], find(made["time-limit"])[0].id)
    with pytest.raises(Rejected, match="used up"):
        make(made["time-limit"])


def test_a_deadline_beyond_thirty_days_is_refused_before_there_is_a_machine(cloud):
    made = parts(SPOT, hours=31 * 24)
    make(made["time-limit-queue"])
    with pytest.raises(Rejected) as refused:
        make(made["time-limit"])
    assert "30 days" in refused.value.hint


def test_the_sweep_finds_everything_on_every_page_in_every_zone_and_takes_it_away_in_reverse(cloud):
    for number in range(5):
        made = {r.role: r for r in tpu.resources(replace(plan_of(SPOT), run=f"n{number}"), PROJECT)}
        arm(made)
        make(made["machine"])
    make(parts(FLEX)["machine"])
    cloud.clock.advance(10)
    everything = list(tpu.list_owned(None, None))
    assert sorted({owned.kind for owned in everything}) == ["flex_resource", "queued_resource", "time_limit_task"]
    assert len(everything) == 11
    assert all(owned.expires == START + 4 * HOUR for owned in everything)
    order = list(tpu.DRIVERS)
    for owned in sorted(everything, key=lambda o: -order.index(o.kind)):
        tpu.DRIVERS[owned.kind].delete(owned.inputs, owned.id)
    cloud.clock.advance(10)
    assert cloud.leftovers() == []


def test_one_run_is_listed_in_its_places_only_and_without_the_others(cloud):
    made = parts(SPOT)
    arm(made)
    make(made["machine"])
    other = tpu.resources(replace(plan_of(FLEX), run="other"), PROJECT)[0]
    make(other)
    cloud.calls.clear()
    key = made["machine"].inputs["tags"]["cloudtrain-key"]
    found = list(tpu.list_owned(key, [made["machine"].inputs["place"], {"project": "p", "zone": "compute-engine's"}]))
    assert [owned.kind for owned in found] == ["queued_resource", "time_limit_task"]
    assert set(cloud.calls) == {"queuedResources.list", "nodes.list", "tasks.list"}


def test_a_list_that_fails_is_an_error_and_never_a_short_list(cloud):
    cloud.faults.add("nodes.list", "unavailable")
    with pytest.raises(Unavailable):
        list(tpu.list_owned(None, None))


def test_every_market_has_a_guard_that_stands_alone():
    for offer, market in (("v5litepod-4", "spot"), ("v5litepod-4", "on_demand"), ("v4-8", "on_demand")):
        assert any(guard.alone for guard in tpu.guards(offer, market))


def test_doctor_hears_that_both_apis_answer(cloud):
    states = {finding.what: finding.state for finding in tpu.findings()}
    assert states["Cloud TPU API"] == states["Cloud Tasks API"] == "ok"


def test_a_simulation_without_a_tpu_fake_lists_nothing_and_asks_nobody(monkeypatch):
    monkeypatch.setenv("CLOUDTRAIN_GCE_URL", "http://127.0.0.1:9")
    assert list(tpu.list_owned(None, None)) == []
