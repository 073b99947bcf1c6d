"""What a new price list must pass: plausible prices, slices in proportion, spot below list, no other machines."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from cloudtrain.listings import Listing, Shape
from cloudtrain.prices import gate, merge
from cloudtrain.prices.gate import Verdict, judge
from cloudtrain.prices.records import Held
from cloudtrain.prices.table import Cell, Row, Table
from tests.prices.answering import HOUR, SOURCE, START, prices, shipped


def verdict(name: str, change: Callable[[Cell, Decimal], Decimal | None]) -> Verdict:
    """What the gate says of a list whose every price was answered, changed so."""
    found = {cell: Listing(*cell, change(cell, usd), SOURCE) for cell, usd in prices(shipped(name)).items()}
    return judge(shipped(name), merge.merge(shipped(name), found, "2026-11-29"), START)


def test_the_shipped_prices_pass() -> None:
    """Answered once more, all of them."""
    for name in ("aws", "gcp", "runpod"):
        assert verdict(name, lambda cell, usd: usd) == Verdict((), ())


@pytest.mark.parametrize(
    ("name", "which", "usd", "says"),
    [
        ("gcp", ("v6e-8", "us-east5", "on_demand"), "700", "chip-hour"),
        ("gcp", ("v6e-8", "us-east5", "on_demand"), "0.5", "chip-hour"),
        ("gcp", ("v6e-8", "us-east5", "on_demand"), "2.7", "per chip-hour"),  # the price of one chip
        ("runpod", ("AMD Instinct MI300X OAM x1", "EU-RO-1", "on_demand"), "0.29", "chip-hour"),
        ("runpod", ("AMD Instinct MI300X OAM x8", "EU-RO-1", "on_demand"), "121", "chip-hour"),
        ("aws", ("trn1.2xlarge", "us-east-2", "on_demand"), "200", "is not a price"),
        ("aws", ("trn1.2xlarge", "us-east-2", "spot"), "1.36", "more on spot"),
        ("gcp", ("v6e-8", "us-east5", "spot"), None, "more on spot"),  # the list price itself
    ],
)
def test_a_figure_of_another_kind_bars_its_region(
    name: str, which: tuple[str, str, str], usd: str | None, says: str
) -> None:
    """Placeholders, pods for chips, spot above list, on a TPU at the list price too."""
    listed = {cell[:2]: price for cell, price in prices(shipped(name)).items() if cell.market == "on_demand"}

    def change(cell: Cell, price: Decimal) -> Decimal:
        if (cell.offer, cell.region, cell.market) != which:
            return price
        return Decimal(usd) if usd else listed[cell[:2]]

    found = verdict(name, change)
    assert {fault.region for fault in found.faults} == {which[1]}
    assert any(says in fault.message for fault in found.faults)


def test_a_spot_price_may_equal_the_list_but_for_tpus() -> None:
    """As in one zone of AWS."""
    listed = {cell[:3]: usd for cell, usd in prices(shipped("aws")).items() if cell.market == "on_demand"}
    cell = next(cell for cell in prices(shipped("aws")) if cell.market == "spot" and cell[:3] in listed)
    found = verdict("aws", lambda other, usd: listed[cell[:3]] if other == cell else usd)
    assert found.faults == ()
    assert [price.market for price in found.held] == ["spot"]


@pytest.mark.parametrize(
    ("market", "factor", "jumps"),
    [
        ("on_demand", "1.25", False),
        ("on_demand", "1.26", True),
        ("on_demand", "0.75", False),
        ("on_demand", "0.74", True),
        ("spot", "3", False),
        ("spot", "3.1", True),
        ("spot", "0.334", False),
        ("spot", "0.333", True),
    ],
)
def test_how_far_is_a_jump(market: str, factor: str, jumps: bool) -> None:
    """A quarter of a list price, three times a spot price, either way."""
    listed = {cell[:3]: usd for cell, usd in prices(shipped("aws")).items() if cell.market == "on_demand"}
    low = next(c for c, usd in prices(shipped("aws")).items() if c.market == "spot" and usd * 4 < listed.get(c[:3], 0))
    cell = low if market == "spot" else low._replace(market="on_demand")
    found = verdict("aws", lambda other, usd: usd * Decimal(factor) if other == cell else usd)
    assert [price.offer for price in found.held] == [cell.offer] * jumps


def test_more_than_half_must_jump_alike_to_refuse() -> None:
    """Half of them each way is a market; a provider of one product may change it, and it waits."""
    number = {cell: index for index, cell in enumerate(prices(shipped("gcp")))}
    spread = verdict("gcp", lambda cell, usd: usd * (Decimal("1.3") if number[cell] % 2 else Decimal(1)))
    assert not [fault for fault in spread.faults if not fault.region]
    assert "another unit" in verdict("gcp", lambda cell, usd: usd / 4).faults[-1].message
    single = verdict("runpod", lambda cell, usd: usd * Decimal("1.3") if "MI300X" in cell.offer else None)
    assert {price.offer[:3] for price in single.held} == {"AMD"}


def test_nothing_sold_any_more_is_not_believed() -> None:
    """Of a provider with many kinds of machines."""
    assert "none of" in verdict("aws", lambda cell, usd: None).faults[0].message


@pytest.mark.parametrize("column", ["offer", "accel_count", "accel_mem_gib", "trainable", "note", "min_billing"])
def test_a_list_of_other_machines_is_refused(column: str) -> None:
    """What a machine is comes from the shipped list alone."""
    old = shipped("aws")
    rows: list[Row] = [dict(row) for row in old.rows]
    rows[3][column] += "1"
    assert [fault.region for fault in judge(old, old._replace(rows=tuple(rows)), START).faults] == [""]


def test_a_list_of_fewer_rows_or_columns_is_refused() -> None:
    """And of more columns than a price list has."""
    old = shipped("aws")
    assert judge(old, old._replace(rows=old.rows[1:]), START).faults
    assert judge(old, old._replace(columns=old.columns[1:]), START).faults
    assert judge(old, old._replace(columns=(*old.columns, "more")), START).faults
    assert judge(old, old, START) == Verdict((), ())


@pytest.mark.parametrize("day", ["2026-11-30", "yesterday", "2026-06..08", ""])
def test_a_day_that_is_not_yet_is_refused(day: str) -> None:
    """And one that is no day."""
    old = shipped("aws")
    found = {cell: Listing(*cell, usd, SOURCE) for cell, usd in prices(old).items()}
    new = merge.merge(old, found, day)
    rows = tuple({**row, "od_usd_h": row["od_usd_h"] and "1.5"} for row in new.rows)
    assert judge(old, Table(new.columns, rows), START).faults


@pytest.mark.parametrize(
    ("hours", "factor", "held"), [(5.9, "1.3", True), (6, "1.3", False), (6, "1.32", True), (-1, "1.3", True)]
)
def test_what_confirms_a_jump(hours: float, factor: str, held: bool) -> None:
    """The same price within a hundredth, six hours later; not a clock that was put back."""
    old = shipped("aws")
    cell = next(iter(prices(old)))
    usd = prices(old)[cell]
    first = Held(**cell._asdict(), old=usd, new=usd * Decimal("1.3"), since=START)
    new = merge.merge(old, {cell: Listing(*cell, usd * Decimal(factor), SOURCE)}, "2026-11-29")
    assert bool(judge(old, new, START + hours * HOUR, [first]).held) is held


def test_a_jump_that_is_answered_alike_keeps_its_hour() -> None:
    """Asking every hour does not put it off; another price begins anew."""
    old = shipped("aws")
    cell = next(iter(prices(old)))
    usd = prices(old)[cell]
    first = Held(**cell._asdict(), old=usd, new=usd * Decimal("1.3"), since=START)
    for factor, since in (("1.3", START), ("1.5", START + HOUR)):
        new = merge.merge(old, {cell: Listing(*cell, usd * Decimal(factor), SOURCE)}, "2026-11-29")
        assert [price.since for price in judge(old, new, START + HOUR, [first]).held] == [since]


@pytest.mark.parametrize(("hardware", "count", "usd"), [("tpu-v5e", 256, "307"), ("h100", 8, "98")])
def test_a_large_slice_may_cost_hundreds(hardware: str, count: int, usd: str) -> None:
    """It is judged by the chip; anything else by the machine."""
    assert gate.sentinel(Shape("x", "", "", hardware, count, None, None), Decimal(usd)) == ""
    assert gate.sentinel(Shape("x", "", "", "h100", count, None, None), Decimal(200)) != ""
