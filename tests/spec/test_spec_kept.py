"""What a spec comes to: its batch, its identity, the starter that `init` writes, and the record kept with a run."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hypothesis import given

from cloudtrain.spec.messages import known_keys
from cloudtrain.spec.schema import Spec, parse
from cloudtrain.spec.starter import starter
from tests.spec.valid_specs import NAMES, TEXTS, specs

SHORT = "model: llama-3.1-8b\ndata: rows.jsonl\n"
FOLDER = Path("/project")


def read(text: str, *overrides: str) -> Spec:
    return parse(text, "cloudtrain.yaml", FOLDER, overrides)


def test_batch_tokens_become_micro_batches() -> None:
    """Tokens per optimizer step are rounded up to whole micro-batches."""
    assert read(SHORT + "batch_tokens: 10000").accumulation_steps == 5
    assert read(SHORT + "batch_tokens: 10000\nmicro_batch: 2").accumulation_steps == 3
    assert read(SHORT + "grad_accum: 7").accumulation_steps == 7


def test_a_step_has_the_sequences_that_the_spec_says() -> None:
    """One where it says nothing; whatever a machine takes at once."""
    found = ("", "grad_accum: 7", "micro_batch: 3", "micro_batch: 3\ngrad_accum: 2", "batch_tokens: 16384",
             "batch_tokens: 10000\nmicro_batch: 2")  # fmt: skip
    assert [read(SHORT + text).step_sequences for text in found] == [1, 7, 3, 6, 8, 6]


def test_a_left_out_micro_batch_counts_as_one() -> None:
    """Also as earlier versions have computed it, where 1 was the default; what is kept leaves it out again."""
    for rest in ("", "grad_accum: 8\n", "batch_tokens: 9000\n"):
        without, one = read(SHORT + rest), read(SHORT + rest + "micro_batch: 1")
        assert without.identity() == one.identity()
        assert read(without.to_yaml()).micro_batch is None
        assert read(SHORT + rest + "micro_batch: 2").identity() != one.identity()
    assert read(SHORT + "grad_accum: 8").identity() != read(SHORT).identity()
    known = "e54a9bae033c2270ae593f78e73a9cd698513b14d4a66ab664132d8dd571f5fd"
    assert read(SHORT).identity() == known


def test_identity_is_what_decides_the_result() -> None:
    """Budget, checkpoints, reports, ignored parts and data paths leave it; every other field changes it."""
    same = read(SHORT).identity()
    assert re.fullmatch(r"[0-9a-f]{64}", same)
    for line in (
        "budget: {max_cost: 1}",
        "checkpoint: {every: 1h}",
        "report: tensorboard",
        "train_layers: 9",
        "lr: 2e-4",
        "expert_capacity: 2",
    ):
        assert read(SHORT + line).identity() == same
    assert read(SHORT, "data=elsewhere.jsonl").identity() == same
    for line in ("lr: 3e-4", "seed: 1", "lora: {rank: 8}", "method: lora", "revision: x", "packing: no", "epochs: 2"):
        assert read(SHORT + line).identity() != same
    assert read(SHORT + "expert_capacity: 3").identity() != same
    full = read(SHORT + "method: full").identity()
    assert read(SHORT + "method: full\nlora: {rank: 8}").identity() == full
    assert read(SHORT + "method: freeze\ntrain_layers: 9").identity() != read(SHORT + "method: freeze").identity()


def test_the_starter_shows_the_defaults() -> None:
    """What `cloudtrain init` writes loads to the defaults and mentions every field once, with a comment."""
    text = starter("llama-3.1-8b", "rows.jsonl")
    assert read(text) == read(SHORT)
    assert float(re.findall(r"# lr: (\S+)", text)[0]) == read(SHORT).lr
    assert float(re.findall(r"# alpha: (\S+)", text)[0]) == read(SHORT).lora.alpha
    for key in known_keys(Spec):
        leaf = key.rpartition(".")[2]
        lines = [line for line in text.splitlines() if re.match(rf" *(# )?{leaf}:", line)]
        assert lines, key
        assert all(line.count("  # ") or line.endswith(":") for line in lines), key


@given(NAMES, TEXTS)
def test_the_starter_quotes_any_name(model: str, data: str) -> None:
    """Whatever the model and the data file are called, the spec written for them loads back to these names."""
    assert parse(starter(model, "rows.jsonl"), "x", FOLDER).model == model.strip()
    assert parse(starter("x", f"/{data}"), "x", FOLDER).data.path == os.path.normpath(f"/{data.rstrip()}")


@given(specs())
def test_a_kept_spec_is_the_same_spec(spec: Spec) -> None:
    """`to_yaml` and `parse` are inverse for every valid spec, identity included."""
    again = parse(spec.to_yaml(), "kept", Path("/nowhere"))
    assert again == spec
    assert again.identity() == spec.identity()
