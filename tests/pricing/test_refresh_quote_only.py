"""Vultr, Azure and Hot Aisle asked for their prices: which meter counts, and what nothing may be made of."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import cloudtrain.pricing._http
import pytest

from cloudtrain.errors import MissingCredentials, Permission, Rejected, Unavailable
from cloudtrain.listings import Listing, Unlisted
from cloudtrain.providers import PriceSource, Stack, load, names
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.prices import PriceInterface
from cloudtrain.simulator.prices.azure import SIZE, AzurePrices, meter
from cloudtrain.simulator.prices.hotaisle import KEY, HotaislePrices, machine
from cloudtrain.simulator.prices.vultr import MI300X, MI325X, MI355X, VultrPrices, plan
from tests.pricing.price_tables import asked, offers_of, said, shapes_of

NOW = 1795996800.0  # 2026-11-30
FAKES: dict[str, type[PriceInterface]] = {"azure": AzurePrices, "hotaisle": HotaislePrices, "vultr": VultrPrices}
TRUTH: dict[str, dict[tuple[str, str, str], Decimal | None]] = {
    "vultr": {
        (MI300X, "any", "on_demand"): Decimal("16.0"),
        (MI300X, "any", "spot"): Decimal("12.8"),
        (MI325X, "any", "on_demand"): Decimal("20.8"),
        (MI325X, "any", "spot"): Decimal("16.8"),
        (MI355X, "any", "on_demand"): Decimal("27.2"),
        (MI355X, "any", "spot"): Decimal("21.6"),
    },
    "azure": {(SIZE, "westus", "on_demand"): Decimal(48), (SIZE, "westus", "spot"): Decimal("14.4")},
    "hotaisle": {
        ("MI300X x1", "us-michigan-1", "on_demand"): Decimal("2.15"),
        ("MI300X x2", "us-michigan-1", "on_demand"): Decimal("4.30"),
        ("MI300X x4", "us-michigan-1", "on_demand"): None,
        ("MI300X x8", "us-michigan-1", "on_demand"): Decimal("17.20"),
    },
}


def standing(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake that the environment points at, at the end of November 2026; nobody waits before a repeat."""
    fake = FAKES[name](Clock(NOW))
    for variable, value in fake.environment().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("CLOUDTRAIN_NOW", str(NOW))
    monkeypatch.setattr(cloudtrain.pricing._http, "sleep", lambda seconds: None)
    yield fake
    fake.stop()


@pytest.fixture(params=sorted(FAKES))
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, PriceInterface]]:
    """Each of them, by its name."""
    for fake in standing(request.param, monkeypatch):
        yield request.param, fake


@pytest.fixture
def vultr(monkeypatch: pytest.MonkeyPatch) -> Iterator[VultrPrices]:
    yield from standing("vultr", monkeypatch)


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[AzurePrices]:
    yield from standing("azure", monkeypatch)


@pytest.fixture
def hotaisle(monkeypatch: pytest.MonkeyPatch) -> Iterator[HotaislePrices]:
    yield from standing("hotaisle", monkeypatch)


def test_every_row_costs_what_the_provider_says(provider: tuple[str, PriceInterface]) -> None:
    """The wanted meter of several, over all pages; each row of ours has an answer."""
    name, _ = provider
    assert said(asked(name)) == TRUTH[name]
    assert {(each.offer, each.region) for each in shapes_of(name)} == {row[:2] for row in TRUTH[name]}


def test_no_price_is_shipped_that_nobody_has_seen(provider: tuple[str, PriceInterface]) -> None:
    """Unknown until it is asked; and no stack makes such a machine."""
    name, _ = provider
    assert {offer.usd_per_hour for offer in offers_of(name)} == {None}
    assert name not in names("stacks")
    assert load("pricing", name, PriceSource).keyless == (name != "hotaisle")
    assert load("stacks", "runpod", Stack).name == "runpod"


