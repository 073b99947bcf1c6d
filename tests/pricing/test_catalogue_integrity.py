"""The shipped catalogue keeps its promises: no invented price, no wrong count, no wrong memory, no unknown chip."""

from __future__ import annotations

import re
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.offer import Offer
from cloudtrain.providers import PriceSource, load, names
from cloudtrain.units import GIB
from tests.pricing.price_tables import HERE, SNAPSHOTS, offers_of, table

SOURCES = names("pricing")
LISTED = [name for name in SOURCES if (SNAPSHOTS / f"{name}.csv").is_file()]
CORES_IN_SUFFIX = ("v2", "v3", "v4", "v5p")  # the others count chips
GENERATION = {"v5litepod": "v5e"}


def tpu_rows() -> list[dict[str, str]]:
    return [row for row in table(SNAPSHOTS / "gcp.csv") if row["accelerator"].startswith("tpu")]


def spot_and_on_demand() -> list[tuple[Offer, Offer]]:
    offers = [offer for name in LISTED for offer in offers_of(name)]
    spot = {(o.provider, o.name, o.region, o.zone): o for o in offers if o.market == "spot"}
    pairs = [(spot.get((o.provider, o.name, o.region, o.zone)), o) for o in offers if o.market == "on_demand"]
    return [(cheap, full) for cheap, full in pairs if cheap and full.usd_per_hour is not None]


