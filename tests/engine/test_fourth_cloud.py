"""Adding a provider is one file in `stacks/` and one in `pricing/`: dropped in, everything works on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.client import ROOT, Client
from tests.stacks.tiny_cloud import TinyCloud, copy_with_tiny

pytestmark = pytest.mark.engine


def test_two_files_make_a_cloud(tmp_path: Path) -> None:
    """Quote, up, ps, sweep, down and doctor know the tiny cloud; not one line elsewhere was changed for it."""
    product, world = tmp_path / "product", tmp_path / "world"
    product.mkdir(), world.mkdir()
    fake = TinyCloud()
    client = Client(world, fake, PYTHONPATH=f"{copy_with_tiny(product)}:{ROOT}")
    quoted = client.run("quote", "smollm2-135m", "--infra", "tiny")
    assert "t1" in quoted.out
    fake.faults.add("create", "lost_reply")
    ended = client.up("--infra", "tiny", "--name", "mine")
    assert ended.code == 0, ended.err
    assert len(fake.machines) == 1
    assert "mine" in client.run("ps").out
    assert "not due" in client.run("sweep", "--provider", "tiny").out
    assert client.run("down", "mine").code == 0
    assert fake.ledger.running() == []
    assert client.up("--infra", "tiny", "--name", "again", "--new").code == 0
    (client.state / "runs").rename(client.state / "lost")
    client.environment["CLOUDTRAIN_NOW"] = str(fake.clock.now() + 2 * 3600)
    swept = client.run("sweep", "--provider", "tiny", "--yes", "--fail-if-found")
    assert swept.code == 1, swept.err
    assert fake.ledger.running() == []
    fake.stop()
