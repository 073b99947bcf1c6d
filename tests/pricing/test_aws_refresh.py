"""AWS is asked for the prices of many rows at once: in few calls, every page, and nothing is made up."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest
from cloudtrain.pricing.aws import calls as asking
from cloudtrain.pricing.aws import list_prices, spot_prices

from cloudtrain.errors import MissingCredentials, Permission, Unavailable
from cloudtrain.listings import Listing, Shape, Unanswered, Unlisted
from cloudtrain.providers import PriceSource, load
from cloudtrain.simulator.aws import AwsCloud, tables
from cloudtrain.simulator.aws.price_api import DAY_S
from cloudtrain.simulator.aws.price_book import Change
from cloudtrain.simulator.clock import Clock
from tests.pricing.aws_prices import (
    CLOCK,
    HASTY,
    point_at,
    prices,
    refreshed,
    shapes,
    sold,
    true_prices,
    unanswered,
)
from tests.pricing.price_tables import SNAPSHOTS

ROWS = (
    sold("trn1.2xlarge", "us-east-1", "use1-az5", usd=1.5, spot=0.21),
    sold("trn1.2xlarge", "us-east-1", "use1-az6", usd=1.5, spot=0.33),
    sold("trn1.32xlarge", "us-east-1", usd=21.5, spot=3.25),
    sold("trn2.48xlarge", "us-west-2", "usw2-az4", usd=None, spot=9.5),
    sold("m7a.48xlarge", "us-west-2", usd=11.25, spot=None, chip="cpu-zen"),
)


@pytest.fixture(scope="module")
def door() -> Iterator[AwsCloud]:
    """One server for the file, with every region of the shipped list."""
    fake = AwsCloud(Clock(CLOCK), regions=tables.regions())
    yield fake
    fake.stop()


@pytest.fixture
def fake(door: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """A fake AWS that sells ROWS and that the environment points at."""
    return point_at(door, ROWS, monkeypatch)


def asked(fake: AwsCloud) -> Counter[str]:
    return Counter(name for name, _ in fake.prices.requests)


def test_every_row_has_the_prices_of_the_provider(fake: AwsCloud) -> None:
    answers = refreshed(ROWS)
    assert prices(answers) == true_prices(ROWS)
    assert len(answers) == 2 * len(ROWS)


def test_the_shipped_list_takes_few_calls(fake: AwsCloud) -> None:
    with (SNAPSHOTS / "aws.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    fake.prices.sold, fake.prices.page = tables.catalogue(), 1000
    ask = load("pricing", "aws", PriceSource).refresh
    assert ask is not None
    found = list(
        ask([Shape(r["offer"], r["region"], r["zones"], r["accelerator"], 1, None, None) for r in rows], 120.0)
    )
    assert len([each for each in found if isinstance(each, Listing)]) == 2 * len(rows)
    regions = len({row["region"] for row in rows})
    assert asked(fake)["DescribeSpotPriceHistory"] == regions
    assert asked(fake)["GetProducts"] <= 12


@pytest.mark.parametrize("several", ["refused", "literally"])
def test_without_several_values_each_type_is_asked(fake: AwsCloud, several: Any) -> None:
    fake.prices.several = several
    answers = refreshed(ROWS)
    assert prices(answers) == true_prices(ROWS)
    listed = {each.source for each in answers if isinstance(each, Listing) and each.market == "on_demand"}
    assert listed == {list_prices.SOURCE_APART}


def test_not_sold_is_never_said_by_one_call_alone(fake: AwsCloud) -> None:
    fake.prices.faults.add("missing", 1)
    assert prices(refreshed(ROWS[:1])) == true_prices(ROWS[:1])
    assert asked(fake)["GetProducts"] == 2


def test_of_two_list_prices_the_dearer_counts() -> None:
    attributes = {"instanceType": "t", "regionCode": "r", **list_prices.KIND}
    rates = {str(usd): {"unit": "Hrs", "pricePerUnit": {"USD": str(usd)}} for usd in (1.5, 2.5, 0)}
    rates["fee"] = {"unit": "Quantity", "pricePerUnit": {"USD": "9"}}
    entry = {"product": {"attributes": attributes}, "terms": {"OnDemand": {"t": {"priceDimensions": rates}}}}
    assert list_prices.read(json.dumps(entry)) == (("t", "r"), Decimal("2.5"))


@pytest.mark.parametrize(
    ("zones", "usd"),
    [
        ("use1-az5", "0.2"),
        ("use1-az5 use1-az6", "0.9"),
        ("use1-az5 use1-az1", "0.2"),  # not sold in the second
        ("use1-az1", None),
        ("", "0.2"),  # the cheapest that a machine can start in without being sent there
    ],
)
def test_a_row_promises_the_dearest_of_its_zones(zones: str, usd: str | None) -> None:
    by_zone = {
        "use1-az5": Decimal("0.2"),
        "use1-az6": Decimal("0.9"),
        "use1-lax1-az1": Decimal("0.1"),
        "use1-az4": None,
    }
    assert spot_prices.price_of_row(zones.split(), by_zone) == (None if usd is None else Decimal(usd))


def test_the_newest_change_of_a_zone_counts(fake: AwsCloud) -> None:
    since = ((-3000, "0.5"), (-60, "0.4"), (-90000, "0.3"), (-60, "0.45"))
    fake.prices.changes = [Change("trn1.2xlarge", "us-east-1", "use1-az5", CLOCK + s, Decimal(usd)) for s, usd in since]
    key = ("trn1.2xlarge", "us-east-1", "use1-az5", "spot")
    assert prices(refreshed(ROWS[:1]))[key] == Decimal("0.45")


def test_a_region_that_refuses_keeps_only_its_spot_prices(fake: AwsCloud) -> None:
    fake.prices.refused_regions.add("us-west-2")
    answers = refreshed(ROWS)
    wanted = true_prices(ROWS)
    assert prices(answers) == {
        key: usd for key, usd in wanted.items() if key[3] == "on_demand" or key[1] != "us-west-2"
    }
    refusal = next(each for each in answers if isinstance(each, Unanswered))
    assert (refusal.region, refusal.market) == ("us-west-2", "spot")
    assert isinstance(refusal.error, MissingCredentials)
    assert "us-west-2 may not be enabled" in refusal.error.message


def test_a_region_that_was_never_switched_on_is_named(fake: AwsCloud) -> None:
    rows = [*ROWS, sold("trn1.2xlarge", "eu-south-9", usd=2.0)]
    fake.prices.sold = rows
    answers = refreshed(rows)
    assert unanswered(answers) == {("eu-south-9", "spot")}
    assert prices(answers)["trn1.2xlarge", "eu-south-9", "", "on_demand"] == Decimal(2)


def test_without_the_right_to_list_prices_spot_is_answered(fake: AwsCloud) -> None:
    fake.faults.add("GetProducts", "permission", times=99)
    answers = refreshed(ROWS)
    assert {key[3] for key in prices(answers)} == {"spot"}
    assert unanswered(answers) == {("us-east-1", "on_demand"), ("us-west-2", "on_demand")}


def test_nothing_at_all_is_an_error(fake: AwsCloud) -> None:
    fake.faults.add("*", "permission", times=999)
    with pytest.raises(Permission):
        refreshed(ROWS)


def test_a_wrong_key_is_told_before_all_regions_are_asked(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY0000000000")
    with pytest.raises(MissingCredentials):
        refreshed(ROWS)
    assert fake.calls == ["GetProducts"]


def test_without_a_key_nobody_is_asked(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(MissingCredentials):
        refreshed(ROWS)
    assert fake.calls == []


def test_a_token_that_ends_begins_the_list_again(fake: AwsCloud) -> None:
    fake.prices.faults.add("expired_token", 1)
    assert prices(refreshed(ROWS)) == true_prices(ROWS)
    fake.prices.token_s = -1.0
    answers = refreshed(ROWS)
    assert unanswered(answers) == {("us-east-1", "on_demand"), ("us-west-2", "on_demand"), ("us-east-1", "spot")}
    assert {each.error.message for each in answers if isinstance(each, Unanswered)} == {
        "AWS forgets between two pages where it was"
    }


def test_an_empty_page_is_not_the_last(fake: AwsCloud) -> None:
    fake.prices.faults.add("empty_page", 3)
    assert prices(refreshed(ROWS)) == true_prices(ROWS)


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([([1], "a"), ([2], "b"), ([3], "a")], "read before"),
        ([([1], "a"), ([2], "b"), ([1], "c")], "again and again"),
        ([([], str(number)) for number in range(asking.MOST_EMPTY + 1)], "again and again"),
        ([([number], str(number)) for number in range(5)], "no last page"),
    ],
)
def test_pages_that_never_end_are_a_fault(monkeypatch: pytest.MonkeyPatch, pages: Any, message: str) -> None:
    answers = iter([{"PriceList": page, "NextToken": token} for page, token in pages])
    monkeypatch.setattr(asking.Calls, "_patiently", lambda *_: next(answers))
    monkeypatch.setattr(asking, "MOST_PAGES", 5 if message == "no last page" else 99)
    with pytest.raises(Unavailable, match=message):
        asking.Calls(60.0).entries("pricing", "us-east-1", "get_products", "PriceList")


def test_a_moment_of_throttling_costs_nothing(fake: AwsCloud) -> None:
    fake.prices.faults.add("throttled", 3)
    assert prices(refreshed(ROWS)) == true_prices(ROWS)


def test_when_time_is_up_the_rest_is_unanswered(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", HASTY)
    fake.prices.faults.add("dripping")
    begun = monotonic()
    with pytest.raises(Unavailable, match="in time"):
        refreshed(ROWS, seconds=0.5)
    assert len(fake.prices.requests) < 4
    assert monotonic() - begun < 60  # read to its end one answer alone takes two minutes


def test_an_answer_has_a_largest_size(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_BYTES", 200)
    with pytest.raises(Unavailable, match="more than"):
        refreshed(ROWS)


def test_what_is_sold_and_not_listed_is_named(fake: AwsCloud) -> None:
    fake.prices.sold = [*ROWS, sold("trn1.32xlarge", "us-west-2"), sold("m7a.48xlarge", "us-east-1", chip="cpu-zen")]
    answers = refreshed(ROWS)
    assert [each for each in answers if isinstance(each, Unlisted)] == [Unlisted("trn1.32xlarge", "us-west-2")]
    assert prices(answers) == true_prices(ROWS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.3437500000", Decimal("1.34375")),
        ("100.000000", Decimal(100)),
        (Decimal("0.1551"), Decimal("0.1551")),
        ("0.0000000000", None),
    ],
)
def test_a_figure_is_exact_and_zero_is_not_sold(text: Any, found: Decimal | None) -> None:
    assert list_prices.figure(text) == found
    assert "E" not in str(list_prices.figure(text))


@pytest.mark.parametrize("text", ["", "-1", "NaN", "Infinity", "1e400000000", "one", None, True, 1.5, [], "9" * 50])
def test_what_is_no_figure_is_doubted(text: Any) -> None:
    assert isinstance(list_prices.figure(text), tuple)


def test_a_year_of_history_is_ninety_days(fake: AwsCloud) -> None:
    now = datetime.now(UTC).timestamp()
    fake.reset(Clock(now))
    fake.prices.changes = [
        Change("trn1.2xlarge", "us-east-1", zone, now - days * DAY_S, Decimal(days))
        for days in (5, 1, 40, 80, 300)
        for zone in ("use1-az5", "use1-az6")
    ]
    past = load("pricing", "aws", PriceSource).past
    assert past is not None
    found = list(past(shapes(ROWS)[0], 365))
    assert {zone for _, zone, _ in found} == {"use1-az5"}
    assert [usd for _, _, usd in found] == [300, 80, 40, 5, 1]
    assert [time for time, _, _ in found] == sorted(time for time, _, _ in found)
    everywhere = list(past(shapes(ROWS)[0]._replace(zones=""), 10))
    assert {zone for _, zone, _ in everywhere} == {"use1-az5", "use1-az6"}
