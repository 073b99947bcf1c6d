"""With shipped prices of a hundred days ago `up` refuses them and says how they are renewed; then a whole job runs.

The lists are made older, not the clock moved: a client whose clock is ahead of its machines' waits for their signs of life.
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
    """A world `DAYS` after the product's price lists; after `silence` nobody can ask for prices, until `answer`."""

    def __init__(self, there: World, folder_: Path) -> None:
        self.world, self.cloud = there, there.fake
        self.provider = PROVIDERS[there.name]
        there.use_fake_trainer()
        product = folder_ / "product"
        product.mkdir()
        make_older(copy_of_the_product(product) / "pricing" / "snapshots" / f"{self.provider}.csv")
        self.catalogue: Any = None
        if self.provider == "aws":
            self.cloud.prices.page = 100
        if self.provider == "gcp":
            rows = table.parse(folder.shipped_file("gcp").read_bytes(), "gcp").rows
            self.catalogue = BillingCatalogue(with_noise(of_price_list(rows)), self.cloud.clock, page_size=1000)
        asked = self.catalogue.environment() if self.catalogue else {}
        self.client = there.client("here", **asked)
        del self.client.environment["CLOUDTRAIN_CATALOG"]  # with it no list is refreshed
        self.client.environment["PYTHONPATH"] = f"{product}:{self.client.environment['PYTHONPATH']}"
        self.up = [word for word in (*UP, "--max-hours", "1h", *there.cloud.words) if word != "--accept-stale"]

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
        made = Ahead(there, tmp_path)
        yield made
        made.stop()


@gate("mi300x", of=PROVIDERS, fixture="ahead")
def test_a_job_runs_at_prices_that_were_renewed(ahead: Ahead) -> None:
    """Without a refresh exit 2, which names the command, and nothing is rented; with it the job comes to its end."""
    client, renewing = ahead.client, ("prices", "refresh", "--provider", ahead.provider)
    ahead.silence()
    refused = client.run(*ahead.up)
    assert refused.code == 2, ahead.world.told(refused)
    assert f"`cloudtrain {' '.join(renewing)}` renews it" in refused.err
    assert ahead.world.cloud.create not in ahead.cloud.calls
    assert ahead.world.both.leftovers() == []
    ahead.answer()
    renewed = client.run(*renewing)
    assert renewed.code == 0, ahead.world.told(renewed)
    ahead.silence()  # what is renewed counts, also where nobody can ask again
    ended = client.run(*ahead.up)
    assert ended.code == 0, ahead.world.told(ended)
    assert (client.folder / "mine" / "adapter_config.json").exists()
    assert steps(ahead.world.log()) == list(range(1, 21))
    assert ahead.world.both.leftovers() == []
