"""Cost Explorer: one question a day for all runs, by our tag once it is active, and nothing before its delay."""

from __future__ import annotations

import datetime as dt
import itertools
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.billing import Billing, BillQuestion
from cloudtrain.errors import Permission, ProviderError, Unavailable
from cloudtrain.providers import Stack, load, run_key
from cloudtrain.records import GoneRecord
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import bills
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.clock import Clock
from cloudtrain.state.store import LocalFolder
from tests.patience import TIMING
from tests.records import begin, machine

BEGAN = dt.datetime(2026, 11, 10, 22, 30, tzinfo=dt.UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0
TAG = "cloudtrain-key"
DATE = "%Y-%m-%d"


@pytest.fixture(scope="module")
def door() -> Iterator[AwsCloud]:
    fake = AwsCloud(Clock(BEGAN))
    yield fake
    fake.stop()


@pytest.fixture
def fake(door: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """An account in which two runs stood for three hours; the tag is active."""
    door.reset(Clock(BEGAN))
    door.cost_tags[TAG] = 0.0
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    for name, value in door.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    for run in ("one", "two"):
        tags = {TAG: run_key(run)}
        door.ledger.open(f"i-{run}", "instance trn1.2xlarge on_demand us-east-1", 1.5, tags)
        door.ledger.open(f"vol-{run}", "volume us-east-1", 0.02, tags)
    door.ledger.open("i-other", "instance m7i.large on_demand us-east-1", 9.0, {"team": "another"})
    door.clock.advance(3 * HOUR)
    for entry in door.ledger.entries:
        door.ledger.close(entry.id)
    return door


def billing() -> Billing:
    found = load("stacks", "aws", Stack).billed
    assert found is not None
    return found


def asked(run: str = "one", account: str = "", end: float | None = BEGAN + 3 * HOUR) -> BillQuestion:
    place = {"account": account} if account else {}
    return BillQuestion(run, run_key(run), (f"i-{run}",), (place,), BEGAN, end)


def ask(fake: AwsCloud, *questions: BillQuestion) -> Any:
    return billing().ask(questions or [asked()], fake.clock.now())


def cents(sorts: dict[str, Decimal]) -> dict[str, float]:
    return {sort: round(float(usd), 2) for sort, usd in sorts.items()}


def test_bill_comes_late_grows_and_settles(fake: AwsCloud) -> None:
    seen = []
    for age in (20, 28, 48, 60, 76, 100):
        fake.clock.advance(BEGAN + age * HOUR - fake.clock.now())
        seen.append(round(float(sum(ask(fake).usd.get("one", {}).values(), Decimal(0))), 3))
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert 0 < seen[2] < seen[4] == seen[5] == 4.56


def test_bill_is_by_run_and_sort(fake: AwsCloud) -> None:
    fake.clock.advance(5 * DAY)
    found = ask(fake, asked("one"), asked("two"))
    assert set(found.usd) == {"one", "two"}
    assert cents(found.usd["one"]) == {"compute": 4.5, "disk": 0.06}
    assert found.message == ""


def test_months_are_added_up(fake: AwsCloud) -> None:
    fake.ledger.open("i-long", "instance trn1.2xlarge spot us-east-1", 1.0, {TAG: run_key("long")})
    fake.clock.advance(30 * DAY)
    fake.ledger.close("i-long")
    fake.clock.advance(5 * DAY)
    found = ask(fake, asked("long"))
    assert cents(found.usd["long"]) == {"compute": 720.0}


@pytest.mark.parametrize(
    ("what", "sort"),
    [
        ("USW2-DataTransfer-Out-Bytes", "egress"),
        ("USW2-AWS-Out-Bytes", "egress"),
        ("PublicIPv4:InUseAddress", "address"),
        ("EUC1-SpotUsage:g4ad.xlarge", "compute"),
        ("EBS:SnapshotUsage", "disk"),
        ("SomethingNew", "other"),
    ],
)
def test_usage_types_have_a_sort(fake: AwsCloud, what: str, sort: str) -> None:
    fake.ledger.open("x", what, 1.0, {TAG: run_key("one")})
    fake.clock.advance(HOUR)
    fake.ledger.close("x")
    fake.clock.advance(5 * DAY)
    extra = ask(fake).usd["one"]
    assert round(float(extra[sort]) - {"compute": 4.5, "disk": 0.06}.get(sort, 0), 3) == 1.0


def test_pages_are_followed(fake: AwsCloud) -> None:
    fake.clock.advance(5 * DAY)
    fake.bill_page = 1
    found = ask(fake, asked("one"), asked("two"))
    assert len(fake.bill_requests) == 4
    assert cents(found.usd["two"]) == {"compute": 4.5, "disk": 0.06}


def test_answer_without_an_end_is_given_up(fake: AwsCloud) -> None:
    fake.clock.advance(5 * DAY)
    fake.bill_page = 0
    with pytest.raises(Unavailable, match="does not end"):
        ask(fake)
    assert len(fake.bill_requests) <= 10


def test_inactive_tag_is_an_answer_with_the_command(fake: AwsCloud) -> None:
    fake.cost_tags.clear()
    fake.clock.advance(5 * DAY)
    found = ask(fake)
    assert found.usd == {}
    assert "update-cost-allocation-tags-status" in found.message
    assert f"TagKey={TAG},Status=Active" in found.message


def test_use_before_the_tag_was_active_is_missing(fake: AwsCloud) -> None:
    fake.cost_tags[TAG] = BEGAN + 10 * HOUR
    fake.clock.advance(5 * DAY)
    found = ask(fake)
    assert found.usd == {}
    assert "perhaps the tag cloudtrain-key is not active" in found.message


def test_run_of_another_account_is_not_asked_for(fake: AwsCloud) -> None:
    fake.clock.advance(5 * DAY)
    found = ask(fake, asked(account="999999999999"))
    assert found.usd == {}
    assert "1 runs are of another AWS account" in found.message
    assert fake.bill_requests == []


def test_missing_right_names_the_action(fake: AwsCloud) -> None:
    fake.clock.advance(5 * DAY)
    fake.faults.add("GetCostAndUsage", "permission")
    with pytest.raises(Permission) as refused:
        ask(fake)
    assert "ce:GetCostAndUsage" in refused.value.hint


@pytest.mark.parametrize("kind", ["throttled", "unavailable", "lost_reply"])
def test_failed_request_is_not_repeated(fake: AwsCloud, kind: Any) -> None:
    fake.clock.advance(5 * DAY)
    fake.faults.add("GetCostAndUsage", kind, times=9)
    with pytest.raises(Unavailable):
        ask(fake)
    assert fake.calls.count("GetCostAndUsage") == 1


GROUP = {"Keys": [f"{TAG}${run_key('one')}", "BoxUsage"], "Metrics": {"UnblendedCost": {"Amount": "1", "Unit": "USD"}}}


@pytest.mark.parametrize(
    "group",
    [
        {**GROUP, "Keys": ["team$x", "BoxUsage"]},
        {**GROUP, "Keys": [f"{TAG}$somebody", "BoxUsage"]},
        {**GROUP, "Keys": [f"{TAG}$x"]},
        {**GROUP, "Metrics": {}},
        *(
            {**GROUP, "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": unit}}}
            for amount, unit in (("many", "USD"), ("NaN", "USD"), (1.0, "USD"), ("1", "CNY"), (None, "USD"))
        ),
        "nothing",
        None,
    ],
)
def test_wrong_answer_is_unavailable(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch, group: Any) -> None:
    page = {"ResultsByTime": [{"Groups": [group]}]}
    billing()
    monkeypatch.setattr(sys.modules["cloudtrain.stacks.aws.client"], "read_once", lambda *_, **__: page)
    with pytest.raises(Unavailable):
        ask(fake)


