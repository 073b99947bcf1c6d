"""A refresh: what is taken, what stays, what waits, and what a quote reads afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from decimal import Decimal

import pytest

from cloudtrain.errors import MissingCredentials, Unavailable, UsageError
from cloudtrain.listings import Answer, Listing, Shape, Unanswered, Unlisted
from cloudtrain.offer import Market
from cloudtrain.prices import folder, history, install, table
from cloudtrain.prices.refresh import refresh
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import catalog
from tests.prices.answering import (
    DAY,
    HOUR,
    SOURCE,
    START,
    a_cell,
    answer_with,
    current,
    listings,
    only,
    prices,
    same,
    shipped,
    times,
)


@pytest.mark.parametrize("name", ["aws", "gcp", "runpod"])
def test_an_answered_price_is_of_today(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prices, their day and who said so; every other cell of every row stays, and a quote reads the new list."""
    answer_with(monkeypatch, name, times("1.1"))
    outcome = only(name)
    before, after = prices(shipped(name)), prices(current(name))
    assert outcome.state == "renewed"
    assert outcome.taken == len(before) == len(after)
    assert all(after[cell] == usd * Decimal("1.1") for cell, usd in before.items())
    for row, old in zip(current(name).rows, shipped(name).rows, strict=True):
        new = {"od_usd_h", "spot_usd_h", "observed", "source", "confidence"}
        assert {column: cell for column, cell in row.items() if column in old.keys() - new} == {
            column: cell for column, cell in old.items() if column not in new
        }
    offers = list(load("pricing", name, PriceSource).offers(catalog.lists()))
    priced = [offer for offer in offers if offer.usd_per_hour is not None]
    assert {(offer.price.as_of, offer.price.confidence) for offer in priced} == {("2026-11-29", "VERIFIED")}
    assert all(SOURCE in offer.price.source for offer in priced)
    assert f" + {name} 2026-11-29 (" in catalog.version(folder.refreshed())


def test_a_region_that_does_not_answer_keeps_its_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what else was said of that region is not taken."""

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        yield from times("1.1")(rows, seconds)
        yield Unanswered("us-west-2", Unavailable("no answer"))

    answer_with(monkeypatch, "aws", answers)
    outcome = only("aws")
    old = [row for row in shipped("aws").rows if row["region"] == "us-west-2"]
    new = [row for row in current("aws").rows if row["region"] == "us-west-2"]
    assert [{k: row[k] for k in old[0]} for row in new] == old
    assert outcome.kept == sum(cell.region == "us-west-2" for cell in prices(shipped("aws")))
    assert [fault.region for fault in outcome.faults] == ["us-west-2"]
    assert {row["observed"] for row in current("aws").rows if row["od_usd_h"] and row not in new} == {"2026-11-29"}


def test_the_other_market_of_a_row_keeps_its_own_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """List prices answered, spot not: an offer under spot is as old as it was."""

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        yield from same(rows, seconds)
        yield Unanswered("", Unavailable("no answer"), "spot")

    answer_with(monkeypatch, "aws", answers)
    only("aws")
    days: dict[Market, set[str]] = {"on_demand": set(), "spot": set()}
    for offer in load("pricing", "aws", PriceSource).offers(catalog.lists()):
        if offer.usd_per_hour is not None:
            days[offer.market].add(offer.price.as_of)
    assert days == {"on_demand": {"2026-11-29"}, "spot": {"2026-08-31"}}


def test_what_is_not_offered_has_no_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note with the day instead of the old figure; once it is sold again the note is gone."""
    cell = a_cell("aws", "spot")
    gone = {**prices(shipped("aws")), cell: None}
    answer_with(monkeypatch, "aws", lambda rows, seconds: listings(gone))
    outcome = only("aws")
    row = next(row for other, row in current("aws").cells if other == cell)
    assert (outcome.gone, row["spot_usd_h"]) == (1, "")
    assert row["note"].endswith("spot not offered on 2026-11-29")
    assert [(change.new, change.market) for change in history.changes("aws")] == [(None, "spot")]
    answer_with(monkeypatch, "aws", same)
    only("aws", START + DAY)
    assert current("aws").rows[0]["note"] == shipped("aws").rows[0]["note"]
    assert prices(current("aws")) == prices(shipped("aws"))


