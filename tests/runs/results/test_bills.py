"""Bills: asked for as often as a provider may be asked, kept beside what was metered, final only long after the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.billing import Billing, BillQuestion, Bills
from cloudtrain.errors import DamagedRecord, MissingCredentials, ProviderError, Unavailable
from cloudtrain.providers import run_key
from cloudtrain.records import BillRecord, GoneRecord
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import bills
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine, put, raw

HOUR, DAY = 3600.0, 86400.0
PLACE = {"account": "1", "region": "us-east-1"}


class Provider:
    """A bill that answers what a test says, and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Mapping[str, Mapping[str, Decimal]] | ProviderError = {}
        self.message = ""
        self.asked: list[list[BillQuestion]] = []
        billing = Billing("the bill", self.ask, first_s=DAY, settled_s=3 * DAY, every_s=DAY)
        monkeypatch.setattr(bills, "load", lambda *_: SimpleNamespace(billed=billing))

    def ask(self, questions: Sequence[BillQuestion], now: float) -> Bills:
        self.asked.append(list(questions))
        if isinstance(self.answer, ProviderError):
            raise self.answer
        return Bills(self.answer, self.message)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    return Provider(monkeypatch)


def rented(store: LocalFolder, name: str, created: float = 0.0, gone: float | None = HOUR) -> Run:
    """A run that stood at AWS."""
    begin(store, name, provider="aws", created=created, state="0123abcd")
    run = Run(store, name)
    run.write("machine.json", machine(created=created, inputs={"place": PLACE}))
    if gone is not None:
        run.write("gone.json", GoneRecord(time=gone))
    return Run(store, name)


def written(run: Run) -> BillRecord | None:
    return bills.bill(Run(run.store, run.id))


def test_bill_is_provisional_then_final(store: LocalFolder, provider: Provider) -> None:
    run = rented(store, "night")
    provider.answer = {"night": {"compute": Decimal("1.5"), "disk": Decimal("0.25")}}
    bills.refresh(store, 2 * DAY)
    first = written(run)
    assert first
    assert (first.status, first.usd, first.asked) == ("provisional", Decimal("1.75"), 2 * DAY)
    bills.refresh(store, 3 * DAY + HOUR)
    last = written(run)
    assert last
    assert (last.status, last.parts["disk"], last.source) == ("final", Decimal("0.25"), "the bill")


def test_final_bill_is_asked_for_no_more(store: LocalFolder, provider: Provider) -> None:
    run = rented(store, "night")
    provider.answer = {"night": {"compute": Decimal(1)}}
    bills.refresh(store, 9 * DAY)
    provider.answer = {"night": {"compute": Decimal(7)}}
    assert bills.refresh(store, 20 * DAY) == []
    found = written(run)
    assert found
    assert found.usd == 1


def test_provider_is_asked_once_a_day(store: LocalFolder, provider: Provider) -> None:
    rented(store, "night")
    for hour in range(24 * 7):
        bills.refresh(store, DAY + hour * HOUR)
    assert len(provider.asked) == 7
    (sentence,) = bills.refresh(store, 8 * DAY - HOUR)
    assert sentence == "aws: asked at 1970-01-08T00:00:00Z, and at most once in 24.0 h"


def test_client_that_died_while_asking_has_asked(store: LocalFolder, provider: Provider) -> None:
    rented(store, "night")
    provider.answer = Unavailable("no answer", "try again")
    provider.ask = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    billing = Billing("the bill", provider.ask, first_s=DAY, settled_s=DAY, every_s=DAY)
    pytest.MonkeyPatch().setattr(bills, "load", lambda *_: SimpleNamespace(billed=billing))
    with pytest.raises(KeyboardInterrupt):
        bills.refresh(store, DAY)
    assert raw(store, "bills/aws.json") == {"version": 1, "asked": DAY}


def test_failure_is_a_sentence_and_counts(store: LocalFolder, provider: Provider) -> None:
    run = rented(store, "night")
    provider.answer = Unavailable("AWS does not answer", "try again")
    assert bills.refresh(store, DAY) == ["aws: AWS does not answer; try again"]
    assert "AWS does not answer" in bills.refresh(store, DAY + HOUR)[0]
    assert len(provider.asked) == 1
    assert written(run) is None


def test_missing_credentials_use_up_no_question(store: LocalFolder, provider: Provider) -> None:
    rented(store, "night")
    provider.answer = MissingCredentials("no credentials", "set some")
    assert bills.refresh(store, DAY) == ["aws: no credentials; set some"]
    bills.refresh(store, DAY + 1)
    assert len(provider.asked) == 2
    assert store.read("bills/aws.json") is None


def test_young_run_is_not_asked_for(store: LocalFolder, provider: Provider) -> None:
    rented(store, "night")
    assert bills.refresh(store, DAY - 1) == ["aws: nothing is on a bill before 24.0 h after a run's beginning"]
    assert provider.asked == []


def test_question_names_key_machines_and_places(store: LocalFolder, provider: Provider) -> None:
    run = rented(store, "night", created=HOUR, gone=None)
    put(store, "runs/night/attempts/1.json", {"version": 1, "machine": {"version": 1, "id": "box-0", "created": 60.0}})
    bills.refresh(store, 2 * DAY)
    (asked,) = provider.asked[0]
    assert asked.key == run_key("night", "0123abcd")
    assert asked.machines == ("box-0", "box-1")
    assert (asked.begin, asked.end, asked.places) == (60.0, None, ({}, PLACE))
    assert run.is_rented


def test_run_that_stands_is_never_final(store: LocalFolder, provider: Provider) -> None:
    run = rented(store, "night", gone=None)
    provider.answer = {"night": {"compute": Decimal(1)}}
    bills.refresh(store, 30 * DAY)
    found = written(run)
    assert found
    assert found.status == "provisional"


def test_missing_figure_is_no_zero(store: LocalFolder, provider: Provider) -> None:
    run = rented(store, "night")
    provider.message = "not switched on"
    assert bills.refresh(store, 9 * DAY) == ["aws: not switched on"]
    assert written(run) is None


def test_credit_larger_than_the_cost_is_kept(store: LocalFolder, provider: Provider) -> None:
    run = rented(store, "night")
    provider.answer = {"night": {"compute": Decimal(1), "credit": Decimal("-1.5")}}
    bills.refresh(store, 9 * DAY)
    found = written(run)
    assert found
    assert found.usd == Decimal("-0.5")


def test_other_client_that_asks_is_left_alone(store: LocalFolder, provider: Provider) -> None:
    rented(store, "night")
    with store.hold("bills/aws.lock"):
        (sentence,) = bills.refresh(store, DAY)
    assert sentence.startswith("aws: another client is asking")
    assert provider.asked == []


def test_old_run_is_forgotten(store: LocalFolder, provider: Provider) -> None:
    rented(store, "night")
    assert bills.refresh(store, 91 * DAY) == []


@pytest.mark.parametrize("wrong", [{"usd": "1", "status": "guessed"}, {"usd": "NaN"}, {"usd": None}])
def test_damaged_bill_is_named(store: LocalFolder, provider: Provider, wrong: dict[str, Any]) -> None:
    run = rented(store, "night")
    put(store, "runs/night/bill.json", {"version": 1, "status": "final", "asked": 1.0, "source": "s", **wrong})
    with pytest.raises(DamagedRecord, match=r"bill\.json"):
        written(run)
    assert "bill.json" in bills.refresh(store, 9 * DAY)[0]
