"""Google's prices of today, from a catalogue in which they stand among much else."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from cloudtrain.errors import MissingCredentials, Permission, Unavailable
from cloudtrain.listings import Listing, Unanswered, Unlisted
from cloudtrain.simulator.gcp.price_catalogue import KEY, TOKEN, BillingCatalogue
from cloudtrain.simulator.gcp.price_skus import CLOUD_TPU, Sku, of_price_list
from tests.pricing.google_catalogue import ROWS, SHAPES, SKUS, ask, asked_instead, prices, shape, some

GB_ROUNDING = Decimal("2e-6")  # dollars; the list's C4D rows were made of a rounded price of a GiB
CELLS = {"on_demand": "od_usd_h", "spot": "spot_usd_h"}


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingCatalogue]:
    """A fake catalogue with the SKUs of the shipped list among others."""
    with asked_instead(monkeypatch, SKUS, 200) as fake:
        yield fake


def test_unchanged_skus_reproduce_every_priced_row(catalogue: BillingCatalogue) -> None:
    """Each price of the shipped list comes back from SKUs of chips, cores and GiB; no other price does."""
    found = prices(ask(SHAPES))
    for row in ROWS:
        for market, cell in CELLS.items():
            got = found[row["offer"], row["region"], row["zones"], market]
            if not row[cell]:
                assert got is None
            elif row["offer"].startswith("c4d-"):
                assert got is not None
                assert abs(got - Decimal(row[cell])) < GB_ROUNDING
            elif row["accelerator"] == "tpu-v5p":
                assert got is not None
                assert round(got, 5) == Decimal(row[cell])  # the list is rounded to five digits
            else:
                assert got == Decimal(row[cell]), row["offer"]


def test_a_slice_costs_its_chips(catalogue: BillingCatalogue) -> None:
    """The suffix counts chips of v5e and v6e, and cores of the others."""
    catalogue.skus = [
        Sku("TpuV6e running in Iowa", "TPU", Decimal("2.5"), ("us-central1", "us-east1")),
        Sku("TpuV5p running in Iowa", "TPU", Decimal("4.4"), ("us-central1",)),
        Sku("TPU-v2 Accelerator USA", "TPU", Decimal("4.8"), ("us-central1",), CLOUD_TPU),
        Sku("TPU-v2 Pod Accelerator USA", "TPU", Decimal("6.4"), ("us-central1",), CLOUD_TPU),
        Sku("Tpu-v4 Pod Accelerator USA", "TPU", Decimal("12.4"), ("us-central2",), CLOUD_TPU),
    ]
    found = prices(ask(some("v6e-8", "v5p-8", "v2-8", "v2-32", "v4-16")))
    listed = {(offer, region): usd for (offer, region, _, market), usd in found.items() if market == "on_demand"}
    assert listed["v6e-8", "us-central1"] == listed["v6e-8", "us-east1"] == 20
    assert listed["v5p-8", "us-central1"] == Decimal("17.6")
    assert listed["v2-8", "us-central1"] == Decimal("4.8")
    assert listed["v2-32", "us-central1"] == Decimal("25.6")
    assert listed["v4-16", "us-central2"] == Decimal("24.8")
    assert not [market for *_, market in found if market == "spot"]


def test_a_host_costs_its_cores_and_memory(catalogue: BillingCatalogue) -> None:
    """64 cores and 512 GiB, on demand and on spot."""
    catalogue.skus = [
        Sku("N4D Instance Core running in Mumbai", "CPU", Decimal("0.02"), ("asia-south1",)),
        Sku("N4D Instance Ram running in Mumbai", "RAM", Decimal("0.003"), ("asia-south1",), unit="GiBy.h"),
        Sku("Spot Preemptible N4D Instance Core running in Mumbai", "CPU", Decimal("0.005"), ("asia-south1",)),
        Sku(
            "Spot Preemptible N4D Instance Ram running in Mumbai",
            "RAM",
            Decimal("0.001"),
            ("asia-south1",),
            unit="GiBy.h",
        ),
    ]
    found = prices(ask(some("n4d-highmem-64", region="asia-south1")))
    assert {market: usd for (*_, market), usd in found.items()} == {
        "on_demand": Decimal("2.816"),
        "spot": Decimal("0.832"),
    }


def test_half_of_a_host_is_no_price(catalogue: BillingCatalogue) -> None:
    """Cores without memory say neither what it costs nor that it is not sold."""
    catalogue.skus = [sku for sku in of_price_list(ROWS) if sku.group == "CPU" or "us-east1" not in sku.regions]
    answers = ask(some("n4d-highmem-64", "c3-highmem-88"))
    assert ("n4d-highmem-64", "us-central1", "", "spot") in prices(answers)
    assert not [key for key in prices(answers) if key[1] == "us-east1"]
    assert [each.region for each in answers if isinstance(each, Unanswered)] == ["us-east1"]


def test_what_the_catalogue_sells_elsewhere_alone_is_not_sold(catalogue: BillingCatalogue) -> None:
    """None is said where the region and the good are in the catalogue, and the one not in the other."""
    gone = "TpuV6e attached to Spot Preemptible VMs running in us-east4"
    catalogue.skus = [sku for sku in of_price_list(ROWS) if sku.description != gone]
    answers = ask(some("v6e-8"))
    assert prices(answers)["v6e-8", "us-east4", "a b", "spot"] is None
    assert prices(answers)["v6e-8", "us-east4", "a b", "on_demand"] == Decimal("21.6")
    assert not [each for each in answers if isinstance(each, Unanswered)]


def test_too_many_gone_at_once_are_not_believed_gone(catalogue: BillingCatalogue) -> None:
    """As if a page had been left out: what came is taken, and nothing is said to be unsold."""
    catalogue.skus = of_price_list(ROWS)
    page = [sku for sku in catalogue.skus if sku.group == "TPU" and "running" in sku.description][:40]
    catalogue.skus = [sku for sku in catalogue.skus if sku not in page]
    got = prices(ask(SHAPES))
    assert None not in got.values()
    assert got["m1-ultramem-40", "us-east1", "", "spot"] == Decimal("1.101773")


@pytest.mark.parametrize("left_out", ["TpuV6e", "us-east4"])
def test_a_good_that_is_nowhere_says_nothing(catalogue: BillingCatalogue, left_out: str) -> None:
    """Words may have changed, or a page be missing: the old prices stay."""
    catalogue.skus = [sku for sku in of_price_list(ROWS) if left_out not in sku.description]
    answers = ask(some("v6e-8", "v5litepod-8", region="us-east4") + some("v5litepod-8", region="us-east1"))
    assert not [key for key in prices(answers) if key[1] == "us-east4"]
    assert [each.region for each in answers if isinstance(each, Unanswered)] == ["us-east4"]
    assert ("v5litepod-8", "us-east1", "b c", "on_demand") in prices(answers)


def test_two_skus_that_disagree_are_no_price(catalogue: BillingCatalogue) -> None:
    """Neither the lower nor the higher of two prices is known to be the one."""
    core = Sku("Memory-optimized Instance Core running in Tokyo", "CPU", Decimal("0.0426"), ("us-east1",))
    catalogue.skus = [*of_price_list(ROWS), core]
    answers = ask(some("m1-ultramem-40"))
    assert ("m1-ultramem-40", "us-east1", "", "on_demand") not in prices(answers)
    assert prices(answers)["m1-ultramem-40", "us-east1", "", "spot"] == Decimal("1.101773")


def test_a_free_tier_is_skipped(catalogue: BillingCatalogue) -> None:
    """The first rate that costs anything is the price."""
    catalogue.skus = [Sku("TpuV6e running in Iowa", "TPU", Decimal("2.5"), ("us-central1",), free_until=10.0)]
    assert prices(ask(some("v6e-1", region="us-central1")))["v6e-1", "us-central1", "a b c", "on_demand"] == Decimal(
        "2.5"
    )


def test_chips_without_a_row_are_named(catalogue: BillingCatalogue) -> None:
    """Sold and not listed: said, and never priced. Flex-start has SKUs and no rows of ours, so it is neither."""
    catalogue.skus += [Sku("TPU7x running in Americas", "TPU", Decimal(12), ("us-central1", "us-east1"))]
    answers = ask(SHAPES)
    named = [each for each in answers if isinstance(each, Unlisted)]
    assert named == [Unlisted("TPU 7x", "us-central1"), Unlisted("TPU 7x", "us-east1")]


def test_a_row_whose_name_and_cells_differ_gets_no_price(catalogue: BillingCatalogue) -> None:
    """A slice of other chips than its suffix says, and a host with more than cores and memory."""
    slice_, host = some("v6e-8", region="us-east1")[0], some("c3-highmem-88", region="us-east1")[0]
    wrong = [slice_._replace(count=4), host._replace(offer="c3-highmem-88-lssd"), host._replace(vcpus=44)]
    answers = ask([*wrong, *some("v6e-1", region="us-east4")])
    assert {key[1] for key in prices(answers)} == {"us-east4"}


def test_every_answer_names_its_row_and_its_source(catalogue: BillingCatalogue) -> None:
    """Cells come back as they stand, zones too."""
    row = some("v6e-4", region="us-central1")[0]
    for answer in ask([row]):
        if isinstance(answer, Listing):
            assert (answer.offer, answer.region, answer.zones) == (row.offer, row.region, row.zones)
            assert answer.source == "Cloud Billing catalogue"


def test_only_the_services_that_rows_need_are_asked(catalogue: BillingCatalogue) -> None:
    """One row of v4 does not read all of Compute Engine."""
    catalogue.page_size = 5000
    ask(some("v4-8"))
    assert len(catalogue.calls) == 1
    ask([])
    assert len(catalogue.calls) == 1


def test_the_key_goes_in_a_header(catalogue: BillingCatalogue) -> None:
    """The fake refuses one in the address; here is none in what is said either."""
    assert ask(some("v6e-1"))
    catalogue.keys.clear()
    with pytest.raises(MissingCredentials) as raised:
        ask(some("v6e-1"))
    assert KEY not in raised.value.message + raised.value.hint
    assert "GOOGLE_API_KEY" in raised.value.hint


def test_without_a_key_an_account_asks(catalogue: BillingCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its access token is sent; when that is not valid, it is said."""
    monkeypatch.delenv("GOOGLE_API_KEY")
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TOKEN", TOKEN)
    assert ask(some("v6e-1"))
    catalogue.tokens.clear()
    with pytest.raises(MissingCredentials):
        ask(some("v6e-1"))


