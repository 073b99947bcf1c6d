"""Refreshes with random faults and deaths: the list is whole, no price is made up, every day says who answered."""

from __future__ import annotations

from random import Random

import pytest

from cloudtrain.prices import folder
from cloudtrain.prices.table import as_bytes
from cloudtrain.providers import names
from tests import chance
from tests.prices import campaign
from tests.prices.answering import START, answer_with, current, only, same

LISTED = [name for name in names("pricing") if folder.shipped_file(name).is_file() and name not in ("colab", "kaggle")]


@pytest.mark.campaign
@pytest.mark.parametrize("name", LISTED)
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
