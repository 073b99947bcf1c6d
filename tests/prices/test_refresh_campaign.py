"""Refreshes with random faults and deaths: the list is whole, no price is made up, every day says who answered."""

from __future__ import annotations

from random import Random

import pytest

from cloudtrain.listings import Listing
from cloudtrain.prices import folder
from cloudtrain.prices.refresh import refreshable
from cloudtrain.prices.table import as_bytes, shapes
from cloudtrain.providers import PriceSource, load, names
from cloudtrain.simulator.price_faults import ALWAYS, FIGURES, NAMES
from tests import chance
from tests.prices import campaign
from tests.prices.answering import START, answer_with, current, only, same, shipped
from tests.prices.faked import FAKES, standing

LISTED = [name for name in names("pricing") if folder.shipped_file(name).is_file() and name not in ("colab", "kaggle")]
KNOWN = ("aws", "gcp", "runpod")  # whose lists have prices


@pytest.mark.campaign
@pytest.mark.parametrize("name", KNOWN)
def test_some_refreshes_with_faults_and_deaths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of what the soak does; most of them renew something."""
    counts = campaign.run(name, 6, chance.seed(5), monkeypatch)
    assert counts["renewed"]


@pytest.mark.campaign
@pytest.mark.soak
@pytest.mark.parametrize("name", LISTED)
def test_five_hundred_refreshes_with_faults_and_deaths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault has happened."""
    counts = campaign.run(name, 500, chance.seed(500), monkeypatch)
    assert set(campaign.FAULTS) <= counts.keys()
    assert counts["renewed"] > 100
    assert counts["died"] > 50


def test_the_campaign_sees_a_price_that_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell of the list that counts is changed behind its back."""
    provider = campaign.Provider("aws", Random(1))
    provider.speak()
    answer_with(monkeypatch, "aws", same)
    before = current("aws")
    only("aws")
    provider.said, provider.false, provider.silent = dict(provider.truth), set(), set()
    assert list(campaign.broken(provider, before, {}, START, False)) == []
    rows = [dict(row) for row in current("aws").rows]
    rows[0]["od_usd_h"] = "1.11"
    text = as_bytes(current("aws")._replace(rows=tuple(rows)))
    monkeypatch.setattr(campaign, "current", lambda name: campaign.table.parse(text, name))
    assert "invented" in next(iter(campaign.broken(provider, before, {}, START, False)))


def through_its_fake(name: str, rounds: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The campaign against a provider's own interface, whose prices stay and whose answers have every fault there is."""
    random = Random(seed)
    provider = campaign.Provider(name, random)
    source = load("pricing", name, PriceSource).refresh
    assert source is not None
    with standing(name, monkeypatch) as faked:
        monkeypatch.setenv("CLOUDTRAIN_NOW", str(START))
        answers = [each for each in source(shapes(shipped(name).rows), 60.0) if isinstance(each, Listing)]
        provider.said = {campaign.Cell(*each[:4]): each.usd_per_hour for each in answers}
        provider.sources = {each.source for each in answers}
        provider.may_lose = True

        def speak(now: float) -> list[str]:
            monkeypatch.setenv("CLOUDTRAIN_NOW", str(now))
            faked.server.clock.advance(now - faked.server.clock.now())
            faked.faults.clear()
            names = random.sample(sorted(NAMES), random.choice((0, 1, 1, 2)))
            figures = [each for each in names if each in FIGURES]
            names = [each for each in names if each not in figures[1:]]  # two lies may agree with each other
            for each in names:
                faked.faults.add(each, random.choice((1, 3, ALWAYS)))  # type: ignore[arg-type]
            return names

        return campaign.played(provider, speak, rounds, timeout_s=2.0)


def test_every_source_that_can_be_asked_has_a_fake() -> None:
    """So that the campaign plays all of them."""
    assert set(refreshable()) == set(FAKES)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["azure", "runpod"])
def test_some_refreshes_through_a_fake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few of what the soak does."""
    assert through_its_fake(name, 5, chance.seed(3), monkeypatch)["renewed"]


@pytest.mark.campaign
@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(FAKES))
def test_five_hundred_refreshes_through_a_fake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault has been asked for."""
    counts = through_its_fake(name, 500, chance.seed(77), monkeypatch)
    assert set(NAMES) <= counts.keys()
    assert counts["renewed"] > 50
