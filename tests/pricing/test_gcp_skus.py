"""Which words of Google's catalogue price what, as public programs have recorded them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from cloudtrain.pricing.gcp.skus import CLOUD_TPU, COMPUTE_ENGINE, described, priced

NOW = datetime(2026, 11, 30, tzinfo=UTC)
# Recorded of the real catalogue by others, June to October 2026, but for the lines marked `as told`.
FORMS = [
    ("TpuV5e running in Delhi", COMPUTE_ENGINE, ("v5e", False)),
    ("TpuV5p running in Sao Paulo", COMPUTE_ENGINE, ("v5p", False)),
    ("TpuV6e running in Dallas", COMPUTE_ENGINE, ("v6e", False)),
    ("TPU7x running in Americas", COMPUTE_ENGINE, ("7x", False)),
    ("TpuV5e attached to Spot Preemptible VMs running in Singapore", COMPUTE_ENGINE, ("v5e", True)),
    ("TpuV6e attached to Spot Preemptible VMs running in Columbus", COMPUTE_ENGINE, ("v6e", True)),
    ("TpuV6e Spot Preemptible running in Virginia", COMPUTE_ENGINE, ("v6e", True)),  # as told
    ("Commitment v1: TpuV5p running in Netherlands for 3 Years", COMPUTE_ENGINE, None),
    ("Reserved TpuV5p in Delhi in Calendar Mode", COMPUTE_ENGINE, None),
    ("Reserved V6e TPU in Columbus in Calendar Mode", COMPUTE_ENGINE, None),
    ("DWS Defined Duration V6e running in Columbus", COMPUTE_ENGINE, None),
    ("DWS Calendar Mode V5p running in Iowa", COMPUTE_ENGINE, None),  # as told
    ("Capacity Optimized TpuV6e running in Columbus", COMPUTE_ENGINE, None),
    ("TpuV6e Pod running in Columbus", COMPUTE_ENGINE, None),  # as told
    ("TpuV6e Turbo running in Columbus", COMPUTE_ENGINE, None),  # as told: words that nobody knows yet
    ("TPU-v2 Accelerator USA", CLOUD_TPU, ("v2", False)),
    ("Tpu-v4 Pod Accelerator USA", CLOUD_TPU, ("v4 pod", False)),
    ("Tpu-v3 Pod Preemptible Accelerator Netherlands", CLOUD_TPU, ("v3 pod", True)),  # as told
    ("Preemptible Tpu-v2 Accelerator Asia", CLOUD_TPU, ("v2", True)),  # as told
    ("Tpu-v3 Pod Accelerator Netherlands Commitment 1 Year", CLOUD_TPU, None),  # as told
    ("Tpu-v2 Reserved Accelerator USA", CLOUD_TPU, None),  # as told
    ("Tpu-v4 Accelerator USA", CLOUD_TPU, None),  # as told: v4 is sold in pods alone
    ("TPU-v2 Accelerator USA", COMPUTE_ENGINE, None),  # sold by eight cores there, by nobody knows what here
    ("TpuV5e running in Delhi", CLOUD_TPU, None),
    ("N4D Instance Core running in Delhi", COMPUTE_ENGINE, ("n4d core", False)),
    ("N4A Instance Ram running in Iowa", COMPUTE_ENGINE, ("n4a ram", False)),
    ("C4D Instance Ram running in Tokyo", COMPUTE_ENGINE, ("c4d ram", False)),
    ("Spot Preemptible C4D Instance Core running in Las Vegas", COMPUTE_ENGINE, ("c4d core", True)),
    ("C3 Instance Core running in Mumbai", COMPUTE_ENGINE, ("c3 core", False)),
    ("C3D Instance Core running in Iowa", COMPUTE_ENGINE, ("c3d core", False)),
    ("C4 Instance Ram running in Americas", COMPUTE_ENGINE, ("c4 ram", False)),
    ("M4 Instance Core running in Americas", COMPUTE_ENGINE, ("m4 core", False)),
    ("M4Ultramem224 Instance Core running in Americas", COMPUTE_ENGINE, ("m4ultramem224 core", False)),
    ("M4NUltramem224Instance Ram running in Iowa", COMPUTE_ENGINE, ("m4nultramem224 ram", False)),
    ("M3 Memory-optimized Instance Core running in Americas", COMPUTE_ENGINE, ("m3 core", False)),
    ("Memory-optimized Instance Core running in Zurich", COMPUTE_ENGINE, ("m1 core", False)),
    ("Spot Preemptible Memory-optimized Instance Ram running in Iowa", COMPUTE_ENGINE, ("m1 ram", True)),
    ("N1 Predefined Instance Core running in Americas", COMPUTE_ENGINE, ("n1 core", False)),
    ("N2D AMD Instance Core running in Americas", COMPUTE_ENGINE, ("n2d core", False)),
    ("C4A Arm Instance Core running in Northern Virginia", COMPUTE_ENGINE, ("c4a core", False)),
    (
        "Memory Optimized Upgrade Premium for Memory-optimized Instance Core running in Singapore",
        *(COMPUTE_ENGINE, None),
    ),
    ("N2D AMD Custom Instance Ram running in Zurich", COMPUTE_ENGINE, None),
    ("N2 Custom Extended Instance Ram running in Americas", COMPUTE_ENGINE, None),
    ("Custom Instance Core running in Americas", COMPUTE_ENGINE, None),
    ("Sole Tenancy Instance Core running in Americas", COMPUTE_ENGINE, None),
    ("Commitment v1: C4D Ram in Americas for 1 Year", COMPUTE_ENGINE, None),
    ("Commitment v1: N4A Core in Johannesburg for 5 Years", COMPUTE_ENGINE, None),
    ("Reserved A2 Ram in Netherlands", COMPUTE_ENGINE, None),
    ("DWS Defined Duration A3 Core running in Americas", COMPUTE_ENGINE, None),
    ("C4D Instance Local SSD running in Iowa", COMPUTE_ENGINE, None),
    ("Nvidia L4 GPU attached to DWS Defined Duration VMs running in Frankfurt", COMPUTE_ENGINE, None),
    ("A4 Nvidia B200 (1 gpu slice) running in Americas", COMPUTE_ENGINE, None),
    ("Micro Instance with burstable CPU running in Americas", COMPUTE_ENGINE, None),
    ("Network Vpn Internet Egress from Americas to Africa", COMPUTE_ENGINE, None),
    ("C4D Instance Core running in Iowa", CLOUD_TPU, None),
]


@pytest.mark.parametrize(("description", "service", "meant"), FORMS)
def test_a_description_prices_what_its_words_say(
    description: str, service: str, meant: tuple[str, bool] | None
) -> None:
    """A good and whether it is spot; nothing for every other way to pay."""
    found = described(description, service)
    assert (None if found is None else (found[0].name, found[1])) == meant


def sku(**changes: Any) -> dict[str, Any]:
    """A SKU of a v6e chip for 2.70 dollars, as the catalogue is read; changes are of what it holds."""
    price = {"currencyCode": "USD", "units": "2", "nanos": Decimal(700000000)}
    made: dict[str, Any] = {
        "description": "TpuV6e running in Dallas",
        "resourceGroup": "TPU",
        "usageType": "OnDemand",
        "effectiveTime": "2026-11-26T10:50:40.206Z",
        "usageUnit": "h",
        "tieredRates": [{"startUsageAmount": Decimal(0), "unitPrice": price}],
        "serviceRegions": ["us-south1"],
    } | changes
    expression = {"usageUnit": made["usageUnit"], "tieredRates": made["tieredRates"]}
    return {
        "description": made["description"],
        "category": {"resourceGroup": made["resourceGroup"], "usageType": made["usageType"]},
        "serviceRegions": made["serviceRegions"],
        "pricingInfo": [{"effectiveTime": made["effectiveTime"], "pricingExpression": expression}],
    }


def rate(units: Any, nanos: Any = Decimal(0), currency: str = "USD") -> dict[str, Any]:
    """One rate."""
    return {"startUsageAmount": Decimal(0), "unitPrice": {"currencyCode": currency, "units": units, "nanos": nanos}}


def usd(service: str = COMPUTE_ENGINE, **changes: Any) -> Decimal | None:
    """The price that is believed of a SKU; None for none."""
    found = priced(sku(**changes), service, NOW)
    return None if found is None else found.usd


def test_units_and_nanos_are_exact_dollars() -> None:
    """Nine decimals, none of them through a float."""
    assert usd() == Decimal("2.7")
    assert usd(tieredRates=[rate("0", Decimal(592660001))]) == Decimal("0.592660001")
    assert usd(tieredRates=[rate(Decimal(12), "0")]) == 12


def test_of_several_tiers_the_first_paid_one_counts() -> None:
    """A free tier is not the price, and neither is what somebody pays after thousands of hours."""
    assert usd(tieredRates=[rate("0"), rate("1", Decimal(500000000)), rate("1")]) == Decimal("1.5")


def test_eight_cores_of_old_chips_are_four_chips() -> None:
    """v2 for 4.50 dollars is 1.125 dollars a chip."""
    price = [rate("4", Decimal(500000000))]
    assert usd(CLOUD_TPU, description="TPU-v2 Accelerator USA", tieredRates=price) == Decimal("1.125")


def test_memory_by_the_gb_costs_more_by_the_gib() -> None:
    """C4D's memory of Iowa, 0.003495578 dollars a GB."""
    memory = {"description": "C4D Instance Ram running in Americas", "resourceGroup": "RAM"}
    price = [rate("0", Decimal(3495578))]
    assert usd(**memory, usageUnit="GBy.h", tieredRates=price) == Decimal("0.003495578") * Decimal("1.073741824")
    assert usd(**memory, usageUnit="GiBy.h", tieredRates=price) == Decimal("0.003495578")
    assert usd(**memory, usageUnit="h", tieredRates=price) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"tieredRates": [rate("2", Decimal(0), "EUR")]},
        {"tieredRates": [rate("0")]},
        {"tieredRates": [rate("700")]},
        {"tieredRates": [rate("0", Decimal(99999999))]},
        {"tieredRates": [rate("-2")]},
        {"tieredRates": [rate("2.7")]},
        {"tieredRates": [rate("2", Decimal(10**9))]},
        {"tieredRates": [rate("2", Decimal("0.5"))]},
        {"tieredRates": [rate(None)]},
        {"tieredRates": []},
        {"tieredRates": None},
        {"usageUnit": "mo"},
        {"usageUnit": "GiBy.h"},
        {"effectiveTime": "2026-12-01T00:00:00Z"},
        {"effectiveTime": None},
        {"effectiveTime": "soon"},
        {"effectiveTime": "2026-11-26T10:50:40"},
    ],
)
def test_a_figure_that_is_not_believed_says_why(changes: dict[str, Any]) -> None:
    """It stays known that there is such a SKU, without a price."""
    found = priced(sku(**changes), COMPUTE_ENGINE, NOW)
    assert found is not None
    assert found.usd is None
    assert found.why


