"""Answers of price interfaces with random damage: an error of the provider, or fewer prices, and none that nobody said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from random import Random
from typing import Any

import cloudtrain.pricing._http
import pytest

from cloudtrain.errors import ProviderError
from cloudtrain.listings import Listing
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.prices.azure import AzurePrices
from cloudtrain.simulator.prices.hotaisle import HotaislePrices
from cloudtrain.simulator.prices.vultr import VultrPrices
from cloudtrain.simulator.runpod import RunpodCloud
from tests import chance
from tests.pricing.price_tables import asked

FAKES: dict[str, Callable[[], Front]] = {
    "azure": AzurePrices,
    "hotaisle": HotaislePrices,
    "runpod": RunpodCloud,
    "runpod without a key": RunpodCloud,
    "vultr": VultrPrices,
}
ODD: tuple[Any, ...] = (None, True, "", "x", "-1", -1, 10**40, "NaN", [], {}, [None], {"": 0}, [[[]]], "\ud800")


@pytest.fixture(params=sorted(FAKES))
def damaged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Random]]:
    """A provider of which every answer has damage in some places."""
    random = Random(chance.seed(5))
    fake = FAKES[request.param]()
    for variable, value in fake.environment().items():
        monkeypatch.setenv(variable, value)
    if request.param.endswith("without a key"):
        monkeypatch.delenv("RUNPOD_API_KEY")
    monkeypatch.setattr(cloudtrain.pricing._http, "sleep", lambda seconds: None)
    honest = fake.answer

    def answer(asked: Request) -> Reply | None:
        reply = honest(asked)
        if reply is None or reply.status != 200:
            return reply
        return reply._replace(body=json.dumps(damage(json.loads(reply.body), random)).encode())

    monkeypatch.setattr(fake, "answer", answer)
    yield request.param.split()[0], random
    fake.stop()


def damage(document: Any, random: Random) -> Any:
    """The document with something odd in up to three places, or with something left out."""
    document = copy.deepcopy(document)
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        places = list(containers(document))
        if not places:
            return random.choice(ODD)
        where = random.choice(places)
        key = random.choice(list(where) if isinstance(where, dict) else range(len(where)))
        if random.random() < 0.2:
            del where[key]
        else:
            where[key] = copy.deepcopy(random.choice(ODD))
    return document


def containers(value: Any) -> Iterator[Any]:
    """Every list and object with something in it."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if inner:
        yield value
    for each in inner:
        yield from containers(each)


def test_damage_ends_in_an_error_or_in_fewer_prices(
    damaged: tuple[str, Random], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other error, no price of nothing, and the rest as it was said."""
    name, _ = damaged
    honest = truth(name)
    whole = 0
    for _ in range(chance.examples(40)):
        try:
            answers = [each for each in asked(name) if isinstance(each, Listing)]
        except ProviderError:
            continue
        whole += 1
        for each in answers:
            row = (each.offer, each.region, each.market)
            assert each.usd_per_hour is None or each.usd_per_hour in honest[row], each
    assert whole > 5


def truth(name: str) -> dict[tuple[str, str, str], set[Decimal]]:
    """What a row may cost: what its provider says undamaged, and of a list in which one stands in for another, that."""
    fake = FAKES[name]()
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in fake.environment().items():
            patch.setenv(variable, value)
        answers = [each for each in asked(name) if isinstance(each, Listing)]
    fake.stop()
    found = {(each.offer, each.region, each.market): {each.usd_per_hour} - {None} for each in answers}
    # An older meter where the newer is gone, and one of Windows or low priority that has lost the word for it.
    azure = {Decimal(text) for text in ("52", "96", "9.6", "12", "48", "14.4")}
    more = {"azure": azure, "hotaisle": {Decimal("2.21")}}.get(name, set())
    return {row: prices | more for row, prices in found.items()}  # type: ignore[misc]