def test_every_snapshot_has_a_price_source() -> None:
    """A shipped file is read by somebody, and the five providers with a price list ship theirs."""
    assert {path.stem for path in SNAPSHOTS.glob("*.csv")} - {"extra_costs", "disks"} == set(LISTED)
    assert {"aws", "gcp", "runpod", "kaggle", "colab"} <= set(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_a_price_is_positive_or_free_or_unknown(name: str) -> None:
    """A zero stands only under the free market, and everything under it is zero."""
    for offer in offers_of(name):
        assert offer.usd_per_hour is None or (offer.usd_per_hour > 0) != (offer.market == "free"), offer


@pytest.mark.parametrize("name", LISTED)
def test_no_price_is_a_placeholder(name: str) -> None:
    """A TPU costs 0.1 to 20 dollars per chip-hour, any other machine less than 200 dollars an hour."""
    for offer in offers_of(name):
        if offer.usd_per_hour and offer.hardware.startswith("tpu"):
            assert Decimal("0.1") <= offer.usd_per_hour / offer.count <= 20, offer
        elif offer.usd_per_hour:
            assert offer.usd_per_hour < 200, offer


@pytest.mark.parametrize("name", LISTED)
def test_no_price_is_doubted_by_the_reader(name: str) -> None:
    """The reader believes every shipped figure."""
    assert not [offer for offer in offers_of(name) if "not a price" in offer.note]


def test_spot_is_cheaper_for_a_tpu_and_never_dearer() -> None:
    """Spot is below on demand for every TPU row and at most equal to it elsewhere."""
    pairs = spot_and_on_demand()
    assert len(pairs) > 400
    for cheap, full in pairs:
        assert cheap.usd_per_hour is not None
        assert full.usd_per_hour is not None
        assert cheap.usd_per_hour <= full.usd_per_hour, full
        assert cheap.usd_per_hour < full.usd_per_hour or not full.hardware.startswith("tpu"), full


@pytest.mark.parametrize("name", LISTED)
def test_hardware_is_a_key_of_the_accelerator_table(name: str, hardware_keys: set[str]) -> None:
    """Hardware is a key of the table, `nvidia` for cards kept for comparison, or empty for a barred chip."""
    for offer in offers_of(name):
        known = offer.hardware in hardware_keys or offer.hardware == "nvidia"
        assert known or (not offer.hardware and offer.limits.barred), offer


@pytest.mark.parametrize("name", LISTED)
def test_accelerator_memory_is_that_of_the_table(name: str) -> None:
    """TPU, Trainium and Instinct rows have the documented memory per chip, never what the EC2 API reports."""
    documented = {
        "trainium1": 32,
        "trainium2": 96,
        "mi300x": 192,
        "mi325x": 256,
        "mi350x": 288,
        "mi355x": 288,
        "tpu-v2": 16,
        "tpu-v3": 32,
        "tpu-v4": 32,
        "tpu-v5e": 16,
        "tpu-v5p": 95,
        "tpu-v6e": 32,
    }
    for offer in offers_of(name):
        if offer.hardware in documented:
            assert offer.memory_bytes == documented[offer.hardware] * GIB, offer


@pytest.mark.parametrize("name", LISTED)
def test_the_total_memory_is_count_times_memory(name: str) -> None:
    """The total that a row states is what its count and its memory per chip give."""
    for row in table(SNAPSHOTS / f"{name}.csv"):
        if row["accel_mem_total_gib"]:
            assert int(row["accel_mem_total_gib"]) == int(row["accel_count"]) * int(row["accel_mem_gib"]), row


@pytest.mark.parametrize("row", tpu_rows(), ids=lambda row: f"{row['offer']}-{row['region']}")
def test_a_tpu_row_is_its_chips_times_the_chip_price(row: dict[str, str]) -> None:
    """A slice's name gives its chips, and its prices are so many times the chip-hour prices of its zones."""
    family, suffix = row["offer"].split("-")
    chips = int(suffix) // (2 if family in CORES_IN_SUFFIX else 1)
    assert int(row["accel_count"]) == chips
    generation = GENERATION.get(family, family)
    single = {"v2": 4, "v3": 4}.get(generation, chips)  # larger slices of these two have a price list of their own
    wanted = generation if chips == single else f"{generation}-pod"
    price = next(
        p
        for p in table(HERE / "tpu_chip_prices.csv")
        if (p["generation"], p["region"], p["zones"]) == (wanted, row["region"], row["zones"])
    )
    for cell, per_chip in ((row["od_usd_h"], price["od_usd_chip_h"]), (row["spot_usd_h"], price["spot_usd_chip_h"])):
        assert bool(cell) == bool(per_chip)
        if cell:
            assert abs(Decimal(cell) - chips * Decimal(per_chip)) <= Decimal("0.00001")


def test_zones_without_a_price_are_not_priced() -> None:
    """The three v6e zones that have no price, for which others print 700, have none here."""
    unpriced = {
        f"{p['region']}-{zone}"
        for p in table(HERE / "tpu_chip_prices.csv")
        if not p["od_usd_chip_h"]
        for zone in p["zones"].split()
    }
    assert unpriced == {"asia-east1-c", "southamerica-east1-c", "us-central2-b"}
    for offer in offers_of("gcp"):
        if offer.hardware == "tpu-v6e" and unpriced & set(offer.zone.split()):
            assert offer.usd_per_hour is None, offer


def test_trainium2_on_demand_has_no_price() -> None:
    """Trainium2 has spot prices and an on-demand offer without one, with the reason."""
    trn2 = [offer for offer in offers_of("aws") if offer.hardware == "trainium2"]
    assert {offer.name for offer in trn2} == {"trn2.3xlarge", "trn2.48xlarge"}
    for offer in trn2:
        if offer.market == "on_demand":
            assert offer.usd_per_hour is None
            assert "no on-demand list price" in offer.note
        else:
            assert offer.market == "spot"
            assert offer.usd_per_hour


@pytest.mark.parametrize("name", LISTED)
def test_no_inference_chip_is_offered_for_training(name: str) -> None:
    """Inferentia and Qualcomm rows are barred with a reason, and nothing else is."""
    for row, inference in ((o, o.name.startswith(("inf", "dl2q"))) for o in offers_of(name)):
        assert bool(row.limits.barred) == inference, row


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        *[(f"aws/{family}", "cpu-amx") for family in ("r8i.", "r8i-flex.", "x8i.", "c8i.", "u7i-")],
        *[(f"aws/{family}", "cpu-zen") for family in ("r7a.", "r8a.", "m7a.", "c7a.")],
        *[(f"aws/{family}", "cpu-graviton4") for family in ("r8g.", "x8g.")],
        ("aws/hpc7g.", "cpu-arm"),
        *[(f"aws/{family}", "cpu") for family in ("x2idn.", "x2iedn.", "u-3tb1.", "u-6tb1.")],
        *[(f"gcp/{family}-", "cpu-amx") for family in ("c3", "c4", "m4")],
        *[(f"gcp/{family}-", "cpu-zen") for family in ("c3d", "c4d", "n4d")],
        ("gcp/n4a-", "cpu-arm"),
        *[(f"gcp/{family}-", "cpu") for family in ("m1", "m3")],
    ],
)
def test_a_cpu_family_is_of_its_class(prefix: str, key: str) -> None:
    """Every CPU family is mapped by what its processors can do with bf16."""
    provider, start = prefix.split("/")
    hosts = [offer for offer in offers_of(provider) if offer.name.startswith(start)]
    assert hosts
    for offer in hosts:
        assert (offer.hardware, offer.count) == (key, offer.vcpus)
        assert offer.memory_bytes == offer.host_memory_bytes


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_every_cpu_host_is_of_a_family_checked_above(name: str) -> None:
    """No CPU host is in the catalogue whose family nobody has looked up."""
    checked = re.compile(r"(r8i|x8i|c8i|u7i|r[78]a|[mc]7a|[rx]8g|hpc7g|x2i|u-|c[34]d?-|m[134]-|n4[ad]-)")
    for offer in offers_of(name):
        if offer.hardware.startswith("cpu"):
            assert checked.match(offer.name), offer


