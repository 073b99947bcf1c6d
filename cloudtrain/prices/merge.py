"""The old list and what a provider answered -> the new list: prices, dates, stock and nothing else of a row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from cloudtrain.listings import Listing
from cloudtrain.offer import Market
from cloudtrain.prices.table import PRICES, SEEN, SPOT_SEEN, Cell, Row, Table, seen_in

CONFIDENCE = "VERIFIED"
# What a merge writes at the end of a note, and takes away when it writes the next one.
_PHRASE = re.compile(r"(?:; )?((?:spot )?not offered on \d{4}-\d\d-\d\d|(?:spot )?stock \w+ on \d{4}-\d\d-\d\d)")


class _Seen(NamedTuple):
    """A price cell, when and by whom it was seen, and what a note says of it."""

    text: str
    seen: tuple[str, str, str]
    phrases: tuple[str, ...] = ()


def merge(old: Table, listings: Mapping[Cell, Listing], day: str) -> Table:
    """The old list with these answers of a day (YYYY-MM-DD). Every other price keeps its cell, its date, its source.

    What is no longer sold has an empty cell and a note, never the old figure.
    """
    rows = []
    for row in old.rows:
        parts = {market: _part(row, market) for market in PRICES}
        for market in PRICES:
            listing = listings.get(Cell(row["offer"], row["region"], row["zones"], market))
            if listing is not None:
                parts[market] = _answered(listing, day)
        rows.append(_composed(row, parts))
    return Table(_columns(old), tuple(rows))


def rebased(shipped: Table, previous: Table) -> Table:
    """Today's shipped list with the prices of a refreshed one where those are newer, as after an upgrade."""
    known = {Cell(row["offer"], row["region"], row["zones"], "on_demand")[:3]: row for row in previous.rows}
    rows = []
    for row in shipped.rows:
        before = known.get((row["offer"], row["region"], row["zones"]))
        parts = {market: _part(row, market) for market in PRICES}
        if before is not None:
            for market in PRICES:
                theirs = _part(before, market)
                # A day against a day, a month or a range (`2026-06..08`): as text, the later begins later.
                if theirs.seen[0] > parts[market].seen[0] and (theirs.text or theirs.phrases or market != "spot"):
                    parts[market] = theirs
        rows.append(_composed(row, parts))
    return Table(_columns(shipped), tuple(rows))


def cell_text(usd: Decimal) -> str:
    """Dollars as a cell holds them: no exponent, no zeros at the end."""
    text = format(usd, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def can_be_written(usd: object) -> bool:
    """Whether it is None or a decimal that fits a cell; whether it is a price is the gate's to say."""
    if usd is None:
        return True
    return (
        isinstance(usd, Decimal) and usd.is_finite() and -12 <= usd.adjusted() <= 7 and len(usd.as_tuple().digits) < 40
    )


def plain_note(note: str) -> str:
    """A note without what a merge wrote into it."""
    return _PHRASE.sub("", note)


def by_cell(listings: Iterable[Listing]) -> tuple[dict[Cell, Listing], dict[Cell, Listing]]:
    """Answers by what they are about; and apart those cells for which there are two that differ."""
    found: dict[Cell, Listing] = {}
    twice: dict[Cell, Listing] = {}
    for listing in listings:
        cell = Cell(*listing[:4])
        if found.setdefault(cell, listing).usd_per_hour != listing.usd_per_hour:
            twice[cell] = listing
    return {cell: listing for cell, listing in found.items() if cell not in twice}, twice


def _columns(table: Table) -> tuple[str, ...]:
    return (*table.columns, *(column for column in SPOT_SEEN if column not in table.columns))


def _part(row: Row, market: Market) -> _Seen:
    phrases = tuple(
        phrase for phrase in _PHRASE.findall(row.get("note", "")) if phrase.startswith("spot ") == (market == "spot")
    )
    return _Seen(row[PRICES[market]], seen_in(row, market), phrases)


def _answered(listing: Listing, day: str) -> _Seen:
    which = "spot " if listing.market == "spot" else ""
    usd = listing.usd_per_hour
    if usd is None:
        phrases = [f"{which}not offered on {day}"]
    else:
        stock = re.sub(r"\W", "", listing.stock)
        phrases = [f"{which}stock {stock} on {day}"] if stock else []
    return _Seen("" if usd is None else cell_text(usd), (day, listing.source, CONFIDENCE), tuple(phrases))


def _composed(row: Row, parts: Mapping[Market, _Seen]) -> Row:
    """A row of the list with other prices; the spot price's date only where it is not the listed one's."""
    listed, spot = parts["on_demand"], parts["spot"]
    phrases = (*listed.phrases, *spot.phrases)
    apart = spot.seen if spot.seen != listed.seen and (spot.text or spot.phrases) else ("", "", "")
    return {
        **row,
        PRICES["on_demand"]: listed.text,
        PRICES["spot"]: spot.text,
        **dict(zip(SEEN, listed.seen, strict=True)),
        **dict(zip(SPOT_SEEN, apart, strict=True)),
        "note": "; ".join(filter(None, (plain_note(row.get("note", "")), *phrases))),
    }
