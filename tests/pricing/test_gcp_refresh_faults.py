"""Whatever Google's catalogue answers, no price is made up and none is half of what it says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from cloudtrain.pricing import _http
from cloudtrain.pricing.gcp.catalogue import Catalogue

from cloudtrain.errors import ProviderError, Rejected, Unavailable
from cloudtrain.listings import Unanswered
from cloudtrain.simulator.gcp.price_catalogue import BillingCatalogue
from cloudtrain.simulator.gcp.price_skus import Sku, of_price_list, with_noise
from cloudtrain.simulator.price_faults import FIGURES, PAGING, PriceFault
from tests.pricing.google_catalogue import ROWS, ask, asked_instead, prices, some

ASKED = some("v6e-8", "v2-8", "n4d-highmem-64", region="us-central1")
LISTED = [row for row in ROWS if row["region"] == "us-central1" and row["offer"] in {each.offer for each in ASKED}]
KNOWN = {("v6e-8", "on_demand"): "21.6", ("v6e-8", "spot"): "4.74128", ("v2-8", "on_demand"): "4.5"} | {
    ("v2-8", "spot"): "1.35",
    ("n4d-highmem-64", "on_demand"): "3.55776",
    ("n4d-highmem-64", "spot"): "1.725952",
}
BROKEN: tuple[PriceFault, ...] = ("html", "cut_body", "failing_page", "throttled")
ENDLESS: tuple[PriceFault, ...] = ("empty_page", "repeated_page", "repeated_token", "expired_token")


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingCatalogue]:
    """A fake catalogue of three rows, in pages of two, whose client waits for nothing."""
    monkeypatch.setattr(_http, "sleep", lambda seconds: None)
    with asked_instead(monkeypatch, with_noise(of_price_list(LISTED)), 2) as fake:
        yield fake


def found(seconds: float = 60.0) -> dict[tuple[str, str], Decimal | None]:
    """What is answered of the rows asked about, by offer and market; nothing where nobody answers."""
    with contextlib.suppress(ProviderError):
        return {(offer, market): usd for (offer, *_, market), usd in prices(ask(ASKED, seconds)).items()}
    return {}


def known(got: dict[tuple[str, str], Decimal | None]) -> None:
    """No price but the catalogue's own, and never one that is not sold."""
    assert {key: str(usd) for key, usd in got.items()}.items() <= KNOWN.items()


def test_without_a_fault_everything_is_answered(catalogue: BillingCatalogue) -> None:
    """The six prices, in 30 pages of two."""
    got = found()
    known(got)
    assert len(got) == len(KNOWN)
    assert len(catalogue.calls) > 15


@pytest.mark.parametrize("name", BROKEN + ENDLESS)
def test_a_page_that_stays_broken_spoils_all(catalogue: BillingCatalogue, name: PriceFault) -> None:
    """Not even of what stood on the pages before it."""
    catalogue.price_faults.add(name)
    with pytest.raises((Unavailable, Rejected)):
        ask(ASKED)
    assert name in catalogue.price_faults.happened


@pytest.mark.parametrize("name", ["throttled", "failing_page", "empty_page"])
def test_a_fault_that_passes_changes_nothing(catalogue: BillingCatalogue, name: PriceFault) -> None:
    """Asked again, or gone on with, the catalogue is whole."""
    catalogue.price_faults.add(name, 2)
    got = found()
    known(got)
    assert len(got) == len(KNOWN)
    assert catalogue.price_faults.happened == [name, name]


@pytest.mark.parametrize("name", ["stalled", "dripping"])
def test_an_endless_answer_is_given_up_in_time(catalogue: BillingCatalogue, name: PriceFault) -> None:
    """The seconds count for all pages together."""
    catalogue.price_faults.add(name)
    with pytest.raises(Unavailable):
        ask(ASKED, 0.5)


@pytest.mark.parametrize("name", ["other_currency", "zero", "filler", "per_pod", "missing", "clock_skew"])
@pytest.mark.parametrize("times", [1, 3, 1 << 30])
def test_a_figure_that_is_wrong_is_no_price(catalogue: BillingCatalogue, name: PriceFault, times: int) -> None:
    """The rows that it spoils are not answered, and the others are as ever."""
    catalogue.price_faults.add(name, times)
    got = found()
    known({key: usd for key, usd in got.items() if usd is not None})
    assert len(got) < len(KNOWN) or None in got.values()
    assert catalogue.price_faults.happened


def test_a_missing_sku_is_not_taken_for_unsold(catalogue: BillingCatalogue) -> None:
    """Each in turn: while no other region has it either, the catalogue has merely lost it."""
    for number in range(8):
        catalogue.skus = [sku for at, sku in enumerate(of_price_list(LISTED)) if at != number]
        known(found())


def test_a_number_in_another_form_is_the_same_number(catalogue: BillingCatalogue) -> None:
    """Units as a number and nanos as text: the figure is right, and read exactly."""
    catalogue.price_faults.add("other_number")
    got = found()
    known(got)
    assert len(got) == len(KNOWN)


