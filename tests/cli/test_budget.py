"""`budget`: limits set and shown, the sums, what is wrong with them in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from cloudtrain.cli.schema import FOLDER
from cloudtrain.records import GoneRecord, QuoteRecord
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.fakes import desk_with_fake_trainer
from tests.records import begin, machine, row

Command = Callable[..., Result]
NOVEMBER_30 = 1_795_996_800.0  # 2026-11-30T00:00:00Z, a Monday
HOUR = 3600.0


@pytest.fixture
def state(own_world: Path, monkeypatch: pytest.MonkeyPatch) -> LocalFolder:
    """Noon of a Monday: a run that cost $4 a week ago, and one that lives, reserved at $10, $2 of them spent."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", "2026-11-30T12:00:00Z")
    monkeypatch.setattr("cloudtrain.runs.metering.time.time", lambda: NOVEMBER_30 + 12 * HOUR)
    store = LocalFolder(own_world / "state")
    for name, began in (("old", NOVEMBER_30 - 7 * 24 * HOUR), ("living", NOVEMBER_30 + 11 * HOUR)):
        begin(store, name, provider="runpod", created=began, deadline=began + 5 * HOUR)
        run = Run(store, name)
        run.write("quote.json", QuoteRecord(line=row(provider="runpod", price_usd_per_hour=Decimal(2))))
        run.write("machine.json", machine(created=began))
    Run(store, "old").write("gone.json", GoneRecord(time=NOVEMBER_30 - 7 * 24 * HOUR + 2 * HOUR))
    return store


def shown(cloudtrain: Command) -> dict[str, object]:
    """`budget show` as JSON, held to its schema."""
    result = cloudtrain("budget", "show", "-o", "json")
    assert result.code == 0, result.err
    found: dict[str, object] = json.loads(result.out)
    jsonschema.validate(found, json.loads((FOLDER / "budget.json").read_text()))
    return found


def test_limits_spent_open_and_left_are_shown(cloudtrain: Command, state: LocalFolder) -> None:
    """The old run counts in the month alone, the living one in both with what it may still cost."""
    assert (
        cloudtrain(
            "budget", "set", "--month", "150", "--week", "$40", "--run", "12", "--timezone", "Europe/Berlin"
        ).code
        == 0
    )
    found = shown(cloudtrain)
    assert found["timezone"] == "Europe/Berlin"
    assert found["run_limit_usd"] == "12"
    assert (found["open_usd"], found["living"], found["unknown"]) == ("8", ["living"], [])
    assert found["week"] == {
        "begins_at": "2026-11-29T23:00:00Z", "ends_at": "2026-12-06T23:00:00Z",
        "limit_usd": "40", "spent_usd": "2", "left_usd": "30", "unknown": [],
    }  # fmt: skip
    assert found["month"] == {
        "begins_at": "2026-10-31T23:00:00Z", "ends_at": "2026-11-30T23:00:00Z",
        "limit_usd": "150", "spent_usd": "6", "left_usd": "136", "unknown": [],
    }  # fmt: skip


def test_a_person_sees_them_in_80_columns(cloudtrain: Command, state: LocalFolder) -> None:
    """A line for a run, the week and the month."""
    cloudtrain(
        "budget", "set", "--month", "123456.78", "--week", "40", "--timezone", "America/Argentina/ComodRivadavia"
    )
    result = cloudtrain("budget", "show")
    run, week, month = (line.split() for line in result.out.splitlines()[1:])
    assert run == ["run", "no", "limit"]
    assert week == ["week", "2026-11-30", "$40.00", "$2.00", "$8.00", "$30.00"]
    assert month == ["month", "2026-11-01", "$123,457", "$6.00", "$8.00", "$123,443"]
    assert "living, or not proven to be gone: living" in result.err
    assert all(len(line) <= 80 for line in [*result.out.splitlines(), *result.err.splitlines()])


def test_without_limits_the_sums_are_shown_all_the_same(cloudtrain: Command, state: LocalFolder) -> None:
    """And how one is set."""
    found = shown(cloudtrain)
    assert found["run_limit_usd"] is None
    result = cloudtrain("budget", "show")
    assert "no limit is set; `cloudtrain budget set --month 150` sets one" in result.err
    assert result.out.splitlines()[2].split() == ["week", "2026-11-30", "no", "limit", "$2.00", "$8.00", "-"]


def test_none_takes_a_limit_away(cloudtrain: Command, state: LocalFolder) -> None:
    """The others stay."""
    cloudtrain("budget", "set", "--month", "150", "--week", "40")
    result = cloudtrain("budget", "set", "--month", "none")
    assert "run no limit, week $40.00, month no limit; time zone UTC" in result.err


