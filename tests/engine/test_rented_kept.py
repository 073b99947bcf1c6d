"""4-bit weights kept beside a rented run: the real trainer on one cloud, its machine taken back, the next one's start.

The quote takes the model for one of 8 B parameters, whose quantising takes minutes, because the client's folder says so;
the weights in the bucket, which the machines train on, are those of a tiny one.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.settings import cache_folder
from tests.campaign.client import Client
from tests.campaign.fork_server import ForkServer
from tests.engine.rented_world import SPOT, World, events, report, said, steps, wait_for, world
from tests.patience import PATIENCE_S
from tests.trainer_fixtures import demo_model, trainer_python, warm_python

__all__ = ["demo_model", "trainer_python", "warm_python"]
pytestmark = [pytest.mark.machine, pytest.mark.trainer]
NAME = "tiny-8b"
STEPS = 60
TINY = """
import sys, torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
source, target = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(source)
torch.manual_seed(0)
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
    bos_token_id=1, eos_token_id=2, pad_token_id=2)
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(target)
tokenizer.save_pretrained(target)
"""
LARGE = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}


@pytest.fixture
def amazon(tmp_path: Path, fork_server: ForkServer, warm_python: Path, demo_model: Path) -> Iterator[World]:
    """A cloud with the tiny model in its bucket."""
    subprocess.run([warm_python, "-c", TINY, demo_model, tmp_path / NAME], check=True, capture_output=True)
    with world("aws", tmp_path, fork_server) as made:
        for path in (tmp_path / NAME).iterdir():
            made.put(f"models/{NAME}/{path.name}", path.read_bytes())
        made.use_cache(cache_folder())
        yield made


def somebody(made: World) -> Client:
    """A client with a spec for a model that its folder calls large."""
    client = made.client("here")
    own = client.folder / NAME
    own.mkdir()
    config = json.loads((made.folder / NAME / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, **LARGE, "num_key_value_heads": 8, "head_dim": 128}))
    spec = f"model: {own}\nmethod: qlora\ndata: data.jsonl\nmax_steps: {STEPS}\nsequence_length: 128\n"
    (client.folder / "cloudtrain.yaml").write_text(spec + "checkpoint: {every: 1s}\n")
    return client


def fetched(made: World) -> list[list[int]]:
    """Bytes of each folder that each machine fetched."""
    told = [json.loads(data) for name, data in made.objects().items() if name.startswith("events.jsonl.d/")]
    found = sorted((event for event in told if event["event"] == "fetched"), key=lambda event: float(event["time"]))
    return [[each["bytes"] for each in found if each["attempt"] == attempt] for attempt in (1, 2)]


@pytest.mark.soak
def test_a_successor_loads_what_a_preempted_machine_kept(amazon: World) -> None:
    """It fetches pieces and no bf16 weights, quantises nothing, makes no step twice; at the end they are deleted."""
    client = somebody(amazon)
    process = client.begin(*amazon.up, SPOT["aws"])
    manifest: Any = wait_for(lambda: amazon.objects().get("quantised/manifest.json"), "the manifest", process)
    wait_for(lambda: json.loads(amazon.objects()["quantised/manifest.json"])["complete"], "all pieces", process)
    amazon.wait_for_step(3)
    (first,) = amazon.room.running
    pieces = json.loads(amazon.objects()["quantised/manifest.json"])["pieces"]
    amazon.take_back(first, 60.0)
    assert process.wait(PATIENCE_S) == 0, said(client)
    assert manifest
    assert amazon.both.leftovers() == []
    assert steps(amazon.log()) == list(range(1, STEPS + 1))
    assert len(events(amazon.log(), "start")) == 2
    assert amazon.log().count(b"4-bit weights: taken from ") == 1
    assert amazon.log().count(b" matrices made, ") == 1
    weights = (amazon.folder / NAME / "model.safetensors").stat().st_size
    first_fetched, second_fetched = fetched(amazon)
    assert sum(first_fetched) > weights
    assert second_fetched[0] == sum(piece["bytes"] for piece in pieces)
    assert second_fetched[1] < weights
    assert [machine["reason"] for machine in report(client)["machines"]] == ["preempted", "done"]
    assert not [name for name in amazon.objects() if name.startswith("quantised/")]
    assert amazon.objects_with_a_secret() == [name for name in amazon.objects_with_a_secret() if "tickets/" in name]
