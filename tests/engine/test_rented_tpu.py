"""A run on TPUs of the fake Google cloud: JAX really trains there, on as many devices as the machine has chips."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.trainer import environment
from tests.campaign.client import Client
from tests.engine.rented_world import World, events, report, said, steps, wait_for, world
from tests.engine.test_rented_training import FORM, NAME, answer, demo, same_bytes, with_model
from tests.patience import PATIENCE_S
from tests.trainer_fixtures import demo_model, trainer_python, warm_python

__all__ = ["demo_model", "trainer_python", "warm_python"]
pytestmark = [pytest.mark.engine, pytest.mark.trainer]
METHOD = "method=lora"
WIDTH, INNER, LAYERS, HEADS, WORDS = 64, 128, 2, 4, 49152


def tiny(folder: Path, like: Path) -> Path:
    """A model that knows nothing, with another one's tokenizer; its weights are random and 6 MB."""
    folder.mkdir(parents=True)
    for path in like.iterdir():
        if path.suffix != ".safetensors" and path.name != "config.json":
            shutil.copy(path, folder)
    shape = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "head_dim": WIDTH // HEADS}
    shape |= {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "vocab_size": WORDS}
    rest = {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "hidden_act": "silu"}
    kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps({**kind, **shape, **rest, "max_position_embeddings": 2048}))
    layer = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH)}
    layer |= {"self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH)}
    layer |= {"mlp.down_proj": (WIDTH, INNER), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (WORDS, WIDTH), "model.norm.weight": (WIDTH,)}
    tensors |= {f"model.layers.{n}.{name}.weight": size for n in range(LAYERS) for name, size in layer.items()}
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


def write_safetensors(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """Random bf16 tensors: norms are ones, everything else about 0.05."""
    chance, header, data = random.Random(7), {}, b""
    noise = [struct.pack("<f", chance.gauss(0.0, 0.05))[2:] for _ in range(4093)]
    for name, size in tensors.items():
        count = size[0] * (size[1] if len(size) > 1 else 1)
        values = [b"\x80\x3f"] * count if "norm" in name else (noise * (count // len(noise) + 1))[:count]
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [len(data), len(data) + 2 * count]}
        data += b"".join(values)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.fixture
def tpu(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """One of the TPUs of one host; where JAX is not on this machine yet, it is fetched."""
    environment.ensure("jax", print)
    with world(request.param, tmp_path) as made:
        yield made


def chips(made: World) -> int:
    """Of the rented machine."""
    return int(made.cloud.words[-1].rpartition(":")[2])


def one(made: World) -> str:
    """The machine that runs."""
    (name,) = made.room.running
    return name


def finished(made: World, client: Client, last: int) -> None:
    """All steps were made once, the log is whole, nothing is left, and the account is for a TPU."""
    assert made.both.leftovers() == []
    assert same_bytes(made)
    assert steps(made.log()) == list(range(1, last + 1))
    assert (client.folder / "mine" / "adapter_model.safetensors").stat().st_size > 1000
    account = report(client)
    assert account["state"] == "finished"
    assert float(account["metered_usd"]) > 0
    for start in events(made.log(), "start"):
        assert (start["accelerator"], start["played_by"]) == ("tpu", "cpu")
        assert start["devices"]["count"] == chips(made)


# The gate's one training in JAX on a rented machine: preempted, on four chips that share rows and weights.
@pytest.mark.parametrize("tpu", ["v6e-4"], indirect=True)
def test_a_preempted_run_on_tpus_goes_on_elsewhere(tpu: World, demo_model: Path, tmp_path: Path) -> None:
    """On another machine, from the checkpoint, with what the first one compiled."""
    model, last = tiny(tmp_path / "made" / NAME, demo_model), 24
    client = demo(with_model(tpu, model), model, last, every="1s")
    process = client.begin(*tpu.up, "--spot", METHOD, "micro_batch=4", "grad_accum=1")
    wait_for(lambda: tpu.checkpoint() and tpu.room.running, "a checkpoint", process)
    tpu.take_back(one(tpu), 60.0)
    assert process.wait(PATIENCE_S) == 0, said(client)
    finished(tpu, client, last)
    resumed = [event["resumed_from"] for event in events(tpu.log(), "start")]
    assert resumed[0] == 0 < resumed[1]
    assert [machine["reason"] for machine in report(client)["machines"]] == ["preempted", "done"]
    compiled = {name.partition("/")[2] for name in tpu.objects() if name.startswith("compiled/")}
    assert compiled
    fetched = {path.name for path in tpu.boxes()[1].folder.glob("cloudtrain/*/run/compiled/*-cache")}
    assert compiled <= fetched


@pytest.mark.soak
@pytest.mark.parametrize("tpu", ["v6e", "v5e"], indirect=True)
def test_the_demo_trains_on_a_tpu_and_answers(tpu: World, warm_python: Path, demo_model: Path, tmp_path: Path) -> None:
    """A real model in JAX, preempted on the way; PEFT opens what comes home, and it answers in the new form."""
    last = 12
    client = demo(with_model(tpu, demo_model), demo_model, last)
    process = client.begin(*tpu.up, "--spot", METHOD)
    tpu.wait_for_step(4)
    tpu.take_back(one(tpu), 60.0)
    assert process.wait(PATIENCE_S) == 0, said(client)
    finished(tpu, client, last)
    assert FORM.fullmatch(answer(warm_python, demo_model, client.folder / "mine"))
