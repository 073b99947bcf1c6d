"""The job on a rented machine on the real engine, the same on every cloud that runs one, its state in a bucket beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.rented_world import World, steps, world

pytestmark = pytest.mark.engine


@pytest.fixture(params=["aws", "gcp", "mi300x"])
def each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each cloud in turn, with machines that run the fake trainer."""
    with world(request.param, tmp_path) as made:
        made.use_fake_trainer()
        yield made


def test_a_job_runs_to_its_end_and_comes_home(each: World) -> None:
    """Exit 0, the adapter here, the whole log, nothing left, no secret in the bucket."""
    client = each.client("here")
    ended = client.run(*each.up)
    assert ended.code == 0, each.told(ended)
    assert (client.folder / "mine" / "adapter_config.json").exists()
    assert each.both.leftovers() == []
    assert client.run("logs", "mine").out.encode() == each.log() == each.machine_logs()
    assert steps(each.log()) == list(range(1, 21))
    assert each.objects_with_a_secret() == []