def test_a_run_of_unknown_price_is_named(cloudtrain: Command, state: LocalFolder) -> None:
    """What is left is unknown then, never a number."""
    cloudtrain("budget", "set", "--month", "150")
    Run(state, "old").write("quote.json", QuoteRecord(line=row(provider="runpod", price_usd_per_hour=None)))
    found = shown(cloudtrain)
    assert found["unknown"] == ["old"]
    assert found["month"]["left_usd"] is None  # type: ignore[index]
    result = cloudtrain("budget", "show")
    assert "$2.00?" in result.out
    assert "what these cost is unknown" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--month", "lots"], "`lots` is not an amount in dollars"),
        (["--week", "-1"], "`-1` is not an amount in dollars"),
        (["--run", "NaN"], "`NaN` is not an amount in dollars"),
        (["--timezone", "Europe/Berln"], "`Europe/Berln` is no time zone"),
        ([], "say what to set"),
    ],
)
def test_bad_words_set_nothing(cloudtrain: Command, own_world: Path, words: list[str], said: str) -> None:
    """Exit 2 and a sentence."""
    result = cloudtrain("budget", "set", *words)
    assert result.code == 2
    assert said in result.err
    assert not (own_world / "state" / "budgets.json").exists()


def test_a_broken_document_is_one_sentence(cloudtrain: Command, state: LocalFolder) -> None:
    """Exit 2; setting one limit does not hide that the others are lost; what ends runs is not kept from it."""
    state.write("budgets.json", b'{"month": 150}')
    for words in (["show"], ["set", "--week", "5"]):
        result = cloudtrain("budget", *words)
        assert result.code == 2
        assert "has the key `month`, which is no limit that is known" in result.err
        assert "did you mean `month_usd`?" in result.err
    for words in (["ps", "-a"], ["report", "old"], ["poll", "--all"]):
        assert "budgets.json" not in cloudtrain(*words).err
    assert state.read("budgets.json") == b'{"month": 150}'


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec and its data, a fake trainer, and electricity that costs $0.06 an hour."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLOUDTRAIN_WATTS", "200")
    monkeypatch.setenv("CLOUDTRAIN_USD_PER_KWH", "0.30")
    monkeypatch.chdir(desk_with_fake_trainer(tmp_path))
    return tmp_path


def test_up_obeys_the_limits_from_the_plan_to_the_end(cloudtrain: Command, desk: Path, own_world: Path) -> None:
    """Too much ends with 5, planned or not; within them it runs, and what it cost is spent."""
    up = ("up", "-y", "--infra", "local", "--max-hours", "10")
    for more in ([], ["--dry-run"]):
        result = cloudtrain(*up, "--budget-month", "0.01", *more)
        assert result.code == 5, result.err
        assert "for this one" in result.err
        assert "over the budget of $0.01 a month" in result.err
    assert LocalFolder(own_world / "state").children("runs") == []
    assert cloudtrain("budget", "set", "--month", "5", "--run", "2").code == 0
    result = cloudtrain(*up)
    assert result.code == 0, result.err
    found = shown(cloudtrain)
    assert (found["living"], found["open_usd"]) == ([], "0")
    assert Decimal(found["month"]["spent_usd"]) < Decimal("0.05")  # type: ignore[index]


def test_a_cap_counts_electricity_that_is_assumed(
    cloudtrain: Command, desk: Path, this_machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody said watts: a cap is a deadline by 10 W a core, or refuses by it; the plan says so; 0 W costs nothing."""
    monkeypatch.delenv("CLOUDTRAIN_WATTS")
    monkeypatch.delenv("CLOUDTRAIN_USD_PER_KWH")
    up = ("up", "-y", "--infra", "local", "--dry-run", "--max-cost")
    plan = cloudtrain(*up, "0.001").err
    assert "20 W (assumed: 10 W a vCPU) at 0.20 dollars per kWh (assumed)" in plan
    assert "--max-cost 0.001 at $0.0040/h, electricity that is assumed" in plan
    assert "1.5 x the quoted worst case" in cloudtrain(*up, "1").err
    refused = cloudtrain(*up, "0")
    assert (refused.code, "electricity for 20 W (assumed" in refused.err) == (5, True)
    assert "0: it costs nothing" in refused.err
    monkeypatch.setenv("CLOUDTRAIN_WATTS", "0")
    assert cloudtrain(*up, "0").code == 0


def test_up_takes_the_row_that_is_named(cloudtrain: Command, desk: Path) -> None:
    """An id of the quote; of another provider than the settings' it is still looked for."""
    assert cloudtrain("config", "set", "infra", "aws").code == 0
    result = cloudtrain("up", "-y", "--row", "local/this-machine", "--dry-run")
    assert result.code == 0, result.err
    assert "this machine (local)" in result.err
    assert cloudtrain("up", "-y", "--row", "local/this-machin", "--dry-run").code == 2
    assert cloudtrain("up", "-y", "--row", "colab/tpu-v5e/free", "--dry-run").code == 3


def test_up_stops_at_broken_limits_before_anything_is_made(
    cloudtrain: Command, desk: Path, own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2; no environment, no run."""
    monkeypatch.setattr("cloudtrain.trainer.environment.ensure", lambda *_: pytest.fail("an environment was made"))
    store = LocalFolder(own_world / "state")
    store.write("budgets.json", b"{")
    result = cloudtrain("up", "-y", "--infra", "local")
    assert result.code == 2
    assert "`budgets.json`" in result.err
    assert "set the limits again" in result.err
    assert store.children("runs") == []