def test_stock_is_written_into_the_note_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the day on which it was said."""
    for day, stock in ((0, "low"), (1, "high")):
        answer_with(
            monkeypatch, "runpod", lambda rows, seconds, stock=stock: [a._replace(stock=stock) for a in same(rows, 1)]
        )
        only("runpod", START + day * DAY)
    notes = [row["note"] for row in current("runpod").rows if row["od_usd_h"]]
    assert all(note.count("stock high on 2026-11-30") == 1 and "stock low on" not in note for note in notes)


def test_a_jump_waits_for_a_second_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old price with its old date until an answer at least six hours later agrees."""
    cell = a_cell("aws", "spot")
    answer_with(monkeypatch, "aws", times("4", lambda other: other == cell))
    old = next(row for other, row in shipped("aws").cells if other == cell)

    def seen() -> tuple[Decimal, str]:
        row = next(row for other, row in current("aws").cells if other == cell)
        return prices(current("aws"))[cell], table.seen_in(row, "spot")[0]

    assert [only("aws").held[0].new, *seen()] == [prices(shipped("aws"))[cell] * 4, Decimal("0.1551"), old["observed"]]
    only("aws", START + 5 * HOUR)
    assert seen() == (Decimal("0.1551"), old["observed"])
    assert only("aws", START + 6 * HOUR).held == ()
    assert seen() == (Decimal("0.1551") * 4, "2026-11-29")


def test_another_jump_begins_to_wait_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers that do not agree confirm nothing."""
    cell = a_cell("aws")
    for hours, factor in ((0, "1.3"), (7, "1.5"), (12, "1.5")):
        answer_with(monkeypatch, "aws", times(factor, lambda other: other == cell))
        assert only("aws", START + hours * HOUR).held
        assert prices(current("aws"))[cell] == prices(shipped("aws"))[cell]


def test_an_accepted_jump_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also right after a refresh that held it."""
    cell = a_cell("aws")
    answer_with(monkeypatch, "aws", times("1.3", lambda other: other == cell))
    only("aws")
    assert only("aws", START + 60, accept_jumps=True).held == ()
    assert prices(current("aws"))[cell] == prices(shipped("aws"))[cell] * Decimal("1.3")


def test_a_list_price_waits_with_the_spot_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the row would say that spot costs more than the list."""
    cell = next(
        c for c, usd in prices(shipped("aws")).items() if c.offer == "trn1.32xlarge" and c.region == "us-west-2"
    )
    row = (cell.offer, cell.region, cell.zones)
    answer_with(monkeypatch, "aws", times("1.3", lambda other: other[:3] == row))
    assert {price.market for price in only("aws").held} == {"on_demand", "spot"}


def test_one_unit_for_another_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than half of the prices jump alike: no list, nothing waits, and the old one counts."""
    answer_with(monkeypatch, "aws", times("1.5"))
    outcome = only("aws")
    assert outcome.state == "refused"
    assert "another unit" in outcome.faults[0].message
    assert folder.refreshed() == {}
    assert install.manifest().lists == {}


def test_a_region_answered_in_part_keeps_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than nine tenths of its prices."""
    few = {c: usd for n, (c, usd) in enumerate(prices(shipped("gcp")).items()) if c.region != "us-east5" or n % 3}
    answer_with(monkeypatch, "gcp", lambda rows, seconds: listings(few))
    outcome = only("gcp")
    assert {fault.region for fault in outcome.faults} == {"us-east5"}
    assert "2026-11-29" not in {row["observed"] for row in current("gcp").rows if row["region"] == "us-east5"}


def test_a_second_refresh_within_minutes_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty of them; a clock that was put back does not count as within."""
    asked = []

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        asked.append(len(rows))
        return same(rows, seconds)

    answer_with(monkeypatch, "aws", answers)
    states = [only("aws", START + minutes * 60).state for minutes in (0, 19, 21, 5)]
    assert states == ["renewed", "unchanged", "renewed", "renewed"]
    assert len(asked) == 3


