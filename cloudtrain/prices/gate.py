"""What a new price list must pass before it counts: whole, plausible, and without a jump that nobody has confirmed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from cloudtrain.listings import Shape
from cloudtrain.offer import Market
from cloudtrain.prices.merge import plain_note
from cloudtrain.prices.records import Held
from cloudtrain.prices.table import PRICES, SEEN, SPOT_SEEN, Cell, Row, Table, count, price_in, seen_in
from cloudtrain.providers import Context, PriceSource, load

COVERAGE = Decimal("0.9")  # of the prices of a region and market
HIGHEST_USD = Decimal(200)  # of a whole machine; a TPU slice of 128 chips is dearer, and judged by the chip
PER_CHIP = {"tpu": (Decimal("0.1"), Decimal(20)), "mi": (Decimal("0.3"), Decimal(15))}  # hardware key begins with it
LINEAR = Decimal("0.005")  # by which chip prices of slices that were answered together may differ
LIST_JUMP, SPOT_JUMP = Decimal("0.25"), Decimal(3)
LIST_LEAP, SPOT_LEAP = Decimal(2), Decimal(10)
LIST_AGREES, SPOT_AGREES = Decimal("0.01"), Decimal("0.25")  # by which a second answer may differ from the first
HELD_S = 6 * 3600.0
FEW = 4  # kinds of machine in a place; among fewer, one provider's real change is more than half


class Fault(NamedTuple):
    """What keeps the prices of a region ("": of the whole list) from counting, as a sentence."""

    region: str
    message: str


class Verdict(NamedTuple):
    """Faults, and prices that jumped and wait for a second answer. A list may count when there is neither."""

    faults: tuple[Fault, ...]
    held: tuple[Held, ...]


class _Pair(NamedTuple):
    """A price before and after."""

    cell: Cell
    before: Row
    after: Row
    old: Decimal | None
    new: Decimal | None

    @property
    def is_answered(self) -> bool:
        """Whether the new list says something of it that the old one did not."""
        return self.old != self.new or seen_in(self.before, self.cell.market) != seen_in(self.after, self.cell.market)

    @property
    def jump(self) -> int:
        """1 or -1: by so much more or less that it may be an error; 0."""
        if self.old is None or self.new is None:
            return 0
        if self.cell.market == "spot":
            return (self.new > self.old * SPOT_JUMP) - (self.new * SPOT_JUMP < self.old)
        return (self.new > self.old * (1 + LIST_JUMP)) - (self.new < self.old * (1 - LIST_JUMP))

    @property
    def leap(self) -> int:
        """The same by so much that it is one even where jumps are accepted."""
        if self.old is None or self.new is None:
            return 0
        factor = SPOT_LEAP if self.cell.market == "spot" else LIST_LEAP
        return (self.new > self.old * factor) - (self.new * factor < self.old)


def judge(old: Table, new: Table, now: float, held: Sequence[Held] = (), accept_jumps: bool = False) -> Verdict:
    """Compare a new list with the one that counts. Pure; `held` are the prices that wait already."""
    if wrong := _other_shapes(old, new):
        return Verdict((Fault("", wrong),), ())
    pairs = [
        _Pair(cell, before, after, price_in(before, cell.market), price_in(after, cell.market))
        for (cell, before), (_, after) in zip(old.cells, new.cells, strict=True)
    ]
    answered = [pair for pair in pairs if pair.is_answered]
    waiting = {_cell(price): price for price in held}
    faults = [
        *_uncovered(pairs, waiting),
        *(Fault(pair.cell.region, wrong) for pair in answered if (wrong := _implausible(pair, now))),
        *_bent(answered),
        *_above_list(answered),
    ]
    faults += [*_alike(answered, accept_jumps), *([] if accept_jumps else _all_gone(answered))]
    jumped = [] if accept_jumps else [pair for pair in answered if pair.jump]
    kept = {pair.cell: later for pair in jumped if (later := _held(pair, waiting.get(pair.cell), now))}
    for pair in answered:  # a spot price may not stand above a list price that waits, nor the other way round
        if pair.cell not in kept and pair.new is not None and _stands_above(pair, kept):
            kept[pair.cell] = Held(**pair.cell._asdict(), old=pair.old, new=pair.new, since=now)
    return Verdict(tuple(dict.fromkeys(faults)), tuple(kept.values()))


def reread(provider: str, folder: Path) -> None:
    """Read `<folder>/<provider>.csv` just as a quote does. Raises UsageError, naming the line."""
    for _ in load("pricing", provider, PriceSource).offers(Context(folder)):
        pass


def sentinel(shape: Shape, usd: Decimal) -> str:
    """Why a figure is no price of such a machine; "" when it may be one."""
    if not (usd.is_finite() and usd > 0):
        return f"{usd} is not a price"
    for family, (lowest, highest) in PER_CHIP.items():
        if shape.hardware.startswith(family):
            each = usd / max(shape.count, 1)
            return "" if lowest <= each <= highest else f"{each:f} dollars per chip-hour is not a price"
    return "" if usd < HIGHEST_USD else f"{usd} dollars an hour is not a price"


def _cell(price: Held) -> Cell:
    market: Market = "spot" if price.market == "spot" else "on_demand"
    return Cell(price.offer, price.region, price.zones, market)


def _other_shapes(old: Table, new: Table) -> str:
    """Why the new list is not one of the same machines; "" when it is."""
    if not set(old.columns) <= set(new.columns) <= {*old.columns, *SPOT_SEEN}:
        return "the new list has other columns"
    if len(old.rows) != len(new.rows):
        return f"the new list has {len(new.rows)} rows, and the old one {len(old.rows)}"
    fixed = [column for column in old.columns if column not in {*PRICES.values(), *SEEN, *SPOT_SEEN, "note"}]
    for before, after in zip(old.rows, new.rows, strict=True):
        same = all(before[column] == after[column] for column in fixed)
        if not same or plain_note(before.get("note", "")) != plain_note(after.get("note", "")):
            return f"the new list describes {before['offer']} in {before['region'] or 'its region'} in another way"
    return ""


def _uncovered(pairs: Iterable[_Pair], waiting: Iterable[Cell]) -> Iterator[Fault]:
    """Regions that were answered for in part. One that was not at all keeps its prices and their dates."""
    waits = set(waiting)
    groups: dict[tuple[str, Market], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        if pair.old is not None:
            groups[pair.cell.region, pair.cell.market].append(pair)
    newest = max((seen_in(pair.after, pair.cell.market)[0] for group in groups.values() for pair in group), default="")
    for (region, market), group in groups.items():
        there = [
            pair for pair in group if pair.is_answered or pair.cell in waits or seen_in(pair.after, market)[0] == newest
        ]
        if any(pair.is_answered for pair in there) and len(there) < COVERAGE * len(group):
            what = "spot" if market == "spot" else "list"
            yield Fault(region, f"only {len(there)} of {len(group)} {what} prices were answered for")


def _implausible(pair: _Pair, now: float) -> str:
    """Why an answered price cannot be one; "" when it can."""
    text, (day, _, _) = pair.after[PRICES[pair.cell.market]], seen_in(pair.after, pair.cell.market)
    try:
        ahead = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() > now
    except ValueError:
        return f"{pair.cell.offer} has the date `{day}`"
    if ahead:
        return f"{pair.cell.offer} was seen on {day}, which is not yet"
    if not text:
        return ""
    if pair.new is None:
        return f"{pair.cell.offer}: {text} is not a price"
    row = pair.after
    shape = Shape(*pair.cell[:3], row.get("accelerator", ""), count(row), None, None)
    wrong = sentinel(shape, pair.new)
    return f"{pair.cell.offer} ({pair.cell.market}): {wrong}" if wrong else ""


def _bent(answered: Iterable[_Pair]) -> Iterator[Fault]:
    """TPU slices of one generation and region that were answered together at different prices for a chip."""
    groups: dict[tuple[str, bool, str, Market, str], list[Decimal]] = defaultdict(list)
    for pair in answered:
        kind, chips = pair.after.get("accelerator", ""), count(pair.after)
        if kind.startswith("tpu") and chips and pair.new is not None:
            is_pod = kind in ("tpu-v2", "tpu-v3") and chips > 4  # these two have a price list of their own for pods
            day = seen_in(pair.after, pair.cell.market)[0]
            groups[kind, is_pod, pair.cell.region, pair.cell.market, day].append(pair.new / chips)
    for (kind, _, region, market, _), prices in groups.items():
        if max(prices) > min(prices) * (1 + LINEAR):
            yield Fault(
                region, f"slices of {kind} ({market}) cost {min(prices):.4f} to {max(prices):.4f} per chip-hour"
            )


def _above_list(answered: Iterable[_Pair]) -> Iterator[Fault]:
    """Spot prices above the list price; of a TPU, such as are not below it."""
    for before, row in {id(pair.after): (pair.before, pair.after) for pair in answered}.values():
        listed = price_in(row, "on_demand") or price_in(before, "on_demand")  # the old one, where it is sold no more
        if _is_above(row, listed, price_in(row, "spot")):
            yield Fault(row["region"], f"{row['offer']} costs more on spot than by the list")


def _is_above(row: Row, listed: Decimal | None, spot: Decimal | None) -> bool:
    if listed is None or spot is None:
        return False
    return spot > listed or (spot == listed and row.get("accelerator", "").startswith("tpu"))


def _stands_above(pair: _Pair, kept: dict[Cell, Held]) -> bool:
    """Whether spot would be above list in its row because the other price of the row is held at its old figure."""
    other: Market = "on_demand" if pair.cell.market == "spot" else "spot"
    held = kept.get(pair.cell._replace(market=other))
    if held is None:
        return False
    spot, listed = (pair.new, held.old) if pair.cell.market == "spot" else (held.old, pair.new)
    return _is_above(pair.after, listed, spot)


def _alike(answered: Iterable[_Pair], accept_jumps: bool) -> Iterator[Fault]:
    """More than half of the prices jumping in one direction is an error of the unit, not of the market."""
    known = [pair for pair in answered if pair.old is not None and pair.new is not None]
    kinds = {(pair.after.get("accelerator"), pair.cell.region, pair.cell.market) for pair in known}
    for direction, word in ((1, "above"), (-1, "below")):
        jumping = sum((pair.leap if accept_jumps else pair.jump) == direction for pair in known)
        if len(kinds) >= FEW and 2 * jumping > len(known):
            yield Fault("", f"{jumping} of {len(known)} prices are far {word} the old ones, as if in another unit")


def _all_gone(answered: Iterable[_Pair]) -> Iterator[Fault]:
    """That nothing at all is sold any more is an error of the question, where it was many kinds of things."""
    known = [pair for pair in answered if pair.old is not None]
    kinds = {(pair.after.get("accelerator"), pair.cell.region, pair.cell.market) for pair in known}
    if len(kinds) >= FEW and all(pair.new is None for pair in known):
        yield Fault(
            "", f"none of {len(known)} prices is offered any more, as if it had been asked about something else"
        )


def _held(pair: _Pair, before: Held | None, now: float) -> Held | None:
    """The price as one that waits; None when a second answer, hours after the first, agrees with it."""
    assert pair.new is not None
    since = now
    if before is not None and before.since <= now:
        slack = SPOT_AGREES if pair.cell.market == "spot" else LIST_AGREES
        if abs(pair.new - before.new) <= slack * before.new:
            since = before.since
    if before is not None and since == before.since and now - since >= HELD_S:
        return None
    return Held(**pair.cell._asdict(), old=pair.old, new=pair.new, since=since)
