"""Reads one provider's dated price list, a CSV file of the catalogue folder, into offers: strictly and fast.

A catalogue may have 100,000 rows and `quote` reads it on every call, hence the cached cell parsers and the one loop
over plain lists. What each column means is in README.md.
"""

from __future__ import annotations

import csv
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.files import no_pipe
from cloudtrain.offer import NO_LIMITS, Limits, Market, Offer, Price
from cloudtrain.units import GIB

from ._observed import first_day, last_day

# In the order in which a row's cells are taken apart: place and price, shape, date.
COLUMNS = (
    "provider",
    *("offer", "region", "zones", "od_usd_h", "spot_usd_h", "note"),
    *("accelerator", "accel_count", "accel_mem_gib", "vcpus", "ram_gib", "trainable"),
    *("observed", "source", "confidence"),
)
# Optional, and empty where it is that of the row: when a spot price was seen, in a list that was refreshed in part.
SPOT_SEEN = {"spot_observed": "observed", "spot_source": "source", "spot_confidence": "confidence"}
# Outside these bounds a TPU figure is a placeholder or a per-pod figure, never a chip's price (catalogues that fill
# gaps use 700). The dearest chip-hour known is 4.78 dollars, the cheapest 0.217.
LOWEST_USD_PER_TPU_HOUR, HIGHEST_USD_PER_TPU_HOUR = Decimal("0.1"), Decimal(20)
_HIGHEST_USD_PER_HOUR = _HIGHEST_GIB = 1_000_000

INFERENCE_ONLY = Limits(barred="inference-only chip: it cannot train")


def _no_limits(hardware: str, market: Market) -> Limits:
    return NO_LIMITS


def _as_listed(region: str, zones: str) -> str:
    return zones


class Reading(NamedTuple):
    """How one provider's file is read.

    `listed` is the market of the `od_usd_h` column; a zero in it means free of charge only where `zero_is_free`.
    `limits` gives what the rules allow, by hardware key and market; `zone_names` turns the region and the zones cell
    into full zone names, separated by blanks.
    """

    listed: Market = "on_demand"
    zero_is_free: bool = False
    limits: Callable[[str, Market], Limits] = _no_limits
    zone_names: Callable[[str, str], str] = _as_listed


def read_offers(catalog: Path, provider: str, reading: Reading) -> list[Offer]:
    """Every offer of `<catalog>/<provider>.csv`, one per row and market; none when the catalogue lacks the file.

    A row is always an offer under the listed market, with no price where the cell is empty, and one more under `spot`
    where there is a spot price. Raises UsageError, naming file and line, for a file or a row that cannot be read.
    """
    if not catalog.is_dir():
        raise UsageError(f"the price catalogue `{catalog}` is not a folder", "see CLOUDTRAIN_CATALOG")
    path = catalog / f"{provider}.csv"
    line = 1
    found: list[Offer] = []
    try:
        with open(no_pipe(str(path)), encoding="utf-8-sig", newline="") as file, _collector_paused():
            rows = csv.reader(file)
            pick = _picker(next(rows, []))
            for cells in rows:
                if cells:
                    line = rows.line_num
                    found += _row_offers(pick(cells), provider, reading)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror}", "check the file's permissions") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"`{path}` is not UTF-8 text", "save it as UTF-8 with commas between the cells") from error
    except IndexError as error:
        raise UsageError(f"`{path}` line {line}: fewer cells than the header has") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"`{path}` line {line}: {error}", "pricing/README.md says what each column holds") from error
    return found


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Everything made while reading stays, and looking for garbage in it costs a third of the time on a large file."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _picker(header: list[str]) -> Callable[[list[str]], tuple[str, ...]]:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise ValueError(f"the header lacks {', '.join(missing)}")
    spot = [name if name in header else rows_own for name, rows_own in SPOT_SEEN.items()]
    return itemgetter(*[header.index(name) for name in (*COLUMNS, *spot)])


