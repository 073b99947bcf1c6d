"""How old, from where, how many: what is said of each provider's price list."""

from __future__ import annotations

import pytest

from cloudtrain.prices import folder, install
from cloudtrain.prices.status import Status, status
from cloudtrain.quote import catalog
from tests.prices.answering import DAY, START, a_cell, answer_with, only, times


def of(name: str, now: float = START) -> Status:
    """What is said of one provider."""
    return next(found for found in status(now) if found.provider == name)


def test_a_shipped_list_says_its_ages_by_kind() -> None:
    """And how many of them `up` does not take unasked."""
    found = of("aws")
    assert (found.source, found.asked_at, found.held, found.left_out) == ("shipped", None, 0, "")
    assert {age.market: (age.youngest, age.oldest) for age in found.ages} == {"on_demand": (90, 181), "spot": (90, 181)}
    assert found.priced == sum(age.prices for age in found.ages) < found.rows
    assert all(age.stale for age in found.ages if age.market == "spot")


def test_a_refreshed_list_says_when_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price that waits is counted, and keeps its age."""
    cell = a_cell("aws", "spot")
    answer_with(monkeypatch, "aws", times("4", lambda other: other == cell), keyless=True)
    only("aws")
    found = of("aws", START + 4 * DAY)
    assert (found.source, found.asked_at, found.held) == ("refresh", START, 1)
    assert (found.can_be_asked, found.keyless) == (True, True)
    assert {age.market: (age.youngest, age.oldest, age.stale) for age in found.ages} == {
        "on_demand": (4, 4, 0),
        "spot": (4, 185, 1),
    }


def test_a_list_that_is_not_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped prices are what is told of."""
    answer_with(monkeypatch, "aws", times("1"))
    only("aws")
    (folder.refreshed()["aws"] / "aws.csv").write_bytes(b"")
    found = of("aws")
    assert (found.source, "damaged" in found.left_out) == ("shipped", True)
    assert install.manifest().lists


def test_a_named_catalogue_is_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every list."""
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(catalog.shipped()))
    assert {found.source for found in status(START)} == {str(catalog.shipped())}
    assert "local" not in {found.provider for found in status(START)}