@pytest.mark.parametrize("name", LISTED)
def test_every_price_has_a_day(name: str) -> None:
    """Every price has the day from which its age counts, and keeps what was written about when it was seen."""
    for row, offer in ((o.price.source, o) for o in offers_of(name)):
        assert date(2025, 1, 1) <= date.fromisoformat(offer.price.as_of)
        assert "(observed 202" in row


@pytest.mark.parametrize("name", LISTED)
def test_no_offer_is_there_twice(name: str) -> None:
    """Name, region, zone and market together name one offer."""
    counted = Counter((o.name, o.region, o.zone, o.market) for o in offers_of(name))
    assert [key for key, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("path", sorted(SNAPSHOTS.glob("*.csv")), ids=lambda path: path.name)
def test_a_snapshot_is_tidy_text(path: Path) -> None:
    """A shipped file is UTF-8 with plain line ends, and names only its own provider and providers that exist."""
    text = path.read_bytes().decode("utf-8")
    assert "\r" not in text
    assert text.endswith("\n")
    owners = {row["provider"] for row in table(path)}
    assert owners <= set(SOURCES) if path.name in ("extra_costs.csv", "disks.csv") else owners == {path.stem}


@pytest.mark.parametrize(
    ("name", "field", "item"),
    [
        ("aws", "disk_usd_per_gb_month", "EBS gp3"),
        ("aws", "address_usd_per_hour", "public IPv4, in use or idle"),
        ("aws", "egress_usd_per_gb", "internet egress next 10 TB"),
        ("aws", "minimum_billed_s", "EC2 Linux minimum"),
        ("gcp", "disk_usd_per_gb_month", "pd-balanced"),
        ("gcp", "address_usd_per_hour", "external IPv4 on a VM"),
        ("gcp", "egress_usd_per_gb", "internet egress 0-1 TiB"),
        ("runpod", "disk_usd_per_gb_month", "container disk, running"),
        ("runpod", "egress_usd_per_gb", "ingress and egress"),
        ("kaggle", "disk_usd_per_gb_month", "everything"),
    ],
)
def test_terms_are_those_of_the_table_of_extra_costs(name: str, field: str, item: str) -> None:
    """What a provider's record charges beside the hour is what `extra_costs.csv` lists first for it."""
    listed = next(r for r in table(SNAPSHOTS / "extra_costs.csv") if (r["provider"], r["item"]) == (name, item))
    assert Decimal(getattr(load("pricing", name, PriceSource).terms, field)) == Decimal(listed["usd"])


def test_known_figures() -> None:
    """A handful of prices that people know are what the quote will show."""
    found = {(o.provider, o.name, o.region, o.market): o.usd_per_hour for n in LISTED for o in offers_of(n)}
    assert found["runpod", "AMD Instinct MI300X OAM x2", "EU-RO-1", "on_demand"] == Decimal("4.78")
    assert found["gcp", "v5p-8", "us-central1", "on_demand"] == Decimal("16.80")
    assert found["gcp", "v6e-8", "asia-southeast1", "spot"] == Decimal("2.1384")
    assert found["gcp", "v3-8", "us-central1", "on_demand"] == 8
    assert found["aws", "x8i.12xlarge", "us-east-2", "spot"] == Decimal("0.5252")
    assert found["kaggle", "TpuV5E8", "", "free"] == 0


def test_kaggle_and_colab_need_a_person() -> None:
    """Notebook services say by whom they are started, how long a session may be, and what a week allows."""
    kaggle = {o.name: o.limits for o in offers_of("kaggle")}
    assert (kaggle["TpuV5E8"].session_hours, kaggle["TpuV5E8"].weekly_hours) == (9, 20)
    assert (kaggle["NvidiaTeslaT4 (2xT4)"].session_hours, kaggle["NvidiaTeslaT4 (2xT4)"].weekly_hours) == (12, 30)
    colab = {o.name: o for o in offers_of("colab")}
    assert (colab["free TPU v5e-1"].market, colab["free TPU v5e-1"].limits.session_hours) == ("free", 1.5)
    assert (colab["TPU v6e-1"].market, colab["TPU v6e-1"].limits.session_hours) == ("units", 12)
    assert all(o.limits.by_hand for name in ("kaggle", "colab") for o in offers_of(name))