@pytest.mark.parametrize("fault", ["throttled", "empty_page", "other_number"])
def test_a_fault_that_passes_changes_nothing(provider: tuple[str, PriceInterface], fault: Any) -> None:
    """Busy for a moment, a page without entries, a number as text."""
    name, fake = provider
    fake.price_faults.add(fault, times=99 if fault == "other_number" else 1)
    assert said(asked(name)) == TRUTH[name]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("throttled", Unavailable),
        ("failing_page", Unavailable),
        ("cut_body", Unavailable),
        ("html", Unavailable),
        ("empty_page", Unavailable),
        ("repeated_page", Unavailable),
        ("repeated_token", Unavailable),
        ("expired_token", Rejected),
        ("stalled", Unavailable),
        ("dripping", Unavailable),
    ],
)
def test_a_lasting_fault_is_an_error_and_ends_soon(
    provider: tuple[str, PriceInterface], fault: Any, error: type[Exception]
) -> None:
    """The provider is named, its key is not, and nobody is asked without an end. Hot Aisle has no pages."""
    name, fake = provider
    fake.price_faults.add(fault)
    if name == "hotaisle" and fault in ("empty_page", "repeated_page", "repeated_token", "expired_token"):
        assert said(asked(name)) == TRUTH[name]
        return
    with pytest.raises(error, match=r"Azure|Hot Aisle|Vultr") as raised:
        asked(name, 0.7 if fault in ("stalled", "dripping") else 20.0)
    assert KEY not in str(raised.value)
    assert len(fake.calls) < 20


@pytest.mark.parametrize("fault", ["zero", "missing"])
def test_what_is_not_offered_has_no_price(provider: tuple[str, PriceInterface], fault: Any) -> None:
    """0, and what is not in the answer: never an older figure, and nothing that nobody said."""
    name, fake = provider
    fake.price_faults.add(fault)
    prices = said(asked(name))
    changed = {row for row in prices if prices[row] != TRUTH[name][row]}
    assert changed
    assert {prices[row] for row in changed} == {None}


@pytest.mark.parametrize("price", ["cheap", -1, "NaN", "1e999999", [2], {"usd": 2}, True])
def test_a_price_that_is_none_is_no_answer(provider: tuple[str, PriceInterface], price: Any) -> None:
    """The rows keep what they had, which is not the same as not being sold."""
    name, fake = provider
    if isinstance(fake, VultrPrices):
        fake.plans[MI300X] |= {"hourly_cost": price, "hourly_cost_preemptible": price}
    elif isinstance(fake, AzurePrices):
        fake.meters = [meter(price, "westus"), meter(price, "westus", " Spot")]
    elif isinstance(fake, HotaislePrices):
        fake.free = [{**machine(1, 1), "OnDemandPrice": price}]
    first = next(iter(TRUTH[name]))
    assert not [row for row in said(asked(name)) if row[:2] == first[:2]]


def test_vultr_sells_only_where_and_how_it_deploys(vultr: VultrPrices) -> None:
    """No place, a place without a name, not on demand, not as preemptible: not sold, and none in stock."""
    vultr.plans[MI300X]["locations"] = [""]
    vultr.plans[MI325X]["deploy_ondemand"] = False
    vultr.plans[MI355X]["deploy_preemptible"] = False
    answers = asked("vultr")
    prices = said(answers)
    assert {row[::2] for row, usd in prices.items() if usd is None} == {
        (MI300X, "on_demand"),
        (MI300X, "spot"),
        (MI325X, "on_demand"),
        (MI355X, "spot"),
    }
    assert {(each.usd_per_hour is None, each.stock) for each in answers if isinstance(each, Listing)} == {
        (True, "none"),
        (False, ""),
    }


def test_vultr_without_a_word_on_preemptible_sells_none_so(vultr: VultrPrices) -> None:
    """An older plan's field is missing; on demand is then meant."""
    for name in ("deploy_ondemand", "deploy_preemptible", "hourly_cost_preemptible"):
        del vultr.plans[MI300X][name]
    prices = said(asked("vultr"))
    assert (prices[MI300X, "any", "on_demand"], prices[MI300X, "any", "spot"]) == (Decimal("16.0"), None)


def test_other_plans_with_amd_are_named(vultr: VultrPrices) -> None:
    """NVIDIA's and those without a GPU are not, nor what is to be had nowhere."""
    more = "vbm-256c-4096gb-8-mi450x-gpu"
    vultr.plans |= {more: plan(more, 40.0, 30.0, ["ord"]), f"{more}-2": plan(f"{more}-2", 40.0, 30.0, [])}
    assert [each for each in asked("vultr") if isinstance(each, Unlisted)] == [Unlisted(more, "")]


