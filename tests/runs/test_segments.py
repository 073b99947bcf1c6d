"""A run longer than its credentials goes on, segment by segment, as if it were one; no machine outlives its addresses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cloudtrain.cli import ps
from cloudtrain.errors import MissingCredentials, NotFinished, UsageError
from cloudtrain.report import cost_report
from cloudtrain.runs import live_price, teardown
from cloudtrain.runs.client.attached import Attachment
from cloudtrain.runs.client.machinery import RealClouds
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.events import refuse
from cloudtrain.runs.record import ADDRESSES_END, Run
from cloudtrain.runs.results import outcome
from cloudtrain.signing import expiry, keyless
from cloudtrain.signing.keyless import amazon
from cloudtrain.simulator.aws import s3
from cloudtrain.simulator.aws.account import Session as FakeSession
from cloudtrain.simulator.aws.s3_signed import Keys
from cloudtrain.simulator.clock import Clock
from tests.keyless_world import Amazon, amazon_world, enter_amazon, enter_google, google_world
from tests.runs.segment_world import BEGIN, HOUR, STEPS, USD, SegmentWorld, in_one_piece

pytestmark = pytest.mark.machine


@pytest.fixture(scope="module")
def amazon_made() -> Iterator[Any]:
    with amazon_world() as made:
        yield made


@pytest.fixture(scope="module")
def google_made() -> Iterator[Any]:
    with google_world() as made:
        yield made


class Credentials(NamedTuple):
    """A state, and how who comes next gets credentials for it."""

    state: str
    renew: Callable[[], None]
    objects: Callable[[], dict[str, bytes]]  # of the bucket


@pytest.fixture
def clock() -> Clock:
    return Clock(BEGIN)


def without(patch: pytest.MonkeyPatch) -> None:
    """A new process of a CI job: nothing is exchanged yet."""
    for name in (amazon.KEY, amazon.SECRET, amazon.TOKEN, amazon.END):
        patch.delenv(name, raising=False)
    patch.setattr(amazon, "_keys", None)


def temporary(world: Amazon, patch: pytest.MonkeyPatch, hours: float, told: bool) -> None:
    """Keys that somebody else has exchanged, whose end is told or not."""
    without(patch)
    patch.delenv(amazon.ROLE, raising=False)
    now = world.cloud.clock.now()
    keys = Keys(f"ASIA{int(now)}", "PLANTED-SECRET-TEMPORARY", f"PLANTED-SECRET-TOKEN-{int(now)}")
    world.cloud.sessions[keys.access] = FakeSession(keys, now + hours * HOUR)
    for name, value in zip((amazon.KEY, amazon.SECRET, amazon.TOKEN), keys, strict=True):
        patch.setenv(name, value)
    if told:
        patch.setenv(amazon.END, datetime.fromtimestamp(now + hours * HOUR, UTC).isoformat())


@pytest.fixture
def credentials(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Credentials:
    """Of the kind that the test names; those of a person who has just logged in, or of a job that has just begun."""
    kind = request.param
    monkeypatch.setattr(time, "time", clock.now)
    if kind == "keyless google":
        google = enter_google(request.getfixturevalue("google_made"), monkeypatch, clock)
        keyless.take()
        return Credentials(google.state, lambda: None, lambda: google.cloud.objects("bucket-state"))

    def objects() -> dict[str, bytes]:
        return s3.objects(world.cloud, "bucket-state")

    hours = 1 if kind == "keyless amazon 1 h" else 12
    world = enter_amazon(request.getfixturevalue("amazon_made"), monkeypatch, clock, hours)
    if kind == "permanent":
        for name, value in world.cloud.environment().items():
            monkeypatch.setenv(name, value)
        return Credentials(world.state, lambda: None, objects)
    if kind.startswith("keyless"):

        def job() -> None:
            without(monkeypatch)
            keyless.take()

        job()
        return Credentials(world.state, job, objects)
    length, told = {"1 h": (1.0, True), "12 h": (12.0, True), "unknown end": (1.0, False)}[kind]
    temporary(world, monkeypatch, length, told)
    return Credentials(world.state, lambda: temporary(world, monkeypatch, length, told), objects)


@pytest.fixture
def world(credentials: Credentials, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentWorld:
    return SegmentWorld(credentials.state, clock, tmp_path, monkeypatch)


def to_the_end(world: SegmentWorld, credentials: Credentials, between_s: float = 1800.0) -> None:
    """A tick every while, each by a job of its own, until one says that it is over."""
    for _ in range(200):
        world.machines[-1].train()
        world.clock.advance(between_s)
        credentials.renew()
        if world.poll().over:
            return
    raise AssertionError("the run did not come to an end")


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h", "keyless google", "12 h", "1 h"], indirect=True)
def test_thirty_hours_in_segments_train_what_one_piece_does(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Every step once, equal losses, one run in the report, within what was agreed to, and no restart counted."""
    world.steps = STEPS if "1 h" not in request.node.callspec.id.split("-") else 6  # of twenty minutes
    run = world.up(monkeypatch, segments=True, max_restarts=0)
    agreed = run.intent.agreed_usd
    assert agreed == pytest.approx(200 * USD, rel=Decimal("0.001"))
    to_the_end(world, credentials)
    assert world.losses() == in_one_piece(world.steps)
    assert json.loads((world.folder / "home" / "metrics.json").read_text()) == {"steps": world.steps}
    world.check_addresses()
    assert len(world.machines) > 2
    run = world.run()
    assert (run.state, run.intent.agreed_usd) == ("finished", agreed)
    assert {each.reason for each in run.machines()[:-1]} == {ADDRESSES_END}
    report = cost_report.report(run)
    hours = sum((each.plan.deadline - each.began) / HOUR for each in world.machines[:-1])
    assert report.metered_usd is not None
    assert USD * Decimal(hours) < report.metered_usd < USD * Decimal(hours + 12.5)


