"""A hundred days after the price lists `up` refuses them and says how they are renewed; once they are, it rents.

For a whole job the lists are older, not the clock ahead: a client whose clock is ahead of its machines' would wait for
their signs of life. A machine without a job is rented with the clocks of cloud and client ahead.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.prices import folder, table
from cloudtrain.simulator.gcp.price_catalogue import KEY, BillingCatalogue
from cloudtrain.simulator.gcp.price_skus import of_price_list, with_noise
from tests.engine.pairs import gate
from tests.engine.rented_world import CLOUDS, UP, Cloud, World, fake, steps, world
from tests.product_copy import copy_of_the_product

pytestmark = pytest.mark.engine
DAYS = 100  # list prices are refused after 90, spot prices after 14
PROVIDERS = {"aws": "aws", "gcp": "gcp", "mi300x": "runpod", "mi350x": "digitalocean"}
DROPLETS = Cloud(
    fake("digitalocean", "DigitaloceanCloud"),
    ("--infra", "digitalocean", "--hardware", "mi350x", "--spot", "--accept-risk"),
    "createDroplet",
    "rocm",
)
MANY = 1000


def make_older(path: Path) -> None:
    """Let every price of a list be seen `DAYS` ago."""
    day = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
    with open(path, newline="") as file:
        header, *lines = list(csv.reader(file))
    seen = header.index("observed")
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *([*e[:seen], day, *e[seen + 1 :]] for e in lines)])


class Ahead:
    """A world in which prices are `DAYS` old, by one of two ways; after `silence` nobody can ask, until `answer`."""

    def __init__(self, there: World) -> None:
        self.world, self.cloud = there, there.fake
        self.provider = PROVIDERS[there.name]
        self.catalogue: Any = None
        if self.provider == "aws":
            self.cloud.prices.page = 100
        if self.provider == "gcp":
            rows = table.parse(folder.shipped_file("gcp").read_bytes(), "gcp").rows
            self.catalogue = BillingCatalogue(with_noise(of_price_list(rows)), self.cloud.clock, page_size=1000)
        asked = self.catalogue.environment() if self.catalogue else {}
        self.client = there.client("here", **asked)
        del self.client.environment["CLOUDTRAIN_CATALOG"]  # with it no list is refreshed
        self.up = [word for word in (*UP, "--max-hours", "1h", *there.cloud.words) if word != "--accept-stale"]

    def make_lists_older(self, place: Path) -> None:
        """The client uses a copy of the product, whose prices were seen long ago."""
        make_older(copy_of_the_product(place) / "pricing" / "snapshots" / f"{self.provider}.csv")
        self.client.environment["PYTHONPATH"] = f"{place}:{self.client.environment['PYTHONPATH']}"

    def move_clocks(self) -> None:
        """The cloud is that much later, and the client's clock stands there."""
        self.cloud.clock.advance(DAYS * 86400.0)
        self.client.environment["CLOUDTRAIN_NOW"] = str(self.cloud.clock.now())

    def comes_to_an_end(self, *words: str) -> None:
        """`up` is refused, the prices are renewed, `up` succeeds, although nobody can ask again."""
        up, renewing = (*self.up, *words), ("prices", "refresh", "--provider", self.provider)
        self.silence()
        refused = self.client.run(*up)
        assert refused.code == 2, self.world.told(refused)
        assert f"`cloudtrain {' '.join(renewing)}` renews it" in refused.err
        assert self.world.cloud.create not in self.cloud.calls
        assert self.world.both.leftovers() == []
        self.answer()
        renewed = self.client.run(*renewing)
        assert renewed.code == 0, self.world.told(renewed)
        self.silence()
        ended = self.client.run(*up)
        assert ended.code == 0, self.world.told(ended)

    def silence(self) -> None:
        """From now on nobody may ask for prices."""
        if self.catalogue:
            self.catalogue.keys.clear()
        elif self.provider == "aws":
            self.cloud.prices.faults.add("clock_skew")
        else:
            call = {"runpod": "listGpuTypes", "digitalocean": "listSizes"}[self.provider]
            self.cloud.faults.add(call, "permission", times=MANY)

    def answer(self) -> None:
        """From now on they are told."""
        if self.catalogue:
            self.catalogue.keys.add(KEY)
        elif self.provider == "aws":
            self.cloud.prices.faults.clear()
        else:
            self.cloud.faults.clear()

    def stop(self) -> None:
        """Close the door of prices."""
        if self.catalogue:
            self.catalogue.stop()


@pytest.fixture
def ahead(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ahead]:
    """Each cloud in turn."""
    monkeypatch.setitem(CLOUDS, "mi350x", DROPLETS)
    with world(request.param, tmp_path) as there:
        made = Ahead(there)
        yield made
        made.stop()


@gate("mi300x", of=PROVIDERS, fixture="ahead")
def test_a_job_runs_at_prices_that_were_renewed(ahead: Ahead, tmp_path: Path) -> None:
    """Without a refresh exit 2, which names the command, and nothing is rented; with it the job comes to its end."""
    ahead.world.use_fake_trainer()
    ahead.make_lists_older(tmp_path / "product")
    ahead.comes_to_an_end()
    assert (ahead.client.folder / "mine" / "adapter_config.json").exists()
    assert steps(ahead.world.log()) == list(range(1, 21))
    assert ahead.world.both.leftovers() == []


@gate(of=PROVIDERS, fixture="ahead")
def test_a_machine_is_rented_at_prices_of_a_later_day(ahead: Ahead) -> None:
    """The same with clocks that were moved, up to the machine and its end."""
    ahead.cloud.machines_run = False
    ahead.move_clocks()
    ahead.comes_to_an_end("--machine-only")
    assert ahead.cloud.ledger.running()
    down = ahead.client.run("down", "mine")
    assert down.code == 0, ahead.world.told(down)
    assert ahead.world.both.leftovers() == []
