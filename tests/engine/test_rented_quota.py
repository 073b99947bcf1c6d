"""`up` on TPUs of an account without quota: known before anything is asked for, and the next region is tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator.gcp.quotas import V6E_SPOT
from tests.campaign.fork_server import ForkServer
from tests.engine.rented_world import UP, World, world

pytestmark = pytest.mark.machine
HERE, THERE = "us-central1", "us-east5"
INSERT = "instances.insert"


@pytest.fixture
def google(tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    """A project at Compute Engine; what trains is a stand-in."""
    with world("v6e", tmp_path, fork_server) as made:
        made.use_fake_trainer()
        yield made


def words(*regions: str) -> tuple[str, ...]:
    """`up` on a spot v6e in one of the regions."""
    places = [part for region in regions for part in ("--infra", f"gcp/{region}")]
    return (*UP, "--max-hours", "1h", "--spot", "--hardware", "tpu-v6e:1", *places)


def test_without_quota_nothing_is_asked_for(google: World) -> None:
    """Exit 4, the quota's name, the page to ask on; no machine was made, and nothing is left."""
    google.fake.quotas.limits[V6E_SPOT.id, ""] = 0
    ended = google.client("here").run(*words(HERE))
    assert ended.code == 4, ended.err
    assert f"quota {V6E_SPOT.id} is 0 in {HERE}, and v6e-1 needs 1" in ended.err
    assert f"ask for more of {V6E_SPOT.id}: https://console.cloud.google.com/iam-admin/quotas" in ended.err
    assert INSERT not in google.fake.calls
    assert google.both.leftovers() == []


def test_a_region_with_quota_is_taken_instead(google: World) -> None:
    google.fake.quotas.limits |= {(V6E_SPOT.id, ""): 0, (V6E_SPOT.id, THERE): 1}
    ended = google.client("here").run(*words(HERE, THERE))
    assert ended.code == 0, google.told(ended)
    assert google.fake.calls.count(INSERT) == 1
    assert THERE in ended.out + ended.err
    assert google.both.leftovers() == []


def test_what_could_not_be_read_before_google_says(google: World) -> None:
    """Its own refusal ends with the same code and the same name."""
    google.fake.quotas.readable = False
    google.fake.quotas.limits[V6E_SPOT.id, ""] = 0
    ended = google.client("here").run(*words(HERE))
    assert ended.code == 4, ended.err
    assert f"Quota '{V6E_SPOT.id}' exceeded. Limit: 0.0 in region {HERE}" in ended.err
    assert f"ask for more of {V6E_SPOT.id} at " in ended.err
    assert google.both.leftovers() == []
