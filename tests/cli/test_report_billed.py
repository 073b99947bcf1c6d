"""`report --billed` asks the providers, says what came of it on stderr, and shows three figures side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.records import GoneRecord, MachineRecord, QuoteRecord
from cloudtrain.records.row import CostPartRecord
from cloudtrain.runs.record import Run
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import RunpodCloud
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.records import begin, row

NOW = 1_790_000_000.0
HOUR = 3600.0
POD = "pod0000001"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, own_world: Path) -> Iterator[RunpodCloud]:
    """A pod that stood for two hours at $3 instead of the quoted $2, and the run that it was of."""
    cloud = RunpodCloud(Clock(NOW))
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    cloud.ledger.open(POD, "pod ct-x", 3.0, {"kind": "gpu"})
    cloud.clock.advance(2 * HOUR)
    cloud.ledger.close(POD)
    store = LocalFolder(own_world / "state")
    begin(store, "night", provider="runpod", created=NOW)
    parts = (CostPartRecord(name="compute", quantity=Decimal(2), unit="hours", unit_usd=Decimal(2), usd=Decimal(4)),)
    line = row(provider="runpod", cost_parts=parts, price_usd_per_hour=Decimal(2))
    run = Run(store, "night")
    run.write("quote.json", QuoteRecord(line=line))
    run.write("machine.json", MachineRecord(id=POD, created=NOW))
    run.write("gone.json", GoneRecord(time=NOW + 2 * HOUR))
    yield cloud
    cloud.stop()


def test_report_shows_bill_beside_metered(
    fake: RunpodCloud, cloudtrain: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(hours: float) -> Result:
        fake.clock.advance(NOW + hours * HOUR - fake.clock.now())
        monkeypatch.setenv("CLOUDTRAIN_NOW", str(NOW + hours * HOUR))
        return cloudtrain("report", "night", "--billed", "-o", "json")

    early = at(3)
    assert "runpod: 1 of 1 runs are on the bill, 0 for good (RunPod's billing of pods)" in early.err
    first = json.loads(early.out)
    assert (first["metered_usd"], first["billed_usd"], first["billed_status"]) == ("4", "6", "provisional")
    assert first["billed_message"].startswith("50% more than the metered $4.00; likely cause: another price")
    assert json.loads(at(12).out)["billed_status"] == "final"
    assert "RunPod" not in at(24).err
    assert fake.calls.count("listPodBilling") == 2
    shown = cloudtrain("report", "night")
    assert "$6.00 50% more than the metered $4.00" in shown.out
    assert "$4.00" in shown.out


def test_provider_that_fails_does_not_fail_the_report(
    fake: RunpodCloud, cloudtrain: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDTRAIN_NOW", str(NOW + 3 * HOUR))
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_another")
    result = cloudtrain("report", "--billed", "-o", "json")
    assert result.code == 0
    assert "RUNPOD_API_KEY is not accepted" in result.err
    assert "PLANTED-SECRET" not in result.err + result.out