def test_other_regions_of_azure_are_named(azure: AzurePrices) -> None:
    """They are rows when somebody writes them down."""
    assert [each for each in asked("azure") if isinstance(each, Unlisted)] == [Unlisted(SIZE, "francecentral")]


@pytest.mark.parametrize("fault", ["other_currency", "clock_skew"])
def test_a_price_that_does_not_hold_here_is_no_answer(azure: AzurePrices, fault: Any) -> None:
    """Euros, and what begins tomorrow: until then what held before counts, which is no answer for what is in euros."""
    azure.meters.append(meter(52.0, "westus", since="2026-03-01T00:00:00Z"))
    azure.price_faults.add(fault)
    assert said(asked("azure")) == {}
    azure.price_faults.clear()
    azure.price_faults.add(fault, times=1)
    held = {(SIZE, "westus", "on_demand"): Decimal(52)} if fault == "clock_skew" else {}
    assert said(asked("azure")) == {(SIZE, "westus", "spot"): Decimal("14.4"), **held}


def test_two_prices_of_one_meter_are_no_answer(azure: AzurePrices) -> None:
    """Of the same day; a newer one decides."""
    azure.meters.append(meter(47.0, "westus"))
    assert said(asked("azure")) == {(SIZE, "westus", "spot"): Decimal("14.4")}
    azure.meters.append(meter(46.0, "westus", since="2026-11-01T00:00:00Z"))
    assert said(asked("azure"))[SIZE, "westus", "on_demand"] == 46


def test_a_region_without_a_spot_meter_sells_none(azure: AzurePrices) -> None:
    """Low priority and Windows do not stand in for it."""
    azure.meters = [
        each for each in azure.meters if "Spot" not in each["meterName"] or "Windows" in each["productName"]
    ]
    assert said(asked("azure"))[SIZE, "westus", "spot"] is None


def test_no_meter_at_all_is_no_answer_about_a_size(azure: AzurePrices) -> None:
    """A filter that fits nothing looks like that."""
    azure.meters = []
    with pytest.raises(Unavailable, match="no prices"):
        asked("azure")


def test_hotaisle_with_nothing_free_has_none(hotaisle: HotaislePrices) -> None:
    """`null`, as it says that."""
    hotaisle.free = None
    answers = [each for each in asked("hotaisle") if isinstance(each, Listing)]
    assert {(each.usd_per_hour, each.stock) for each in answers} == {(None, "none")}


def test_other_machines_of_hotaisle_are_named(hotaisle: HotaislePrices) -> None:
    """Another count, another chip."""
    hotaisle.free = [machine(1, 215), machine(3, 640), machine(1, 300, "MI355X")]
    unlisted = [each for each in asked("hotaisle") if isinstance(each, Unlisted)]
    assert unlisted == [Unlisted("MI300X x3", ""), Unlisted("MI355X x1", "")]


@pytest.mark.parametrize("broken", [[{"OnDemandPrice": 215}], [{**machine(1, 215), "Specs": None}], [3]])
def test_a_machine_of_another_form_is_no_list(hotaisle: HotaislePrices, broken: Any) -> None:
    """Nothing is guessed about it."""
    hotaisle.free = broken
    with pytest.raises(Unavailable, match="Hot Aisle"):
        asked("hotaisle")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"HOTAISLE_API_KEY": None}, MissingCredentials, "HOTAISLE_API_KEY is not set"),
        ({"HOTAISLE_TEAM_HANDLE": None}, MissingCredentials, "HOTAISLE_TEAM_HANDLE is not set"),
        ({"HOTAISLE_TEAM_HANDLE": "../admin"}, MissingCredentials, "is none"),
        ({"HOTAISLE_API_KEY": "a\nb"}, MissingCredentials, "is none"),
        ({"HOTAISLE_API_KEY": "other-key"}, MissingCredentials, "does not accept"),
        ({"HOTAISLE_TEAM_HANDLE": "their-team"}, Permission, "does not let"),
    ],
)
def test_hotaisle_needs_a_token_of_the_team(
    hotaisle: HotaislePrices, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], error: Any, words: str
) -> None:
    """What is missing is said, and no key."""
    for name, value in changes.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(error, match=words) as raised:
        asked("hotaisle")
    assert not [value for value in (KEY, "other-key") if value in f"{raised.value} {raised.value.hint}"]
