"""The fake of Google's billing catalogue refuses what Google refuses, and shows what it is told to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.price_catalogue import KEY, TOKEN, BillingCatalogue
from cloudtrain.simulator.gcp.price_skus import (
    CLOUD_TPU,
    COMPUTE_ENGINE,
    Sku,
    of_price_list,
    split,
    with_noise,
    written,
)
from tests.patience import PATIENCE_S

SKUS = [Sku(f"TpuV6e running in Place {number}", "TPU", Decimal("2.7"), ("us-east1",)) for number in range(5)]


@pytest.fixture
def catalogue() -> Iterator[BillingCatalogue]:
    """Five SKUs, on a clock that stands still."""
    fake = BillingCatalogue(SKUS, Clock(1.79e9))
    yield fake
    fake.stop()


def ask(fake: BillingCatalogue, query: str = "", service: str = COMPUTE_ENGINE, **headers: str) -> tuple[int, Any]:
    """Status and document, asked with the planted key unless other headers are given."""
    sent = headers or {"X-Goog-Api-Key": KEY}
    url = f"{fake.url}/v1/services/{service}/skus{query}"
    try:
        with urlopen(Request(url, headers=sent), timeout=PATIENCE_S) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as refused:
        return refused.code, json.loads(refused.read())


def pages(fake: BillingCatalogue) -> Iterator[list[str]]:
    """The descriptions of each page."""
    token = ""
    while True:
        status, page = ask(fake, f"?pageSize=5000&pageToken={token}" if token else "?pageSize=5000")
        assert status == 200
        yield [sku["description"][-1] for sku in page.get("skus", [])]
        token = page["nextPageToken"]
        if not token:
            return


def test_pages_have_two_skus_however_many_are_asked_for(catalogue: BillingCatalogue) -> None:
    """And the last one names none after it."""
    assert list(pages(catalogue)) == [["0", "1"], ["2", "3"], ["4"]]
    assert ask(catalogue, service=CLOUD_TPU)[1] == {"nextPageToken": ""}


def test_a_stranger_is_refused_as_google_does(catalogue: BillingCatalogue) -> None:
    """403 without any, 400 for one that it does not know, 401 for a token."""
    assert ask(catalogue, **{"X-Other": "1"})[0] == 403
    status, document = ask(catalogue, **{"X-Goog-Api-Key": "AIzaOther"})
    assert (status, document["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    assert ask(catalogue, Authorization="Bearer other")[0] == 401
    assert ask(catalogue, Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_key_in_the_address_is_refused(catalogue: BillingCatalogue) -> None:
    """Google would take it, and every log on the way would have it."""
    assert ask(catalogue, f"?key={KEY}")[0] == 400


@pytest.mark.parametrize(
    "query",
    ["?pagesize=2", "?filter=tpu", "?pageSize=5001", "?pageSize=two", "?pageSize=2&pageSize=2", "?currencyCode=EUR"],
)
def test_a_query_that_it_does_not_know_is_refused(catalogue: BillingCatalogue, query: str) -> None:
    """Nothing is passed over in silence."""
    assert ask(catalogue, query)[0] == 400


def test_a_page_token_ends_and_is_of_one_service(catalogue: BillingCatalogue) -> None:
    """Five minutes on its clock."""
    token = ask(catalogue)[1]["nextPageToken"]
    assert ask(catalogue, f"?pageToken={token}", CLOUD_TPU)[0] == 400
    assert ask(catalogue, f"?pageToken={token}")[0] == 200
    catalogue.clock.advance(301.0)
    assert ask(catalogue, f"?pageToken={token}")[0] == 400


def test_what_it_does_not_have_is_not_found(catalogue: BillingCatalogue) -> None:
    """Services and paths."""
    assert ask(catalogue, service="0000-0000-0000")[0] == 404
    assert ask(catalogue, service="../services")[0] == 404


def test_a_list_stays_as_it_was_when_it_began(catalogue: BillingCatalogue) -> None:
    """A fault that takes a SKU away does so once, not again for each page."""
    catalogue.price_faults.add("missing", 1)
    assert list(pages(catalogue)) == [["1", "2"], ["3", "4"]]
    assert list(pages(catalogue)) == [["0", "1"], ["2", "3"], ["4"]]


def test_a_price_is_written_as_units_and_nanos() -> None:
    """Units as text, as Google writes 64-bit integers; a free tier before it."""
    entry = written(Sku("TpuV6e running in X", "TPU", Decimal("12.592660001"), ("us-east1",), free_until=5.0))
    free, paid = entry["pricingInfo"][0]["pricingExpression"]["tieredRates"]
    assert (free["unitPrice"]["units"], free["unitPrice"]["nanos"]) == ("0", 0)
    assert (paid["unitPrice"]["units"], paid["unitPrice"]["nanos"]) == ("12", 592660001)


def test_two_shapes_of_a_family_say_what_a_core_is() -> None:
    """Of one shape alone it is a guess that adds up."""
    big, small = (96, Fraction("1433.6"), Fraction("10.65216")), (40, Fraction(961), Fraction("6.2931"))
    assert split([big, small]) == (Decimal("0.0348"), Decimal("0.0051"))
    core, gib = split([(64, Fraction(512), Fraction("3.55776"))])
    assert 64 * core + 512 * gib == Decimal("3.55776")


def test_noise_is_cheaper_and_has_names_of_its_own() -> None:
    """So a reader that takes it is seen."""
    row = {"offer": "v6e-1", "accelerator": "tpu-v6e", "accel_count": "1", "region": "us-east1"}
    (sku,) = of_price_list([{**row, "od_usd_h": "2.7", "spot_usd_h": ""}])
    beside = [each for each in with_noise([sku]) if each.is_noise]
    assert len(beside) > 5
    assert all(each.usd < sku.usd for each in beside)
    assert len({written(each)["skuId"] for each in beside}) == len(beside)
