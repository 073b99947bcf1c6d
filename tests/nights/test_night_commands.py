"""`night tick` and `night history` from the command line, and what `ps` and `report` say of schedules."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from cloudtrain.nights import book
from cloudtrain.nights.outcome import Tick
from cloudtrain.records import NightRecord, ScheduleRecord
from cloudtrain.simulator.forge.github import JOB_TOKEN, FakeGitHub
from cloudtrain.state.store import LocalFolder, write_record
from tests.campaign.nights_world import PLACES, NightsWorld
from tests.conftest import NOW, Result
from tests.nights.world import HOUR, MIDNIGHT

pytestmark = pytest.mark.machine

TICK = ["night", "tick", "cloudtrain.yaml", "--name", "nightly", "--at", "01:00"]
STOPPED = datetime.fromisoformat(NOW).timestamp()
SCHEMA = files("cloudtrain.schemas") / "night.json"


class Step:
    """A step of GitHub's that ticks."""

    def __init__(self, world: NightsWorld, forge: FakeGitHub) -> None:
        self.world, self.forge = world, forge
        self.summary, self.output = world.folder / "summary.md", world.folder / "output"

    def run(self, hour: float, *more: str) -> tuple[int | None, str, str]:
        """One step: exit code, stdout, stderr; its files are new each time."""
        self.world.until(MIDNIGHT + hour * HOUR)
        self.summary.write_text("")
        self.output.write_text("")
        os.environ.update(self.forge.environment())
        os.environ.update(GITHUB_STEP_SUMMARY=str(self.summary), GITHUB_OUTPUT=str(self.output))
        return self.world.client([*TICK, *PLACES["runpod"], "--comment", "issue", *more])


@pytest.fixture
def step() -> Iterator[Step]:
    """On the fake RunPod and the fake GitHub."""
    with NightsWorld("runpod", MIDNIGHT - HOUR) as world:
        forge = FakeGitHub(world.clock)
        try:
            yield Step(world, forge)
        finally:
            forge.stop()


def test_a_step_gets_outputs_a_summary_and_an_exit_code(step: Step) -> None:
    """A run that fails is red, opens the issue, and the next good one shuts it."""
    step.world.plays.fails = lambda: True
    code, out, _ = step.run(1.1)
    assert (code, step.output.read_text()) == (
        0, "outcome=started\nrun=nightly-2026-03-17\ndate=2026-03-17\n")  # fmt: skip
    assert step.summary.read_text().strip() in out
    code, _, err = step.run(3)
    assert (code, "opened issue" in err) == (100, True)
    assert [each.is_open for each in step.forge.issues] == [True]
    step.world.plays.fails = lambda: False
    step.run(25.1)
    assert step.run(27)[0] == 0
    assert [each.is_open for each in step.forge.issues] == [False]
    assert step.forge.trespasses == step.forge.mentioned == step.forge.commands == []


def test_what_a_provider_says_is_no_command_of_the_step(step: Step) -> None:
    """Between the two marks GitHub takes no line for one; a warning comes after them."""
    code, out, _ = step.run(1.1, "--budget-month", "0.01")
    lines = out.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    end = lines.index(f"::{token}::")
    assert (code, len(token)) == (0, 32)
    assert lines[end + 1].startswith("::warning title=cloudtrain::this month: $0.00 spent")
    assert not [line for line in lines[1:end] if line.startswith("::warning")]


def test_planted_secrets_turn_up_nowhere(step: Step) -> None:
    """Neither in outputs, summary, log, issue nor state."""
    said = [text for hour in (1.1, 3, 25.1) for text in step.run(hour)[1:]]
    said += [step.summary.read_text(), step.output.read_text(), *(each.body for each in step.forge.issues)]
    secrets = [*step.world.both.secrets(), JOB_TOKEN]
    documents = {key: step.world.store.read(key) or b"" for key in step.world.store.files("nights")}
    assert len(secrets) > 1
    assert len(documents) > 2
    for secret in secrets:
        assert not [text for text in said if secret in text]
        assert not [key for key, data in documents.items() if secret.encode() in data]


