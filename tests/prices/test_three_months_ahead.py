"""With prices that are all too old, a refresh from the providers' own interfaces is what makes them startable again."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from cloudtrain.prices.refresh import refresh
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import ages, catalog
from tests.prices.answering import DAY, START
from tests.prices.faked import FAKES, standing

LATER = START + 100 * DAY


@pytest.mark.parametrize("name", [name for name in FAKES if name in ("aws", "gcp", "runpod", "digitalocean")])
def test_a_refresh_makes_old_prices_startable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it `up` refuses each of them; afterwards those that were answered, of that very day."""
    priced = [offer for offer in load("pricing", name, PriceSource).offers(catalog.lists()) if offer.usd_per_hour]
    assert all(ages.is_refused(offer, LATER) for offer in priced)
    with standing(name, monkeypatch) as faked:
        faked.server.clock.advance(LATER - START)
        monkeypatch.setenv("CLOUDTRAIN_NOW", str(LATER))
        (outcome,) = refresh([name], now=LATER)
    offers = [offer for offer in load("pricing", name, PriceSource).offers(catalog.lists()) if offer.usd_per_hour]
    day = datetime.fromtimestamp(LATER, UTC).date().isoformat()
    fresh = [offer for offer in offers if not ages.is_refused(offer, LATER)]
    assert len(fresh) == outcome.taken > 0
    assert {offer.price.as_of for offer in fresh} == {day}


@pytest.mark.soak
def test_everything_is_refreshed_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """All providers at once against fakes that answer at once: under 10 s and 200 MiB."""
    program = (
        "import json, resource, time; begin = time.monotonic()\n"
        "from cloudtrain.prices.refresh import refresh\n"
        f"found = [outcome.state for outcome in refresh(None, now={START})]\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(json.dumps([found, time.monotonic() - begin, used]))\n"
    )
    monkeypatch.setenv("CLOUDTRAIN_NOW", str(START))
    with ExitStack() as stack:
        for name in FAKES:
            stack.enter_context(standing(name, monkeypatch))
        said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    states, seconds, mib = json.loads(said)
    assert states == ["renewed"] * len(FAKES)
    assert seconds < 10
    assert mib < 200
