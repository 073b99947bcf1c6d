"""Reading a catalogue: what becomes an offer, what is not believed, and what is refused."""

from __future__ import annotations

import gc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from cloudtrain.pricing._snapshot import COLUMNS, Reading, read_offers
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.errors import UsageError
from cloudtrain.providers import names
from cloudtrain.units import GIB
from tests.pricing.price_tables import SNAPSHOTS, offers_of

LISTED = [name for name in names("pricing") if (SNAPSHOTS / f"{name}.csv").is_file()]


def test_a_row_with_two_prices_is_two_offers(catalogue: Callable[..., Path]) -> None:
    """On demand and spot of one row differ in market and price only."""
    full, spot = offers_of("aws", catalogue("aws", od_usd_h="21.5", spot_usd_h="2.15"))
    assert (full.market, full.usd_per_hour) == ("on_demand", Decimal("21.5"))
    assert (spot.market, spot.usd_per_hour) == ("spot", Decimal("2.15"))
    assert full._replace(market="spot", usd_per_hour=spot.usd_per_hour) == spot


def test_an_empty_price_is_unknown(catalogue: Callable[..., Path]) -> None:
    """A row without a list price keeps its on-demand offer, with None for the price."""
    full, spot = offers_of("aws", catalogue("aws", od_usd_h="", spot_usd_h="8.6"))
    assert (full.market, full.usd_per_hour) == ("on_demand", None)
    assert (spot.market, spot.usd_per_hour) == ("spot", Decimal("8.6"))


def test_a_row_without_any_price_is_one_unknown_offer(catalogue: Callable[..., Path]) -> None:
    """Neither price known gives one offer, on demand, without a price."""
    assert [(o.market, o.usd_per_hour) for o in offers_of("aws", catalogue("aws", od_usd_h="", spot_usd_h=""))] == [
        ("on_demand", None)
    ]


@pytest.mark.parametrize("zero", ["0", "0.00"])
def test_zero_is_never_free_where_things_cost_money(catalogue: Callable[..., Path], zero: str) -> None:
    """A zero in a paid provider's file is an unknown price with a note."""
    offer = offers_of("aws", catalogue("aws", od_usd_h=zero, spot_usd_h=""))[0]
    assert (offer.market, offer.usd_per_hour) == ("on_demand", None)
    assert "not a price" in offer.note


@pytest.mark.parametrize("price", ["700", "0.01"])
def test_a_tpu_placeholder_is_not_believed(catalogue: Callable[..., Path], price: str) -> None:
    """A TPU figure outside 0.1 to 20 dollars per chip-hour is an unknown price with a note."""
    offer = offers_of("gcp", catalogue("gcp", accel_count="1", od_usd_h=price, spot_usd_h="", note="seen"))[0]
    assert offer.usd_per_hour is None
    assert offer.note == f"the listed ${price} per hour is a placeholder, not a price; seen"


def test_a_cpu_host_counts_vcpus_and_its_whole_memory(catalogue: Callable[..., Path]) -> None:
    """For a processor, count is vCPUs and memory is the host's."""
    catalog = catalogue("gcp", accelerator="cpu", accel_count="", accel_mem_gib="", vcpus="96", ram_gib="1433.6")
    offer = offers_of("gcp", catalog)[0]
    assert (offer.count, offer.memory_bytes, offer.host_memory_bytes) == (96, int(1433.6 * GIB), int(1433.6 * GIB))


