"""A provider whose true prices move, whose answers have faults, and a client that dies: what must hold of its list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest

from cloudtrain.errors import MissingCredentials, Unavailable
from cloudtrain.listings import Answer, Listing, Shape, Unanswered, Unlisted
from cloudtrain.prices import folder, history, install, table
from cloudtrain.prices.gate import reread
from cloudtrain.prices.records import Change, Held
from cloudtrain.prices.table import Cell, Table
from tests.prices.answering import DAY, HOUR, SOURCE, START, answer_with, current, only, prices, shipped
from tests.prices.dying import dies_at

Said = dict[Cell, Decimal | None]
PAUSES = (300.0, 1800.0, 3 * HOUR, 7 * HOUR, DAY, 20 * DAY)
CHANGING = {*table.PRICES.values(), *table.SEEN, "note"}
DEEPEST = 60  # steps on the disk of one refresh, and some more


class Provider:
    """What a provider says, and what of it is false: such figures must never be in the list."""

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.random = random
        self.truth: dict[Cell, Decimal] = dict(prices(shipped(name)))
        if not self.truth:  # shapes whose prices nobody has told us yet
            for cell, row in shipped(name).cells:
                self.truth[cell] = Decimal("1.4" if cell.market == "spot" else "2") * table.count(row)
        self.first = dict(self.truth)
        self.sources = {SOURCE}
        self.may_lose = False  # what is left out of an answer is called unsold, and rightly so
        self.rows = {cell: row for cell, row in shipped(name).cells}
        self.said: Said = {}
        self.false: set[tuple[Cell, Decimal | None]] = set()
        self.silent: set[Cell] = set()

    def move(self) -> None:
        """Some prices of today are others: one factor for all that must stay in proportion."""
        factors: dict[tuple[str, str, str], Decimal] = {}
        for cell, usd in self.first.items():
            kind = (self.rows[cell]["accelerator"], cell.region, cell.market)
            choices = (
                ("1", "1", "0.6", "1.9", "3.5") if cell.market == "spot" else ("1", "1", "1.02", "0.9", "1.2", "1.4")
            )
            self.truth[cell] = usd * factors.setdefault(kind, Decimal(self.random.choice(choices)))
        for cell, usd in self.truth.items():  # spot never above list: back to the share that it began with
            twin = cell._replace(market="on_demand")
            if cell.market == "spot" and twin in self.truth and usd >= self.truth[twin]:
                self.truth[cell] = self.truth[twin] * self.first[cell] / self.first[twin]

    def answers(self, rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        """What it says this time."""
        if self.error is not None:
            raise self.error
        yield from self.extra
        for cell, usd in self.said.items():
            yield Listing(*cell, usd, SOURCE, self.random.choice(("", "low", "none")))

    def speak(self) -> list[str]:
        """Decide what it says next, with one fault or two; their names."""
        self.said = dict(self.truth)
        self.false, self.silent = set(), set()
        self.extra: list[Answer] = []
        self.error: Exception | None = None
        names = self.random.sample(sorted(FAULTS), self.random.choice((0, 1, 1, 2)))
        for name in names:
            FAULTS[name](self)
        return names

    def some(self, share: float = 0.1) -> list[Cell]:
        """A few of its prices."""
        return self.random.sample(sorted(self.truth), max(1, int(share * len(self.truth))))

    def lie(self, cell: Cell, usd: Decimal) -> None:
        """Say a figure that is no price of it."""
        self.said[cell] = usd
        self.false.add((cell, usd))


def _figure(usd: str) -> Callable[[Provider], None]:
    def fault(provider: Provider) -> None:
        for cell in provider.some(0.02):
            provider.lie(cell, Decimal(usd))

    return fault


def _silent_region(provider: Provider) -> None:
    (cell,) = provider.random.sample(sorted(provider.truth), 1)
    provider.extra.append(Unanswered(cell.region, Unavailable("no answer")))
    provider.silent |= {other for other in provider.truth if other.region == cell.region}


def _silent_market(provider: Provider) -> None:
    provider.extra.append(Unanswered("", Unavailable("no answer"), "spot"))
    provider.silent |= {cell for cell in provider.truth if cell.market == "spot"}


def _missing(provider: Provider) -> None:
    for cell in provider.some(0.4):
        provider.said.pop(cell, None)


def _above_list(provider: Provider) -> None:
    for cell in provider.some(0.05):
        listed = provider.truth.get(cell._replace(market="on_demand"))
        if cell.market == "spot" and listed:
            provider.lie(cell, listed * 3)


def _another_unit(provider: Provider) -> None:
    """Of everything: nothing of it may be taken, unless the provider has too little to tell by."""
    provider.said = {cell: usd and usd * 100 for cell, usd in provider.said.items()}
    kinds = {(provider.rows[cell]["accelerator"], cell.region, cell.market) for cell in provider.truth}
    if len(kinds) >= 4:
        provider.false |= set(provider.said.items())


def _per_pod(provider: Provider) -> None:
    for cell in provider.truth:
        row = provider.rows[cell]
        if row["accelerator"].startswith("tpu") and table.count(row) > 8 and provider.said.get(cell):
            provider.lie(cell, provider.truth[cell] / table.count(row))


def _jump(provider: Provider) -> None:
    for cell in provider.some(0.02):
        provider.said[cell] = provider.truth[cell] * Decimal("1.7")


def _gone(provider: Provider) -> None:
    for cell in provider.some(0.05):
        provider.said[cell] = None


def _twice(provider: Provider) -> None:
    for cell in provider.some(0.03):
        provider.extra.append(Listing(*cell, provider.truth[cell] + 1, SOURCE))
        provider.silent |= {other for other in provider.truth if other.region == cell.region}


def _strangers(provider: Provider) -> None:
    (cell,) = provider.random.sample(sorted(provider.truth), 1)
    provider.extra += [Unlisted("new machine", "r"), Listing("not ours", "r", "", "spot", Decimal(1), SOURCE)]
    provider.extra.append(Listing(*cell[:3], "owned", Decimal(1), SOURCE))


def _raises(error: Exception) -> Callable[[Provider], None]:
    def fault(provider: Provider) -> None:
        provider.error = error
        provider.silent = set(provider.truth)

    return fault


FAULTS: dict[str, Callable[[Provider], None]] = {
    "zero": _figure("0"),
    "filler": _figure("700"),
    "negative": _figure("-1"),
    "no number": _figure("NaN"),
    "endless": _figure("Infinity"),
    "silent region": _silent_region,
    "silent market": _silent_market,
    "missing": _missing,
    "spot above list": _above_list,
    "another unit": _another_unit,
    "per pod": _per_pod,
    "jump": _jump,
    "gone": _gone,
    "twice": _twice,
    "strangers": _strangers,
    "no answer": _raises(Unavailable("no answer")),
    "no key": _raises(MissingCredentials("no key")),
    "another form": _raises(KeyError("price")),
}


def run(name: str, rounds: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """So many refreshes with faults and deaths, each checked; how often what happened."""
    provider = Provider(name, Random(seed))

    def speak(now: float) -> list[str]:
        provider.move()
        faults = provider.speak()
        answer_with(monkeypatch, name, provider.answers)
        return faults

    return played(provider, speak, rounds)


def played(
    provider: Provider, speak: Callable[[float], list[str]], rounds: int, timeout_s: float = 60.0
) -> dict[str, int]:
    """The same for any provider; `speak` makes it ready for the next question, and names the faults that it has."""
    name, random = provider.name, provider.random
    counts: dict[str, int] = {}
    now = START
    for number in range(rounds):
        now += random.choice(PAUSES)
        accept = random.random() < 0.05
        faults = speak(now)
        before, held = current(name), held_of(name)

        def refreshed(now: float = now, accept: bool = accept) -> str:
            return only(name, now, accept_jumps=accept, timeout_s=timeout_s).state

        if random.random() < 0.4:
            state = "died" if dies_at(random.randrange(1, DEEPEST), refreshed) else "survived"
        else:
            state = refreshed()
        for each in (*faults, state):
            counts[each] = counts.get(each, 0) + 1
        wrong = list(broken(provider, before, held, now, accept))
        assert not wrong, (name, number, faults, state, wrong[:3])
    return counts


def held_of(name: str) -> dict[Cell, Held]:
    """The prices that wait."""
    entry = install.manifest().lists.get(name)
    return {_cell_of(price): price for price in entry.held} if entry else {}


def _cell_of(price: Held | Change) -> Cell:
    return Cell(price.offer, price.region, price.zones, "spot" if price.market == "spot" else "on_demand")


def broken(provider: Provider, before: Table, held: dict[Cell, Held], now: float, accept: bool) -> Iterator[str]:
    """What does not hold of the list that counts now."""
    name = provider.name
    if folder.look().left_out:
        yield f"a list is damaged: {folder.look().left_out}"
    if name in folder.refreshed():
        reread(name, folder.refreshed()[name])
    after = current(name)
    fixed = [column for column in shipped(name).columns if column not in CHANGING]
    for old, new, base in zip(before.rows, after.rows, shipped(name).rows, strict=True):
        if any(new[column] != base[column] for column in fixed) or not new["note"].startswith(base["note"]):
            yield f"another machine: {new}"
        for market in table.PRICES:
            cell = Cell(old["offer"], old["region"], old["zones"], market)
            confirmed = provider.may_lose and (
                accept or cell in held
            )  # the same lie twice is believed, or when told to
            if not (confirmed and jumps(cell, table.price_in(old, market), table.price_in(new, market))):
                yield from made_up(provider, cell, old, new, now)
            was, now_is = table.price_in(old, market), table.price_in(new, market)
            if not accept and jumps(cell, was, now_is) and not (cell in held and now - held[cell].since >= 6 * HOUR):
                yield f"{cell} jumped from {was} to {now_is} at once"
    known, there = {_cell_of(change): change.new for change in history.changes(name)}, prices(after)
    for cell, usd in known.items():
        if there.get(cell) != usd:
            yield f"the history ends with {usd} for {cell}, and the list has {there.get(cell)}"


def made_up(provider: Provider, cell: Cell, old: table.Row, new: table.Row, now: float) -> Iterator[str]:
    """What is new of a price and was not said by its provider just now, for what it is."""
    was, now_is, seen = (
        table.price_in(old, cell.market),
        table.price_in(new, cell.market),
        table.seen_in(new, cell.market),
    )
    if was == now_is and (now_is is None or seen == table.seen_in(old, cell.market)):
        return
    if provider.said.get(cell, "nothing") != now_is and not (provider.may_lose and now_is is None):
        yield f"invented: {cell} is {now_is}, was {was}, said {provider.said.get(cell, 'nothing')}"
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    if now_is is not None and (seen[0] != today or seen[1] not in provider.sources):
        yield f"{cell} was said today, and the list has {seen}"
    if (cell, now_is) in provider.false or cell in provider.silent:
        yield f"{cell} is {now_is}, which must not be taken"


def jumps(cell: Cell, was: Decimal | None, now_is: Decimal | None) -> bool:
    """Whether the step is one that a second answer must confirm."""
    if was is None or now_is is None:
        return False
    if cell.market == "spot":
        return now_is > 3 * was or 3 * now_is < was
    return abs(now_is / was - 1) > Decimal("0.25")
