"""The fake AWS's price interfaces: prices of the test, page by page, and no for what the real one does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudtrain.simulator.aws import ACCESS_KEY, SECRET_KEY, AwsCloud, tables
from cloudtrain.simulator.aws.price_api import DAY_S
from cloudtrain.simulator.aws.price_book import Change
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.price_faults import FIGURES, NAMES, PAGING, TRANSPORT, PriceFaults

NOW = 1.8e9
TRN = {"Type": "TERM_MATCH", "Field": "instanceType", "Value": "trn1.2xlarge"}
OHIO = {"Type": "TERM_MATCH", "Field": "regionCode", "Value": "us-east-2"}


@pytest.fixture(scope="module")
def door() -> Iterator[AwsCloud]:
    """One server for the file."""
    cloud = AwsCloud(Clock(NOW))
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud(door: AwsCloud) -> AwsCloud:
    """An account whose prices are the shipped ones."""
    door.reset(Clock(NOW))
    return door


def client(cloud: AwsCloud, service: str) -> Any:
    config = Config(retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return boto3.client(service, region_name="us-east-1", endpoint_url=cloud.url, config=config, **keys)


def products(cloud: AwsCloud, *filters: dict[str, str], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = client(cloud, "pricing").get_products(
        ServiceCode="AmazonEC2", Filters=list(filters), **more
    )
    return found


def test_every_page_together_is_everything(cloud: AwsCloud) -> None:
    pages = client(cloud, "pricing").get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=[TRN])
    sizes, texts = [], []
    for page in pages:
        sizes.append(len(page["PriceList"]))
        texts += page["PriceList"]
    regions = {row.region for row in tables.catalogue() if row.type == "trn1.2xlarge"}
    assert max(sizes) == 2
    assert {json.loads(text)["product"]["attributes"]["regionCode"] for text in texts} == regions
    assert len(texts) == len(set(texts)) == 5 * len(regions)  # five kinds of each


def test_a_token_is_of_its_question_and_ends(cloud: AwsCloud) -> None:
    token = products(cloud, TRN)["NextToken"]
    with pytest.raises(ClientError, match="InvalidNextToken"):
        products(cloud, TRN, OHIO, NextToken=token)
    cloud.clock.advance(cloud.prices.token_s + 1)
    with pytest.raises(ClientError, match="ExpiredNextToken"):
        products(cloud, TRN, NextToken=token)


@pytest.mark.parametrize("field", ["instancetype", "region", "colour"])
def test_an_unknown_attribute_is_refused(cloud: AwsCloud, field: str) -> None:
    with pytest.raises(ClientError, match="InvalidParameterException"):
        products(cloud, {"Type": "TERM_MATCH", "Field": field, "Value": "x"})


def test_several_values_are_no_longer_than_one_may_be(cloud: AwsCloud) -> None:
    several = {"Type": "ANY_OF", "Field": "regionCode", "Value": "us-east-1,us-east-2"}
    found = [json.loads(text)["product"]["attributes"] for text in products(cloud, TRN, several)["PriceList"]]
    assert found
    with pytest.raises(ClientError, match="Exception"):
        products(cloud, {**several, "Value": "us-east-1," * 103})
    cloud.prices.several = "refused"
    with pytest.raises(ClientError, match="InvalidParameterException"):
        products(cloud, several)


def test_changes_come_newest_first_with_what_held_before(cloud: AwsCloud) -> None:
    cloud.prices.page = 10
    cloud.prices.changes = [
        Change("trn1.2xlarge", "us-east-1", "use1-az5", NOW - days * DAY_S, Decimal(days)) for days in (40, 1, 20, 3)
    ]
    since = datetime.fromtimestamp(NOW, UTC) - timedelta(days=5)
    found = client(cloud, "ec2").describe_spot_price_history(StartTime=since, ProductDescriptions=["Linux/UNIX"])
    assert [float(each["SpotPrice"]) for each in found["SpotPriceHistory"]] == [1, 3, 20]
    assert found["NextToken"] == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"Filters": [{"Name": "colour", "Values": ["red"]}]}, "InvalidParameterValue"),
        ({"AvailabilityZone": "us-east-1a", "AvailabilityZoneId": "use1-az6"}, "InvalidParameterCombination"),
        ({"NextToken": "made-up"}, "InvalidPaginationToken"),
    ],
)
def test_a_wrong_question_about_spot_is_refused(cloud: AwsCloud, arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError, match=code):
        client(cloud, "ec2").describe_spot_price_history(**arguments)


def test_a_machine_is_billed_by_the_prices_of_the_test(cloud: AwsCloud) -> None:
    row = tables.rows(tables.catalogue(), "r8i.48xlarge", "us-east-1")[0]
    cloud.prices.sold = [row._replace(usd_per_hour=77.0)]
    assert tables.price(tables.rows(cloud.prices.sold, row.type, row.region), "use1-az1", "on_demand") == 77.0


def test_faults_are_shown_as_often_as_asked() -> None:
    faults = PriceFaults()
    faults.add("html", 2)
    assert [faults.instead(1, False) is None for _ in range(3)] == [False, False, True]
    assert faults.happened == ["html", "html"]
    assert TRANSPORT | PAGING | FIGURES < NAMES


def test_pages_fail_at_the_third_or_the_last() -> None:
    for number, is_last, fails in ((1, False, False), (3, False, True), (1, True, True), (4, True, False)):
        faults = PriceFaults()
        faults.add("failing_page")
        assert (faults.instead(number, is_last) is not None) == fails


def test_pages_are_cut_repeated_and_emptied() -> None:
    faults = PriceFaults()
    assert faults.page("abcde", 2, 2) == ("cd", 4)
    assert faults.page("abcde", 2, 4) == ("e", None)
    faults.add("repeated_page", 1)
    assert faults.page("abcde", 2, 2) == ("ab", 4)
    faults.add("empty_page", 1)
    assert faults.page("abcde", 2, 2) == ((), 2)
    faults.add("repeated_token", 1)
    assert faults.page("abcde", 2, 2) == ("cd", 2)
