"""A machine that never speaks: its image is never pulled, say. It is ended, and another place is tried or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.fork_server import ForkServer
from tests.engine.rented_world import report, world

pytestmark = pytest.mark.campaign


def test_a_pod_whose_image_never_comes_is_given_back(tmp_path: Path, fork_server: ForkServer) -> None:
    """The provider calls it running and bills it; no word of it ever comes: exit 101 with the reason, nothing left."""
    with world("runpod", tmp_path, fork_server) as made:
        made.fake.pods.powered_on = lambda pod: True
        ended = made.client("here").run(*made.up, "--max-restarts", "0")
        assert ended.code == 101, made.told(ended)
        assert "no heartbeat for 60 s" in ended.err
        assert made.fake.calls.count("createPod") == 1
        assert made.both.leftovers() == []
        account = report(made.client("there"))
        (machine,) = account["machines"]
        assert machine["seconds"] >= 60
