"""RunPod's bill of pods: by pod id, as far as its five-minute billing has come, and whole or not at all."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.billing import BillQuestion, Bills
from cloudtrain.errors import Unavailable
from cloudtrain.providers import Cloud, Driver, Stack, load, run_key
from cloudtrain.simulator.runpod import RunpodCloud
from tests.stacks.runpod.runpod_world import CPU_LINE, LINE, NOW, cloud, fake, inputs_of, pod

__all__ = ["cloud", "fake", "pod"]
HOUR = 3600.0
RECORD = {"startTime": "2026-09-21T00:00:00Z", "endTime": "2026-09-22T00:00:00Z", "podId": "pod0000001"}
RECORD |= {"totalAmount": 3, "gpuAmount": 2, "cpuAmount": 0, "diskAmount": Decimal("0.5")}


def ask(fake: RunpodCloud, *machines: str, key: str = "", begin: float = NOW) -> Bills:
    billed = load("stacks", "runpod", Stack).billed
    assert billed is not None
    place = {"key": key} if key else {}
    return billed.ask([BillQuestion("one", run_key("one"), machines, (place,), begin, None)], fake.clock.now())


@pytest.mark.parametrize("line", [LINE, CPU_LINE])
def test_bill_has_compute_and_disk_of_the_pod(fake: RunpodCloud, cloud: Cloud, pod: Driver, line: Any) -> None:
    fake.pods.guests = False  # no timer ends them
    mine = pod.create(inputs_of(cloud, line=line)).id
    other = pod.create(inputs_of(cloud, run="two", line=line)).id
    prices = fake.pods.get(mine)
    compute, disk = prices.compute_usd_per_hour(), prices.disk_usd_per_hour()
    fake.clock.advance(30 * HOUR)
    fake.pods.terminate(mine)
    fake.pods.terminate(other)
    fake.clock.advance(HOUR)
    found = ask(fake, mine).usd
    assert list(found) == ["one"]
    assert float(found["one"]["compute"]) == pytest.approx(30 * compute)
    assert float(found["one"]["disk"]) == pytest.approx(30 * disk)


def test_bill_grows_every_five_minutes(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    mine = pod.create(inputs_of(cloud)).id
    seen = []
    for _ in range(12):
        seen.append(sum(ask(fake, mine).usd.get("one", {}).values(), Decimal(0)))
        fake.clock.advance(100)
    assert seen[0] == 0
    assert len(set(seen)) in (4, 5)


def test_machines_of_all_attempts_count(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    ids = [pod.create(inputs_of(cloud, attempt=attempt)).id for attempt in (1, 2)]
    fake.clock.advance(2 * HOUR)
    one, both = ask(fake, ids[0]).usd["one"], ask(fake, *ids).usd["one"]
    assert both["compute"] == pytest.approx(2 * one["compute"])


def test_run_made_with_another_key_is_not_asked_for(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    found = ask(fake, "pod0000001", key="01234567")
    assert found.usd == {}
    assert "another key" in found.message
    assert "listPodBilling" not in fake.calls


def test_pod_that_cost_nothing_yet_is_missing(fake: RunpodCloud) -> None:
    assert ask(fake, "pod0000001") == Bills({}, "")


def answered(records: Any, **metadata: Any) -> dict[str, Any]:
    query = {"startTime": "2026-09-20T00:00:00Z", "endTime": "2027-01-01T00:00:00Z"}
    return {"records": records, "metadata": {"query": query, "recordCount": len(records), **metadata}}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"records": []},
        {**answered([]), "records": None},
        answered([RECORD], recordCount=2),
        answered([RECORD], query={"startTime": "2026-12-30T00:00:00Z", "endTime": "2027-01-01T00:00:00Z"}),
        answered([RECORD], query={"startTime": "2026-09-20T00:00:00Z", "endTime": "2026-09-20T01:00:00Z"}),
        answered([{**RECORD, "podId": None}]),
        answered([{**RECORD, "podId": ""}]),
        answered([{**RECORD, "totalAmount": "3"}]),
        answered([{**RECORD, "gpuAmount": True}]),
        answered([{**RECORD, "diskAmount": float("nan")}]),
        answered([{name: value for name, value in RECORD.items() if name != "cpuAmount"}]),
        answered(["nothing"]),
    ],
)
def test_answer_that_is_not_whole_is_unavailable(
    fake: RunpodCloud, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]
) -> None:
    load("stacks", "runpod", Stack)
    monkeypatch.setattr(sys.modules["cloudtrain.stacks.runpod.api"], "read", lambda *_: document)
    with pytest.raises(Unavailable):
        ask(fake, "pod0000001")


def test_rest_of_the_sum_is_another_sort(fake: RunpodCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    load("stacks", "runpod", Stack)
    monkeypatch.setattr(sys.modules["cloudtrain.stacks.runpod.api"], "read", lambda *_: answered([RECORD]))
    assert ask(fake, "pod0000001").usd["one"] == {"compute": 2, "disk": Decimal("0.5"), "other": Decimal("0.5")}
