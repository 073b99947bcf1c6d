"""Whatever AWS's price interfaces answer: no price is made up, every page counts, and the asking ends."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from cloudtrain.errors import ProviderError
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.aws.price_api import DAY_S
from cloudtrain.simulator.aws.price_book import Change
from cloudtrain.simulator.aws.tables import Sold
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.price_faults import NAMES
from tests import chance
from tests.pricing.aws_prices import (
    CLOCK,
    HASTY,
    Prices,
    point_at,
    prices,
    refreshed,
    sold,
    true_prices,
    unanswered,
)

ROWS = (
    sold("trn1.2xlarge", "us-east-1", "use1-az5", usd=1.5, spot=0.21),
    sold("trn1.32xlarge", "us-east-1", "use1-az6", usd=21.5, spot=3.25),
    sold("trn1n.32xlarge", "us-east-1", "use1-az6", usd=24.5, spot=3.5),
    sold("dl1.24xlarge", "us-west-2", "usw2-az4", usd=13.1, spot=5.5),
)
SLOW = {"stalled", "dripping"}
NOT_OF_AWS = {"per_pod"}
HARMLESS_ONCE = {"throttled", "failing_page", "cut_body", "html", "empty_page", "expired_token", "other_number"}
UNSEEN = {  # a figure that only the gate can doubt
    "filler": {Decimal(700)},
    "spot_above_list": {Decimal("4.5"), Decimal("64.5"), Decimal("73.5"), Decimal("39.3")},
}


@pytest.fixture(scope="module")
def door() -> Iterator[AwsCloud]:
    """One server for the file."""
    fake = AwsCloud(Clock(CLOCK))
    yield fake
    fake.stop()


@pytest.fixture
def fake(door: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """A fake AWS that sells ROWS on pages of two."""
    return point_at(door, ROWS, monkeypatch)


def asked(rows: Any = ROWS, seconds: float = 120.0) -> tuple[Prices, set[tuple[str, str | None]]]:
    """Prices, and regions and markets without an answer; of one that cannot be asked at all, each is."""
    try:
        answers = refreshed(rows, seconds)
    except ProviderError:
        return {}, {(row.region, market) for row in rows for market in ("on_demand", "spot")}
    return prices(answers), unanswered(answers)


@pytest.mark.parametrize("name", sorted(NAMES - NOT_OF_AWS))
def test_a_lasting_fault_makes_up_no_price(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    if name in SLOW:
        monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", HASTY)
    fake.prices.faults.add(name)
    found, without = asked(seconds=1.0 if name in SLOW else 120.0)
    assert fake.prices.faults.happened
    assert len(fake.prices.requests) < 200
    wanted = true_prices(ROWS)
    for key, usd in found.items():
        gone = name in ("zero", "missing") and usd is None
        assert usd == wanted[key] or gone or usd in UNSEEN.get(name, set())
    assert all(key in found or (key[1], key[3]) in without for key in wanted)


@pytest.mark.parametrize("name", sorted(HARMLESS_ONCE))
def test_a_passing_fault_costs_no_price(fake: AwsCloud, name: Any) -> None:
    fake.prices.faults.add(name, 1)
    assert asked() == (true_prices(ROWS), set())
    assert fake.prices.faults.happened == [name]


@pytest.mark.parametrize("name", sorted(NAMES - NOT_OF_AWS - SLOW - HARMLESS_ONCE - {"zero", "missing", *UNSEEN}))
def test_a_fault_that_is_seen_leaves_old_prices(fake: AwsCloud, name: Any) -> None:
    fake.prices.faults.add(name, 1)
    found, without = asked()
    assert without
    assert found.items() <= true_prices(ROWS).items()


@pytest.mark.parametrize("number", range(chance.examples(8)))
def test_random_lists_are_answered_price_by_price(fake: AwsCloud, number: int) -> None:
    random = Random(chance.seed(number))
    rows = some_rows(random)
    book = fake.prices
    book.sold, book.page = rows, random.choice((1, 2, 3, 7, 100))
    book.several = random.choice(("commas", "commas", "refused", "literally"))
    changes = [change for row in rows for change in some_changes(random, row)]
    random.shuffle(changes)
    book.changes = changes
    found, without = asked(rows)
    assert without == set()
    assert found == true_prices(rows)


@pytest.mark.parametrize("number", range(chance.examples(12)))
def test_random_faults_make_up_no_price(fake: AwsCloud, number: int) -> None:
    random = Random(chance.seed(number))
    rows = some_rows(random)
    book = fake.prices
    book.sold, book.page = rows, random.choice((1, 2, 3))
    book.several = random.choice(("commas", "refused", "literally"))
    drawn = random.sample(sorted(NAMES - NOT_OF_AWS - SLOW), random.randint(1, 4))
    for name in drawn:
        book.faults.add(name, random.choice((1, 2, 5, 50)))  # type: ignore[arg-type]  # one of its names
    found, without = asked(rows)
    wanted = true_prices(rows)
    assert all(key in found or (key[1], key[3]) in without for key in wanted)
    for key, usd in found.items():
        gone = usd is None and {"zero", "missing"} & set(drawn)
        assert usd == wanted[key] or gone or set(UNSEEN) & set(drawn)


def some_rows(random: Random) -> list[Sold]:
    """Rows of a few types, each in a zone of its own, so that each has one spot price."""
    found = []
    for region, short in (("us-east-1", "use1"), ("us-west-2", "usw2")):
        for kind in range(random.randint(1, 5)):
            usd = random.choice((None, round(random.uniform(0.1, 90), 5)))
            for zone in random.sample(range(1, 5), random.randint(1, 3)):
                spot = random.choice((None, round(random.uniform(0.05, 40), 4)))
                found.append(sold(f"trn{kind}.xlarge", region, f"{short}-az{zone}", usd, spot))
    return found


def some_changes(random: Random, row: Sold) -> list[Change]:
    """The row's price as the newest of a few changes."""
    if row.spot_usd_per_hour is None:
        return []
    times = sorted(random.sample(range(1, 80), random.randint(1, 4)))
    figures = [Decimal(str(row.spot_usd_per_hour)), *(Decimal(random.randint(1, 99)) for _ in times[1:])]
    return [
        Change(row.type, row.region, row.zones[0], CLOCK - days * DAY_S, usd)
        for days, usd in zip(times, figures, strict=True)
    ]
