"""A price list as rows of cells: parsed, written in the same form, and asked about as shapes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.listings import Shape

if TYPE_CHECKING:
    from cloudtrain.offer import Market

Row = dict[str, str]
PRICES: dict[Market, str] = {"on_demand": "od_usd_h", "spot": "spot_usd_h"}  # market -> the column of its price
# Of the spot price, where it was seen on another day or by another interface than the listed one.
SPOT_SEEN = ("spot_observed", "spot_source", "spot_confidence")
SEEN = ("observed", "source", "confidence")


class Cell(NamedTuple):
    """Which price: a row, by its cells as they stand, and a market."""

    offer: str
    region: str
    zones: str
    market: Market


class Table(NamedTuple):
    """A price list: its columns in order, and its rows as column -> cell."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def cells(self) -> Iterator[tuple[Cell, Row]]:
        """Every price that the list can have, and its row."""
        for row in self.rows:
            for market in PRICES:
                yield Cell(row["offer"], row["region"], row["zones"], market), row


def price_in(row: Row, market: Market) -> Decimal | None:
    """Dollars an hour; None where the cell is empty, is no number or no price."""
    text = row.get(PRICES[market], "")
    try:
        usd = Decimal(text) if text else None
    except ArithmeticError:
        return None
    return usd if usd is not None and usd.is_finite() and usd > 0 else None


def seen_in(row: Row, market: Market) -> tuple[str, str, str]:
    """When, by which interface and how surely the price was seen: the cells as they stand."""
    if market == "spot":
        own = tuple(row.get(spot) or row.get(listed, "") for spot, listed in zip(SPOT_SEEN, SEEN, strict=True))
        return own[0], own[1], own[2]
    return row.get("observed", ""), row.get("source", ""), row.get("confidence", "")


def parse(text: bytes, name: str) -> Table:
    """The list in these bytes. Raises UsageError, naming it by `name`, for what is no table with its needed columns."""
    try:
        rows = list(csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"the price list {name} cannot be read: {error}", "nothing was taken from it") from None
    columns = tuple(rows[0]) if rows else ()
    missing = [
        column for column in ("provider", "offer", "region", "zones", *PRICES.values(), *SEEN) if column not in columns
    ]
    if missing or len(set(columns)) != len(columns):
        raise UsageError(f"the price list {name} lacks columns: {', '.join(missing) or 'one is there twice'}")
    for number, cells in enumerate(rows[1:], 2):
        if cells and len(cells) != len(columns):
            raise UsageError(f"the price list {name}, row {number}: {len(cells)} cells under {len(columns)} columns")
    return Table(columns, tuple(dict(zip(columns, cells, strict=True)) for cells in rows[1:] if cells))


def as_bytes(table: Table) -> bytes:
    """The list as a file: same columns, same order."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([row.get(column, "") for column in table.columns] for row in table.rows)
    return file.getvalue().encode()


def shapes(rows: Iterable[Row]) -> list[Shape]:
    """What a source is asked about."""
    return [
        Shape(
            row["offer"],
            row["region"],
            row["zones"],
            row.get("accelerator", ""),
            count(row),
            _number(row.get("vcpus", "")),
            None if not row.get("ram_gib") else float(row["ram_gib"]),
            row.get("api", ""),
        )
        for row in rows
    ]


def count(row: Row) -> int:
    """Chips of the whole machine, or vCPUs of a processor's."""
    column = "vcpus" if row.get("accelerator", "").startswith("cpu") else "accel_count"
    return _number(row.get(column, "")) or 0


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
