"""Shared by the estimate tests: the measured rows as specs and options, and strategies for random models and options."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from cloudtrain.estimate.options import Options
from cloudtrain.models import registry
from cloudtrain.models.families import FAMILIES, sliding_layers
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec

DATA = Path(__file__).parent / "data"

# A shrunken LongCat that was measured beside the published models.
SCALED = Shape(
    family="longcat_flash",
    hidden=1536,
    layers=4,
    heads=16,
    kv_heads=16,
    head_dim=192,
    intermediate=3072,
    vocab=32768,
    tied=False,
    experts=64,
    top_k=12,
    zero_experts=32,
    expert_intermediate=512,
    q_rank=384,
    kv_rank=128,
    qk_nope=128,
    qk_rope=64,
    v_head=128,
)


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a data file."""
    with open(DATA / name, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def measured_spec(name: str) -> ModelSpec:
    """The model of a measured row. Lite was measured without its n-gram tables."""
    if name == "longcat-flash-scaled":
        return ModelSpec(name, name, SCALED)
    spec = registry.find(name)
    if name == "longcat-flash-lite":
        return replace(spec, shape=spec.shape._replace(family="longcat_flash", ngram_tables=0, ngram_projections=0))
    return spec


def measured_options(row: dict[str, str]) -> Options:
    """The options of a row of memory_truth.csv; `attn` there means q and v, and 4-bit experts a layer at a time."""
    return Options(
        method=row["method"],  # type: ignore[arg-type]
        sequence_length=int(row["seq"]),
        batch=int(row["batch"]),
        checkpointing=row["ckpt"] == "True",
        dtype=row["dtype"],  # type: ignore[arg-type]
        optimizer=row["optim"],  # type: ignore[arg-type]
        rank=int(row["rank"]),
        targets="qv" if row["targets"] == "attn" else "all-linear",
        loss=row["loss"],  # type: ignore[arg-type]
        grad_accum=int(row["ga"]),
        embed_fp32=row["embed_fp32"] == "True",
        experts_4bit=row["experts4bit"] == "True",
        expert_dequant="layer",
        attention=row["attn"],  # type: ignore[arg-type]
        dropout=float(row["dropout"]),
        train_layers=int(row["train_layers"] or 2),
        layers=int(row["layers"]) if row["layers"] else None,
    )


TPU_CHIPS = {"v5e": "tpu-v5e", "v6e": "tpu-v6e", "v5p": "tpu-v5p", "tpu7x": "tpu7x"}


def compiled_options(row: dict[str, str]) -> Options:
    """The options of a row of tpu_steps.csv: our TPU trainer's step."""
    return Options(
        method=row["method"],  # type: ignore[arg-type]
        quantisation=row["quantisation"] or "nf4",  # type: ignore[arg-type]
        sequence_length=int(row["seq"]),
        batch=int(row["batch"]),
        rank=int(row["rank"]),
        targets=row["targets"],  # type: ignore[arg-type]
        checkpointing=row["remat"] == "True",
        devices=int(row["devices"]),
        estimator="tpu",
        chip=TPU_CHIPS[row["chip"]],
    )


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    """Random models of every family, from toys to giants."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    traits = FAMILIES[family]
    heads = draw(st.integers(1, 16)) * 4
    head_dim = draw(st.sampled_from([64, 96, 128, 256]))
    layers = draw(st.integers(2, 80))
    sizes: dict[str, Any] = {}
    if traits.mla:
        sizes |= {"q_rank": draw(st.sampled_from([0, 384, 1536])), "kv_rank": 512}
        sizes |= {"qk_nope": head_dim - 32, "qk_rope": 32, "v_head": draw(st.sampled_from([64, 128]))}
    if traits.moe:
        experts = draw(st.integers(2, 256))
        zero = draw(st.integers(0, experts)) if family.startswith("longcat") else 0
        sizes |= {"experts": experts, "top_k": draw(st.integers(1, min(experts, 12))), "zero_experts": zero}
        sizes |= {"expert_intermediate": draw(st.integers(1, 64)) * 64}
    if family == "deepseek_v3":
        sizes |= {"shared_experts": draw(st.integers(0, 2)), "dense_layers": draw(st.integers(0, layers - 1))}
    if family == "longcat_flash_ngram":
        sizes |= {"ngram_tables": draw(st.integers(1, 10**10)), "ngram_projections": draw(st.integers(1, 10**7))}
    window = draw(st.sampled_from([0, 512, 4096]))
    shape = Shape(
        family=family,
        hidden=draw(st.integers(4, 128)) * 128,
        layers=layers,
        heads=heads,
        kv_heads=heads if traits.mla else draw(st.sampled_from([heads, heads // 4])),
        head_dim=head_dim,
        intermediate=draw(st.integers(4, 256)) * 128,
        vocab=draw(st.integers(1000, 262_144)),
        tied=draw(st.booleans()),
        attention_bias=traits.attention_bias,
        sliding_window=window,
        sliding_layers=sliding_layers(layers, window, traits.global_every),
        **sizes,
    )
    return ModelSpec("random", "", shape)


METHODS = ("full", "lora", "qlora", "dora", "freeze")
OPTIMIZERS = ("adamw", "adamw8bit", "adafactor", "sgd", "lion", "adamw_master", "adamw_foreach")


@st.composite
def options(draw: st.DrawFn, **fixed: Any) -> Options:
    """Random valid combinations; `fixed` options are kept."""
    choices: dict[str, st.SearchStrategy[Any]] = {
        "method": st.sampled_from(METHODS),
        "sequence_length": st.sampled_from([128, 1024, 2048, 8192]),
        "batch": st.integers(1, 16),
        "checkpointing": st.booleans(),
        "dtype": st.sampled_from(["bf16", "fp32", "amp"]),
        "optimizer": st.sampled_from(OPTIMIZERS),
        "rank": st.sampled_from([4, 16, 64]),
        "targets": st.sampled_from(["qv", "attention", "all-linear"]),
        "loss": st.sampled_from(["hf", "chunked"]),
        "grad_accum": st.integers(1, 8),
        "embed_fp32": st.booleans(),
        "experts_4bit": st.sampled_from([None, True, False]),
        "expert_dequant": st.sampled_from(["single", "layer"]),
        "attention": st.sampled_from(["sdpa", "eager"]),
        "dropout": st.sampled_from([0.0, 0.1]),
        "train_layers": st.integers(1, 4),
        "devices": st.integers(1, 16),
        "sharding": st.sampled_from(["fsdp", "zero2", "tp", "ep", "pp"]),
        "estimator": st.sampled_from(["torch", "tpu", "mlx"]),
        "adapter_dtype": st.sampled_from(["fp32", "bf16"]),
    }
    chips = {"torch": ["", "cpu-zen", "mi300x"], "tpu": ["", "tpu-v5e", "tpu7x"], "mlx": ["", "apple-m3-ultra"]}
    drawn = {name: draw(choice) for name, choice in choices.items() if name not in fixed}
    merged = drawn | fixed
    return Options(**({"chip": draw(st.sampled_from(chips[merged["estimator"]]))} | merged))