def test_a_dry_run_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what would change."""
    answer_with(monkeypatch, "aws", times("1.1"))
    outcome = only("aws", dry_run=True)
    assert len(outcome.changes) == outcome.taken > 100
    assert not folder.folder().exists()


def test_one_providers_failure_touches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, an answer of another form, and one that never comes."""
    stop = threading.Event()

    def without_key(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        raise MissingCredentials("no key", "set one")

    def stalled(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        stop.wait(60)
        return []

    def broken(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        yield from same(rows, seconds)
        raise KeyError("price")

    monkeypatch.setattr("cloudtrain.prices.asking._GRACE_S", 0.2)
    for name, answers in (("aws", stalled), ("gcp", same), ("runpod", without_key)):
        answer_with(monkeypatch, name, answers)
    found = refresh(["runpod", "gcp", "aws"], now=START, timeout_s=0.1)
    stop.set()
    assert [(o.provider, o.state) for o in found] == [
        ("aws", "unanswered"),
        ("gcp", "renewed"),
        ("runpod", "no_credentials"),
    ]
    assert set(folder.refreshed()) == {"gcp"}
    answer_with(monkeypatch, "aws", broken)
    assert only("aws", START + DAY).state == "unanswered"


def test_everything_that_can_be_asked_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without names; what is sold and no row of ours is named, and not added."""

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        return [*same(rows, seconds), Unlisted("mi999", "us-east-1")]

    monkeypatch.setattr("cloudtrain.prices.refresh.refreshable", lambda: ["gcp", "runpod"])
    for name in ("gcp", "runpod"):
        answer_with(monkeypatch, name, answers)
    found = refresh(None, now=START)
    assert [(o.provider, o.unlisted[0].offer) for o in found] == [("gcp", "mi999"), ("runpod", "mi999")]
    assert len(current("gcp").rows) == len(shipped("gcp").rows)


def test_who_cannot_be_asked_is_named() -> None:
    """With the nearest that can; and where refreshed lists would not be read, nothing is asked."""
    with pytest.raises(UsageError, match="kaggle"):
        refresh(["kaggle"], now=START)


def test_a_named_catalogue_is_not_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would read it."""
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(catalog.shipped()))
    with pytest.raises(UsageError, match="CLOUDTRAIN_CATALOG"):
        refresh(["aws"], now=START)


def test_an_upgrade_takes_the_prices_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list over another shipped one is not read; the next refresh lays its newer prices over today's rows."""
    answer_with(monkeypatch, "aws", times("1.1"))
    only("aws")
    cut = folder.shipped_file("aws").read_bytes().splitlines(keepends=True)
    other = folder.folder().parent / "shipped.csv"
    other.write_bytes(b"".join(line for n, line in enumerate(cut) if n != 5))
    monkeypatch.setattr(folder, "shipped_file", lambda name: other)
    assert "another version" in folder.look().left_out["aws"]

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        yield from [answer for answer in same(rows, seconds) if answer.region == "us-east-1"]

    answer_with(monkeypatch, "aws", answers)
    only("aws", START + DAY)
    days = {(row["region"] == "us-east-1", row["observed"]) for row in current("aws").rows if row["od_usd_h"]}
    assert days == {(True, "2026-11-30"), (False, "2026-11-29")}
    assert len(current("aws").rows) == len(shipped("aws").rows) == len(cut) - 2


@pytest.mark.parametrize("usd", ["0", "-1", "700", "NaN", "1E+90"])
def test_a_figure_that_is_no_price_is_not_taken(usd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its region keeps everything; the others are renewed."""
    cell = a_cell("aws")
    answer_with(monkeypatch, "aws", lambda rows, s: listings({**prices(shipped("aws")), cell: Decimal(usd)}))
    outcome = only("aws")
    assert outcome.state == "renewed"
    assert {fault.region for fault in outcome.faults} == {cell.region}
    assert {row["observed"] for row in current("aws").rows if row["region"] == cell.region} == {
        "2026-06..08",
        "2026-07-20",
    }


def test_two_answers_for_one_price_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that comes twice is harmless; one that differs is not believed."""
    cell = a_cell("aws")
    usd = prices(shipped("aws"))[cell]
    for other, faults in ((usd, 0), (usd + 1, 1)):
        answer_with(monkeypatch, "aws", lambda rows, s, other=other: [*same(rows, s), Listing(*cell, other, SOURCE)])
        assert len(only("aws", START + faults * DAY).faults) == faults
