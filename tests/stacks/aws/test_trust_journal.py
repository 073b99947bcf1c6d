"""What the journal says is deleted only when it carries our tag: its lines may be somebody else's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.clock import Clock
from cloudtrain.state.store import LocalFolder
from tests.campaign.parts import crud, journal, recover
from tests.stacks._lifecycle.protocol_world import NoEngine
from tests.stacks.aws.aws_world import LINE, NOW, cloud_of_aws, make, plan


def test_an_id_of_the_journal_without_our_tag_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A colleague's machine whose id stands in two forged lines goes on running."""
    fake = AwsCloud(Clock(NOW))
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", "2,0.2,0.05,0.01")
    try:
        cloud = cloud_of_aws()
        victim = fake.machines[make(fake, cloud, plan("a-colleagues", LINE))["machine"][2].id]
        place = {"region": "us-east-1"}
        tags = {"cloudtrain-key": "nothing"}
        inputs = {"place": place, "role": "machine", "name": "no-such-name", "attempt": 1, "run": "mine", "tags": tags}
        create = {
            "call": "create",
            "number": "forged",
            "provider": "aws",
            "kind": "instance",
            "id": "",
            "inputs": inputs,
        }
        store = LocalFolder(tmp_path)
        for line in (
            {"phase": "intent", "call": "start", "attempt": 1},
            {"phase": "intent", **create},
            {"phase": "done", "number": "forged", "id": victim.id},
        ):
            store.append("runs/mine/journal.jsonl", json.dumps({"time": NOW - 999, **line}).encode())
        records = journal().Journal(store, "mine", fake.clock.now)
        world = crud().World("aws", cloud, records, fake.clock.now, fake.clock.sleep)
        proof = recover().recover(world, NoEngine(), 1)
        assert victim.state == "running"
        assert victim.id in proof.answer
    finally:
        fake.stop()