def test_spot_above_the_list_is_left_to_the_gate(catalogue: BillingCatalogue) -> None:
    """The catalogue says it; whether it counts is judged with the other rows in sight."""
    catalogue.price_faults.add("spot_above_list")
    assert found()["v6e-8", "spot"] == Decimal("4.74128") * 8


def test_a_service_that_fails_leaves_the_other_one(catalogue: BillingCatalogue) -> None:
    """v2 has a service of its own: its rows keep their prices, and those of Compute Engine are renewed."""
    catalogue.page_size = 5000
    catalogue.price_faults.add("html", 1)  # services are asked one after the other
    answers = ask([*ASKED, *some("v4-8")])
    assert {key[0] for key in prices(answers)} in ({"v2-8"}, {"v6e-8", "n4d-highmem-64"})
    regions = [each.region for each in answers if isinstance(each, Unanswered)]
    assert regions == ["us-central2"]


def test_a_silent_region_comes_with_the_reason(catalogue: BillingCatalogue) -> None:
    """A region of which nothing was answered, under a market or at all, comes with what went wrong."""
    catalogue.skus = [*of_price_list(ROWS), Sku("TpuV6e running in Nowhere", "TPU", Decimal(700), ("us-central2",))]
    catalogue.page_size = 5000
    wrong = next(sku for sku in catalogue.skus if sku.description.startswith("Tpu-v4 Pod Accelerator"))
    catalogue.skus[catalogue.skus.index(wrong)] = wrong._replace(currency="EUR")
    (one,) = [each for each in ask(some("v4-8", "v6e-8")) if isinstance(each, Unanswered)]
    assert (one.region, one.market) == ("us-central2", "on_demand")
    wrong = next(sku for sku in catalogue.skus if sku.description.startswith("Tpu-v4 Pod Preemptible"))
    catalogue.skus[catalogue.skus.index(wrong)] = wrong._replace(unit="mo")
    (only,) = [each for each in ask(some("v4-8", "v6e-8")) if isinstance(each, Unanswered)]
    assert (only.region, only.market) == ("us-central2", None)
    assert "US dollars" in only.error.message


@pytest.mark.parametrize(
    "second",
    [
        {"nextPageToken": "2"},
        {},
        {"skus": [], "nextPageToken": ""},
        {"skus": None},
        {"skus": [{"skuId": "B"}], "nextPageToken": 3},
        {"skus": [{"skuId": "A"}], "nextPageToken": "3"},
        {"error": {"code": 200}},
    ],
)
def test_a_page_without_sense_ends_no_list(second: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The list ends with SKUs and without a token, and in no other way."""
    pages = {"": {"skus": [{"skuId": "A"}], "nextPageToken": "2"}, "2": second, "3": {"skus": [{"skuId": "C"}]}}
    monkeypatch.setattr(Catalogue, "_page", lambda self, service, token: pages[token])
    with pytest.raises(Unavailable):
        list(Catalogue(_http.Patience(60.0)).skus("6F81-5844-456A"))


def test_a_token_that_comes_again_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands on the page: what lies between the two would be lost."""
    pages = ({"skus": [{"skuId": str(number)}], "nextPageToken": "2"} for number in range(9))
    monkeypatch.setattr(Catalogue, "_page", lambda self, service, token: next(pages))
    with pytest.raises(Unavailable, match="repeats"):
        list(Catalogue(_http.Patience(60.0)).skus("6F81-5844-456A"))


def test_empty_pages_without_an_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the time is."""
    tokens = (str(number) for number in range(100))
    monkeypatch.setattr(Catalogue, "_page", lambda self, service, token: {"nextPageToken": next(tokens)})
    with pytest.raises(Unavailable, match="nothing"):
        list(Catalogue(_http.Patience(60.0)).skus("6F81-5844-456A"))
    assert int(next(tokens)) < 50


def test_two_prices_for_one_thing_are_said(catalogue: BillingCatalogue) -> None:
    """The reason names the thing, not that half of it is missing."""
    both = [Sku(f"TpuV6e running in {name}", "TPU", Decimal(2 + len(name)), ("us-east1",)) for name in ("A", "BB")]
    catalogue.skus = [*both, *(sku._replace(usage="Preemptible") for sku in both)]
    (only,) = [each for each in ask(some("v6e-1", region="us-east1")) if isinstance(each, Unanswered)]
    assert "v6e (on_demand) differently" in only.error.message


def test_every_named_fault_of_figures_and_pages_is_met_here() -> None:
    """A new name needs an answer of this source too."""
    met = {"other_currency", "zero", "filler", "per_pod", "missing", "other_number", "spot_above_list"}
    assert met | set(ENDLESS) == FIGURES | PAGING


def test_a_throttle_is_waited_out_as_long_as_it_says(
    catalogue: BillingCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second, from Retry-After."""
    waited: list[float] = []
    monkeypatch.setattr(_http, "sleep", waited.append)
    catalogue.price_faults.add("throttled", 1)
    assert len(found()) == len(KNOWN)
    assert waited == [1.0]
