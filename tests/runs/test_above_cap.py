"""A run on this machine that is quoted again from its own rate, and stopped above its cap: real processes, no model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from cloudtrain.cli import events as events_command
from cloudtrain.cli import root
from cloudtrain.cli.up.screen import Screen
from cloudtrain.errors import OverBudget
from cloudtrain.plan import Plan
from cloudtrain.providers import Stack
from cloudtrain.report.cost_report import report
from cloudtrain.runs import launch
from cloudtrain.runs.client.attached import Attachment
from cloudtrain.runs.client.machinery import RealClouds
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.events import Event, Requoted, refuse
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import outcome, remaining
from cloudtrain.state.errors import BucketUnreachable
from cloudtrain.state.store import LocalFolder
from tests.patience import until
from tests.runs.conftest import wait_for

pytestmark = pytest.mark.machine

Make = Callable[..., Plan]
Knobs = Callable[..., None]
CAP = Decimal("0.06")  # ten minutes at $0.36 an hour
SLOW = {"steps": 100_000, "pause_s": 0.02}  # more than half an hour


def capped(plan: Make, cap_usd: Decimal = CAP, stops: bool = True, **more: Any) -> Plan:
    """A plan with that cap and a late deadline."""
    cap_at = time.time() + float(cap_usd / Decimal("0.36")) * 3600
    return plan(max_cost=cap_usd, cap_at=cap_at, stop_above_cap=stops, deadline=time.time() + 36_000, **more)


def names(run: Run) -> list[str]:
    """What its events are called."""
    return [event.event for event in events_command.events(run)]


def checkpoint(run: Run) -> int:
    """The step of the newest one."""
    return int((run.store.folder(run.key("ckpt")) / "LATEST").read_text())


def test_above_its_cap_it_stops_and_a_raise_continues_it(
    store: LocalFolder, local: Stack, plan: Make, knobs: Knobs
) -> None:
    """Nobody follows it: the supervisor stops it long before the money is used up. With more it goes on from there."""
    knobs(**SLOW, every=10_000)
    run = wait_for(launch.start(store, capped(plan)), "stopped")
    assert run.exit is not None
    assert run.exit.reason == "over_cap"
    saved = checkpoint(run)
    assert saved == run.exit.step
    assert 50 <= saved < 5000
    assert [name for name in names(run) if name in ("above cap", "stopping", "late")] == ["above cap", "stopping"]
    spent = run.spent_usd()
    assert spent is not None
    assert spent < CAP / 2
    stopped = outcome.unfinished(run)
    assert isinstance(stopped, OverBudget)
    assert stopped.exit_code == 5
    assert "the cap is $0.06" in stopped.message
    assert "--max-cost" in stopped.hint
    with pytest.raises(OverBudget):
        outcome.check_finished(run)
    knobs(steps=saved + 60, pause_s=0.02)
    again = wait_for(launch.start(store, capped(plan, Decimal(6))), "finished")
    assert again.exit is not None
    assert again.exit.step == saved + 60
    assert "above cap" not in names(again)[names(again).index("ended") :]


def test_without_the_option_it_is_only_told(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """An event, a line of ps and of its JSON; the run goes on."""
    knobs(**SLOW)
    run = launch.start(store, capped(plan, stops=False))
    until(lambda: "above cap" in names(run), "the event")
    assert Run(store, run.id).state == "running"
    shown = CliRunner().invoke(root, ["ps"])
    assert f"{run.id}: rest quoted from its own rate: " in shown.stderr
    assert "above its cap: it may cost $" in shown.stderr
    listed = json.loads(CliRunner().invoke(root, ["ps", "-o", "json"]).stdout)
    jsonschema.validate(listed, json.loads(CliRunner().invoke(root, ["schema", "ps"]).stdout))
    (row,) = listed
    assert row["requoted"]["above_cap"]
    assert not row["requoted"]["late"]
    assert float(row["requoted"]["total_usd"]["low"]) > float(row["spent_usd"])
    logged = CliRunner().invoke(root, ["logs", run.id])
    assert logged.stderr.count("rest quoted from its own rate: ") == 1
    assert "rest quoted" not in logged.stdout


def test_who_follows_is_told_once(
    store: LocalFolder,
    local: Stack,
    plan: Make,
    knobs: Knobs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """When it becomes known, and again only out of the range that was told."""
    knobs(steps=400, pause_s=0.02)
    run = launch.start(store, capped(plan, Decimal("0.0001"), stops=False))
    told: list[Event] = []
    Attachment(UpOptions(home=tmp_path / "home"), RealClouds(), told.append, refuse).attach(run)
    requoted = [event.remaining for event in told if isinstance(event, Requoted)]
    assert all(remaining.is_news(before, after) for before, after in pairwise(requoted))  # a busy machine is slower
    assert requoted[0].above_cap
    Screen()(Requoted(run, requoted[0]))
    shown = capsys.readouterr().err
    assert shown.count("rest quoted from its own rate: ") == 1
    assert "above its cap: it may cost $" in shown


def test_a_run_that_will_be_late_is_told(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """It has no cap."""
    knobs(**SLOW)
    run = launch.start(store, plan(deadline=time.time() + 900))
    until(lambda: "late" in names(run), "the event")
    rest = remaining.of_run(Run(store, run.id), Run(store, run.id).heartbeat)
    assert rest is not None
    (warning,) = rest.warnings()
    assert warning.startswith("will not finish before its deadline in ")


def test_the_account_says_what_its_own_rate_said_first(
    store: LocalFolder, local: Stack, plan: Make, knobs: Knobs
) -> None:
    """Beside what was metered in the end."""
    knobs(steps=200, pause_s=0.02)
    run = wait_for(launch.start(store, plan()), "finished")
    account = report(run)
    assert account.requoted is not None
    step, rest = account.requoted
    assert 50 <= step <= 60
    assert rest.hours.low <= rest.hours.likely <= rest.hours.high
    assert 0.3 < rest.hours.likely * 3600 / account.metered_s < 3
    document = json.loads(CliRunner().invoke(root, ["report", run.id, "-o", "json"]).stdout)
    jsonschema.validate(document, json.loads(CliRunner().invoke(root, ["schema", "report"]).stdout))
    assert document["requoted"]["step"] == step
    assert "re-quoted at step" in CliRunner().invoke(root, ["report", run.id]).stdout


def test_a_machines_nonsense_is_no_rest(store: LocalFolder, local: Stack, plan: Make, knobs: Knobs) -> None:
    """Whatever it writes in place of its pace, the rest of its heartbeat counts."""
    run = wait_for(launch.start(store, plan()), "finished")
    for paced in (
        {"steps": 60, "seconds": 1, "left_s": [1, 2]},
        {"steps": 60, "seconds": 1, "left_s": [1, 2, 1e300]},
        {"steps": 60, "seconds": -1, "left_s": [1, 2, 3]},
        {"steps": 60, "seconds": 1, "left_s": [1, 2, "x"]},
        "fast",
    ):
        beat = {"version": 1, "time": time.time(), "step": 7, "of": 9, "paced": paced, "attempt": 1}
        store.write(run.key("hb.json"), json.dumps(beat).encode())
        seen = Run(store, run.id).heartbeat
        assert seen is not None
        assert (seen.step, seen.paced) == (7, None)
        assert remaining.of_run(Run(store, run.id), seen) is None


def test_a_state_out_of_reach_is_no_news(
    store: LocalFolder, local: Stack, plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who follows goes on following; of a run that has ended there is none either."""
    run = wait_for(launch.start(store, plan()), "finished")
    assert remaining.Watch(run).look() is None

    def unreachable(*_: Any) -> None:
        raise BucketUnreachable("no answer")

    for name in ("read", "read_from"):
        monkeypatch.setattr(LocalFolder, name, unreachable)
    again = Run(store, run.id)
    watch = remaining.Watch(again)
    watch.run.__dict__["stack"] = local
    assert watch.look() is None
    assert watch.news(again, None) is None