def _row_offers(cells: tuple[str, ...], provider: str, reading: Reading) -> list[Offer]:
    if cells[0] != provider:
        raise ValueError(f"a row of `{cells[0]}` in the file of `{provider}`")
    name, region, zones, listed, spot, note = cells[1:7]
    if not name:
        raise ValueError("an offer without a name")
    shape = _shape(*cells[7:13])
    price = _price(*cells[13:16])
    zone = reading.zone_names(region, zones)
    cells_by_market: list[tuple[Market, str, Price]] = [(reading.listed, listed, price)]
    if spot:
        cells_by_market.append(("spot", spot, _price(*cells[16:]) if cells[16] else price))
    found = []
    for heading, cell, price in cells_by_market:
        market, usd, doubt = _priced(cell, heading, shape.tpu_chips, reading.zero_is_free)
        limits = INFERENCE_ONLY if shape.inference_only else reading.limits(shape.hardware, market)
        remark = f"{doubt}; {note}" if doubt and note else doubt or note
        found.append(
            Offer._make(
                (provider, name, region, zone, *shape.offered, market, usd, price, limits, remark, None, None, None)
            )
        )
    return found


def _priced(cell: str, heading: Market, tpu_chips: int, zero_is_free: bool) -> tuple[Market, Decimal | None, str]:
    """Market, dollars (None when unknown) and why a figure is not believed. Raises ValueError."""
    if not cell:
        return heading, None, ""
    try:
        usd = Decimal(cell)
        in_range = 0 <= usd < _HIGHEST_USD_PER_HOUR
    except InvalidOperation:  # no number, or NaN
        in_range = False
    if not in_range:
        raise ValueError(f"`{cell}` is not an hourly price in dollars")
    if not usd:
        return ("free", usd, "") if zero_is_free else (heading, None, "the listed 0 is not a price")
    if tpu_chips and not tpu_chips * LOWEST_USD_PER_TPU_HOUR <= usd <= tpu_chips * HIGHEST_USD_PER_TPU_HOUR:
        return heading, None, f"the listed ${cell} per hour is a placeholder, not a price"
    return heading, usd, ""


class _Shape(NamedTuple):
    """What a row offers, parsed once for all rows that offer the same; `offered` isa slice of an Offer's fields."""

    hardware: str
    tpu_chips: int
    inference_only: bool
    offered: tuple[str, int, int, int | None, int | None]


@cache
def _shape(hardware: str, chips: str, chip_gib: str, vcpus: str, ram_gib: str, trainable: str) -> _Shape:
    cores, ram_bytes = _whole(vcpus), _gib_to_bytes(ram_gib)
    is_cpu = hardware.startswith("cpu")
    count, memory_bytes = (cores, ram_bytes) if is_cpu else (_whole(chips), _gib_to_bytes(chip_gib))
    if not count or not memory_bytes:
        raise ValueError(f"no {'vcpus or ram_gib' if is_cpu else 'accel_count or accel_mem_gib'}")
    return _Shape(
        hardware,
        count if hardware.startswith("tpu") else 0,
        trainable.startswith("no (inference"),
        (hardware, count, memory_bytes, cores, ram_bytes),
    )


def _whole(cell: str) -> int | None:
    if not cell:
        return None
    number = int(cell)
    if number < 1:
        raise ValueError(f"`{cell}` is not a count")
    return number


def _gib_to_bytes(cell: str) -> int | None:
    if not cell:
        return None
    size_gib = float(cell)
    if not 0 < size_gib < _HIGHEST_GIB:
        raise ValueError(f"`{cell}` is not a size in GiB")
    return round(size_gib * GIB)


@cache
def _price(observed: str, source: str, confidence: str) -> Price:
    shown = f"{source} (observed {observed})".lstrip()
    return Price("snapshot", last_day(observed), shown, confidence, first_day(observed))