@pytest.mark.parametrize(
    "changes", [{"usageType": "Commit1Yr"}, {"usageType": None}, {"resourceGroup": "GPU"}, {"serviceRegions": None}]
)
def test_other_kinds_of_sku_are_none_of_ours(changes: dict[str, Any]) -> None:
    """Whatever the description says."""
    assert priced(sku(**changes), COMPUTE_ENGINE, NOW) is None


def test_spot_is_said_by_the_words_or_the_usage_type() -> None:
    """Spot SKUs have carried the usage type of on-demand ones."""
    spot = "TpuV6e attached to Spot Preemptible VMs running in Columbus"
    for changes in (
        {"description": spot},
        {"usageType": "Preemptible"},
        {"description": spot, "usageType": "Preemptible"},
    ):
        found = priced(sku(**changes), COMPUTE_ENGINE, NOW)
        assert found is not None
        assert found.market == "spot"


def test_the_newest_price_that_has_begun_counts() -> None:
    """A timeline holds past prices and announced ones."""
    whole = sku()
    old, now, announced = (
        sku(effectiveTime=f"{when}T00:00:00Z", tieredRates=[rate(units)])["pricingInfo"][0]
        for when, units in (("2026-01-01", "1"), ("2026-10-01", "2"), ("2027-01-01", "3"))
    )
    found = priced({**whole, "pricingInfo": [announced, now, old]}, COMPUTE_ENGINE, NOW)
    assert found is not None
    assert found.usd == 2