def test_a_night_without_change_is_quick_and_rents_nothing(step: Step) -> None:
    """Under 15 s of the wall clock; the bar is a minute where a machine is busy."""
    for hour in (1.1, 3):
        step.run(hour)
    calls, began = len(step.world.machines), time.perf_counter()
    code, _, _ = step.run(25.1)
    assert (code, step.output.read_text().splitlines()[0]) == (0, "outcome=unchanged")
    assert (len(step.world.machines), step.world.both.leftovers()) == (calls, [])
    assert time.perf_counter() - began < 60


def test_an_address_is_told_and_never_shown(step: Step) -> None:
    """A variable that is not set is named."""
    os.environ["HOOK"] = "https://127.0.0.1:9/PLANTED-SECRET-hook"
    code, out, err = step.run(1.1, "--notify-from", "HOOK")
    assert (code, "PLANTED-SECRET" in out + err) == (0, False)
    code, _, err = step.run(3, "--notify-from", "NO_HOOK")
    assert (code, "names the variable `NO_HOOK`, which is not set" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "25:00"), "is no time of day"),
        (("--timezone", "Europe/Berln"), "the nearest is Europe/Berlin"),
        (("--name", "../x"), "is no name of a schedule"),
        (("--latest", "soon"), "soon"),
    ],
)
def test_a_wrong_option_ends_with_2_and_a_sentence(
    cloudtrain: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    """Nothing is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cloudtrain.yaml").write_text("model: x\n")
    result = cloudtrain("night", "tick", "cloudtrain.yaml", *words)
    assert (result.code, said in result.err) == (2, True), result.err
    assert cloudtrain("night", "tick", "nothing.yaml").code == 2


@pytest.fixture
def store(own_world: Path, monkeypatch: pytest.MonkeyPatch) -> LocalFolder:
    """A state with a schedule of two nights; the clock stands."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)
    store = LocalFolder(own_world / "state")
    noon = STOPPED - 24 * HOUR
    schedule = ScheduleRecord(
        name="nightly", spec="a.yaml", at="01:00", timezone="UTC", latest_s=HOUR, made=noon
    )  # fmt: skip
    write_record(store, book.key("nightly", "schedule.json"), schedule)
    for day, outcome, run in (("22", "finished", "nightly-2026-11-22"), ("23", "missed", "")):
        book.create_night(store, "nightly", NightRecord(
            date=f"2026-11-{day}", due=noon, begun=noon, outcome=outcome, run=run, message="said"))  # fmt: skip
    return store


def test_history_is_a_table_and_a_document(cloudtrain: Callable[..., Result], store: LocalFolder) -> None:
    """By its schema; of a schedule that is named wrongly, the nearest."""
    found = json.loads(cloudtrain("night", "history", "-o", "json").out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert [(each["date"], each["outcome"], each["run"]) for each in found] == [
        ("2026-11-22", "finished", "nightly-2026-11-22"), ("2026-11-23", "missed", None)]  # fmt: skip
    assert "nightly-2026-11-22" in cloudtrain("night", "history", "nightly").out
    wrong = cloudtrain("night", "history", "nightl")
    assert (wrong.code, "did you mean `nightly`?" in wrong.err) == (2, True)


@pytest.mark.parametrize(("hours", "said"), [(2, "2 h ago: finished, it cost $1"), (31, "31 h ago: finished")])
def test_ps_and_report_say_when_the_last_tick_was(
    cloudtrain: Callable[..., Result], store: LocalFolder, hours: int, said: str
) -> None:
    """On stderr; overdue after a day."""
    book.write_tick(store, Tick("finished", "nightly", message="it cost $1"), STOPPED - hours * HOUR, 1.0)
    for command in (("ps",), ("ps", "-o", "json"), ("report",)):
        result = cloudtrain(*command)
        assert f"schedule `nightly`: the last tick was {said}" in result.err
        assert ("overdue" in result.err) == (hours > 26)
    json.loads(cloudtrain("ps", "-o", "json").out)


def test_without_schedules_ps_says_nothing_of_them(cloudtrain: Callable[..., Result]) -> None:
    """Nor does report."""
    assert "schedule" not in cloudtrain("ps").err + cloudtrain("report").err