def test_zone_letters_become_zone_names(catalogue: Callable[..., Path]) -> None:
    """Google's zones are written out, so that each can be used as it stands."""
    offer = offers_of("gcp", catalogue("gcp", region="us-central1", zones="a c"))[0]
    assert offer.zone == "us-central1-a us-central1-c"


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"provider": "runpod"}, "a row of `runpod` in the file of `aws`"),
        ({"offer": ""}, "without a name"),
        ({"od_usd_h": "cheap"}, "`cheap` is not an hourly price"),
        ({"od_usd_h": "-1"}, "not an hourly price"),
        ({"spot_usd_h": "nan"}, "not an hourly price"),
        ({"od_usd_h": "inf"}, "not an hourly price"),
        ({"accel_count": ""}, "no accel_count"),
        ({"accel_count": "0"}, "not a count"),
        ({"accel_count": "1.5"}, "invalid literal"),
        ({"accel_mem_gib": "-8"}, "not a size"),
        ({"accel_mem_gib": "inf"}, "not a size"),
        ({"ram_gib": "much"}, "could not convert"),
        ({"accelerator": "cpu", "vcpus": ""}, "no vcpus"),
        ({"observed": ""}, "no date"),
        ({"observed": "2026-02-31"}, "day is out of range"),
    ],
)
def test_a_broken_row_names_file_line_and_reason(
    catalogue: Callable[..., Path], cells: dict[str, str], reason: str
) -> None:
    """A row that cannot be read is a usage error which says where and why."""
    catalog = catalogue("aws", **cells)
    with pytest.raises(UsageError, match=reason) as raised:
        offers_of("aws", catalog)
    assert f"{catalog / 'aws.csv'}` line 2" in raised.value.message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the header lacks provider"),
        (b"provider,offer\naws,x\n", "the header lacks region"),
        (",".join(COLUMNS).encode() + b"\n\naws,trn1\n", "line 3: fewer cells"),
        (",".join(COLUMNS).encode() + b"\n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_broken_file_names_itself(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that is no catalogue is a usage error which names it."""
    (tmp_path / "aws.csv").write_bytes(content)
    with pytest.raises(UsageError, match=reason) as raised:
        offers_of("aws", tmp_path)
    assert "aws.csv" in raised.value.message


def test_a_folder_where_a_file_belongs_is_a_usage_error(tmp_path: Path) -> None:
    """A file that cannot be opened is a usage error."""
    (tmp_path / "aws.csv").mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*aws\.csv"):
        offers_of("aws", tmp_path)


@pytest.mark.parametrize("name", LISTED)
def test_a_provider_that_a_catalogue_lacks_has_no_offers(name: str, tmp_path: Path) -> None:
    """A replaced catalogue may have some providers only."""
    assert offers_of(name, tmp_path) == []


@pytest.mark.parametrize("name", LISTED)
def test_a_missing_catalogue_is_a_usage_error(name: str, tmp_path: Path) -> None:
    """A folder that is not there is refused instead of taken for empty."""
    with pytest.raises(UsageError, match="not a folder"):
        offers_of(name, tmp_path / "nowhere")


def test_column_order_and_further_columns_do_not_matter(tmp_path: Path) -> None:
    """Cells are found by their heading, with or without a byte order mark."""
    heads = ["colour", *reversed(COLUMNS)]
    row = dict.fromkeys(heads, "")
    row |= {"provider": "aws", "offer": "trn1.2xlarge", "accelerator": "trainium1", "accel_count": "1"}
    row |= {"accel_mem_gib": "32", "od_usd_h": "1.34375", "observed": "2026-07", "colour": "red"}
    (tmp_path / "aws.csv").write_text(f"\ufeff{','.join(heads)}\n{','.join(row.values())}\n", encoding="utf-8")
    assert offers_of("aws", tmp_path)[0].usd_per_hour == Decimal("1.34375")


def test_the_garbage_collector_is_left_as_it_was(tmp_path: Path) -> None:
    """Reading pauses the collector and puts it back, after an error too."""
    assert gc.isenabled()
    offers_of("aws")
    (tmp_path / "aws.csv").write_text("no catalogue\n", encoding="utf-8")
    with pytest.raises(UsageError):
        offers_of("aws", tmp_path)
    assert gc.isenabled()


@given(
    price=st.decimals(min_value="0.000001", max_value="999999", places=6),
    chips=st.integers(1, 10_000),
    gib=st.integers(1, 100_000),
)
def test_what_is_written_is_what_is_offered(
    tmp_path_factory: pytest.TempPathFactory, price: Decimal, chips: int, gib: int
) -> None:
    """A price keeps every digit, a count and a memory size keep their value."""
    folder = tmp_path_factory.mktemp("catalogue")
    cells = dict.fromkeys(COLUMNS, "") | {"provider": "x", "offer": "o", "accelerator": "mi300x", "observed": "2026"}
    cells |= {"accel_count": str(chips), "accel_mem_gib": str(gib), "od_usd_h": str(price)}
    (folder / "x.csv").write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n", encoding="utf-8")
    (offer,) = read_offers(folder, "x", Reading())
    assert (offer.usd_per_hour, offer.count, offer.memory_bytes) == (price, chips, gib * GIB)


def test_shipped_rows_are_all_read() -> None:
    """Every row of a shipped file is at least one offer."""
    for name in LISTED:
        lines = (SNAPSHOTS / f"{name}.csv").read_text(encoding="utf-8").count("\n") - 1
        assert len({(offer.name, offer.region, offer.zone) for offer in offers_of(name)}) == lines