def test_a_key_for_something_else_leaves_the_account(
    catalogue: BillingCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GOOGLE_API_KEY is often one for another of Google's interfaces."""
    monkeypatch.setenv("GOOGLE_API_KEY", "AIzaFor-something-else")
    with pytest.raises(MissingCredentials, match="does not accept the key"):
        ask(some("v6e-1"))
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TOKEN", TOKEN)
    assert ask(some("v6e-1"))


def test_without_credentials_nobody_is_asked(catalogue: BillingCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the variable that would do."""
    monkeypatch.delenv("GOOGLE_API_KEY")
    with pytest.raises(MissingCredentials) as raised:
        ask(some("v6e-1"))
    assert "GOOGLE_API_KEY" in raised.value.hint
    assert not catalogue.calls


def test_a_token_that_ends_between_pages_ends_it(catalogue: BillingCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """What had been read by then is not half a list of what is sold."""
    monkeypatch.delenv("GOOGLE_API_KEY")
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TOKEN", TOKEN)
    catalogue.token_pages, catalogue.page_size = 2, 2
    with pytest.raises((MissingCredentials, Permission)):
        ask(some("v6e-1"))


def test_a_simulation_without_this_fake_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fakes of other interfaces of Google's lead to no real one."""
    for name in ("GOOGLE_API_KEY", "CLOUDTRAIN_GCP_BILLING_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TOKEN", TOKEN)
    with pytest.raises(Unavailable, match="simulation"):
        ask(some("v6e-1"))


def test_shapes_of_the_list_are_what_the_tests_ask_about() -> None:
    """Every row is asked about once."""
    assert len({shape(row) for row in ROWS}) == len(ROWS)