@pytest.mark.parametrize("credentials", ["permanent"], indirect=True)
def test_in_one_piece_it_is_the_same_without_segments(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the segments above are compared with, through the same bucket; asking for them changes nothing here."""
    run = world.up(monkeypatch, hours=60.0, segments=True)
    assert run.intent.run_deadline == run.intent.deadline == BEGIN + 60 * HOUR
    to_the_end(world, credentials)
    assert (len(world.machines), world.losses()) == (1, in_one_piece())


KINDS = ["1 h", "12 h", "unknown end", "keyless amazon 1 h", "keyless amazon 12 h", "keyless google", "permanent"]


@pytest.mark.parametrize("credentials", KINDS, indirect=True)
@pytest.mark.parametrize("segments", [True, False])
def test_no_machine_outlives_its_addresses(
    world: SegmentWorld, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, segments: bool
) -> None:
    """It can ship for ten minutes after its deadline; or no machine is made at all."""
    kind = request.node.callspec.params["credentials"]
    if kind == "unknown end" or (not segments and kind != "permanent"):
        with pytest.raises(UsageError, match=r"do not say until when|likely takes") as refused:
            world.up(monkeypatch, segments=segments)
        assert world.machines == []
        assert kind == "unknown end" or "--segments" in refused.value.hint
        return
    world.up(monkeypatch, segments=segments)
    (machine,) = world.machines
    world.clock.advance(machine.plan.deadline + expiry.SHIPPING_S - 1 - world.clock.now())
    machine.save(1, {"weight": 1.0, "speed": 0.0, "loss": 0.0})
    machine.end("deadline", 75)
    assert machine.refused == []
    world.clock.advance(2 * 86400.0)
    machine.save(2, {"weight": 1.0, "speed": 0.0, "loss": 0.0})
    assert machine.refused != []


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h"], indirect=True)
def test_a_segment_whose_machine_vanishes_is_a_restart(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of it: from the last checkpoint, and counted; at its end: not."""
    world.up(monkeypatch, segments=True, max_restarts=1)
    world.machines[-1].train(lost_after=8)
    assert not world.poll().over
    assert [each.addresses_ended for each in world.run().attempts] == [False]
    assert world.machines[-1].ticket["resume"]["step"] == 5
    lives_until = world.clock.now() + 12 * HOUR - expiry.SHIPPING_S  # with keys that are exchanged anew
    assert world.machines[-1].plan.deadline == pytest.approx(lives_until, abs=60)
    world.machines[-1].train()
    credentials.renew()
    assert "goes on" in world.poll().done
    world.machines[-1].train(lost_after=1)
    polled = world.poll()
    assert polled.over
    assert len(world.machines) == 3


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h"], indirect=True)
def test_the_end_of_a_segment_uses_up_no_restart(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that vanishes afterwards is replaced as if it were the first."""
    world.up(monkeypatch, segments=True, max_restarts=1)
    world.machines[-1].train()
    credentials.renew()
    assert "goes on" in world.poll().done
    world.machines[-1].train(lost_after=6)
    assert "restarted" in world.poll().done
    assert [each.addresses_ended for each in world.run().attempts] == [True, False]


def attached(world: SegmentWorld, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A client that follows the run to its end: the log is what each machine has left when it is over."""

    def read_log(run: Run, offset: int) -> tuple[Run, str]:
        world.machines[-1].train()
        return Run(run.store, run.id), "ended"

    options = UpOptions(home=world.folder / "home", yes=True)
    client = Attachment(options, RealClouds(), world.events.append, refuse)
    monkeypatch.setattr(client, "read_log", read_log)
    return client.attach(world.run())


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h", "keyless google"], indirect=True)
def test_an_attached_client_renews_and_goes_on(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a tick: the CI system still vouches for the job."""
    world.up(monkeypatch, segments=True, max_restarts=0)
    assert attached(world, monkeypatch).state == "finished"
    assert world.losses() == in_one_piece()
    assert len(world.machines) == 3
    world.check_addresses()


@pytest.mark.parametrize("credentials", ["12 h"], indirect=True)
def test_an_attached_client_without_renewal_says_who_goes_on(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """101, and nothing stands."""
    world.up(monkeypatch, segments=True)
    with pytest.raises(NotFinished) as told:
        attached(world, monkeypatch)
    assert "cloudtrain poll mine" in told.value.hint
    assert not world.machines[-1].stands


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h"], indirect=True)
def test_a_machine_cannot_claim_the_end_of_its_addresses(world: SegmentWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before their time its word brings no other machine, however often somebody looks."""
    world.up(monkeypatch, segments=True)
    world.clock.advance(HOUR)
    world.machines[-1].end("deadline", 75)
    assert world.poll().over
    world.clock.advance(12 * HOUR)
    assert world.run().stop_reason == "deadline"
    assert not teardown.wants_another(world.run())
    assert len(world.machines) == 1


@pytest.mark.parametrize("credentials", ["12 h"], indirect=True)
def test_a_run_waits_for_credentials_that_last(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stands meanwhile; with new ones it goes on."""
    world.up(monkeypatch, segments=True)
    world.machines[-1].train()
    polled = world.poll()  # with what is left of the old ones: ten minutes
    assert isinstance(polled.error, MissingCredentials)
    assert not polled.over
    assert "renewed credentials" in polled.error.hint
    assert not world.machines[-1].stands
    with pytest.raises(NotFinished, match="end of its machine's addresses"):
        outcome.check_finished(world.run())
    credentials.renew()
    assert "goes on" in world.poll().done
    assert len(world.machines) == 2


@pytest.mark.parametrize("credentials", ["12 h"], indirect=True)
def test_what_is_ended_between_segments_stays_ended(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`down` while no machine stands."""
    world.up(monkeypatch, segments=True)
    world.machines[-1].train()
    world.poll()
    credentials.renew()
    teardown.down(world.run())
    assert world.poll().over
    assert len(world.machines) == 1


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h"], indirect=True)
@pytest.mark.parametrize("hours", [12.0, 24.01])
def test_a_run_stops_at_its_own_deadline(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    """Less than two minutes of it are no segment."""
    world.up(monkeypatch, hours=hours, segments=True)
    to_the_end(world, credentials)
    run = world.run()
    assert run.state == "stopped"
    assert world.machines[-1].plan.deadline <= BEGIN + hours * HOUR
    assert run.ends == BEGIN + hours * HOUR
    with pytest.raises(NotFinished, match="reached its deadline"):
        raise outcome.unfinished(run)


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h"], indirect=True)
def test_a_dearer_segment_than_was_agreed_to_is_not_rented(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is spent and what is left at the new price, until the run's own deadline."""
    world.up(monkeypatch, segments=True)
    world.machines[-1].train()
    credentials.renew()
    monkeypatch.setattr(live_price, "check", lambda line, now, stale: live_price.Checked(USD * 2, ""))
    polled = world.poll()
    assert polled.error is not None
    assert "more expensive than was agreed to" in polled.error.message
    assert len(world.machines) == 1


@pytest.mark.parametrize("credentials", ["keyless amazon 12 h", "keyless google"], indirect=True)
def test_no_secret_is_kept_or_told(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ticket's addresses hold the session's token, which is no key; nothing else does."""
    world.up(monkeypatch, segments=True)
    told = repr(world.events).encode()
    kept = {**credentials.objects(), "events": told}
    assert len(kept) > 5
    assert [name for name, data in kept.items() if b"PLANTED-SECRET-AWS-ROLE" in data] == []
    with_token = [name for name, data in kept.items() if b"PLANTED-SECRET" in data]
    assert [name for name in with_token if "/tickets/" not in name] == []


@pytest.mark.parametrize("credentials", ["12 h"], indirect=True)
def test_ps_shows_a_run_between_segments(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the active ones, with its own deadline; one that is over is none of them."""
    world.up(monkeypatch, segments=True)
    world.machines[-1].train()
    world.poll()
    credentials.renew()
    assert ps.line(world.run(), False, ps.row)[1] == "stopped, goes on"
    document = ps.document(world.run())
    assert document["goes_on"]
    assert document["run_deadline_at"] > document["deadline_at"]
    teardown.down(world.run())
    assert ps.line(world.run(), False, ps.row) is None


@pytest.mark.parametrize("credentials", ["12 h"], indirect=True)
def test_the_end_of_addresses_is_an_event_once(
    world: SegmentWorld, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often somebody looks before there are other credentials."""
    world.up(monkeypatch, segments=True)
    world.machines[-1].train()
    for _ in range(3):
        world.poll()
    lines = (world.store().read("runs/mine/events.jsonl") or b"").splitlines()
    assert [json.loads(line)["event"] for line in lines].count(ADDRESSES_END) == 1