@pytest.mark.parametrize(
    "body", [b"{}", b"<html>", b"", b'{"ResultsByTime": 7}', b'{"ResultsByTime": [{"Groups": 7}]}']
)
def test_wrong_body_of_status_200_is_unavailable(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    from cloudtrain.simulator.http_server import Reply

    answer = fake.answer
    monkeypatch.setattr(
        fake, "answer", lambda asked: Reply(200, body) if fake.call_of(asked) == "GetCostAndUsage" else answer(asked)
    )
    with pytest.raises(ProviderError) as error:
        ask(fake)
    assert type(error.value) is Unavailable


def test_week_of_hourly_reports_costs_a_cent_a_day(fake: AwsCloud, store: LocalFolder) -> None:
    begin(store, "one", provider="aws", created=BEGAN)
    run = Run(store, "one")
    run.write("machine.json", machine(id="i-one", created=BEGAN, inputs={"place": {"account": fake.account}}))
    run.write("gone.json", GoneRecord(time=BEGAN + 3 * HOUR))
    seen = []
    for _ in range(24 * 7):
        bills.refresh(store, fake.clock.now())
        found = bills.bill(Run(store, "one"))
        seen.append(found.status if found else "metered")
        fake.clock.advance(HOUR)
    times = fake.bill_requests
    assert all(later - earlier >= DAY for earlier, later in itertools.pairwise(times))
    assert len(times) == 4, "asked until it was final"
    assert list(dict.fromkeys(seen)) == ["metered", "provisional", "final"]


@pytest.fixture
def store(own_world: Any) -> LocalFolder:
    return LocalFolder(own_world / "state")
