"""The job file: what is accepted, what is refused, and with which sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import failures
import job as jobs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chance import examples

LEAST: dict[str, Any] = {
    "model": "some/model",
    "data": {"path": "/data/train.jsonl"},
    "checkpoint": {"folder": "/run/ckpt"},
    "output": "/run/output",
}


def written(folder: Path, document: Any) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps(document))
    return path


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(failures.BadJob) as refused:
        jobs.read(written(folder, {**LEAST, **changes}))
    return str(refused.value)


def test_missing_keys_take_the_documented_defaults(tmp_path: Path) -> None:
    """A job of four keys is a packed qlora run of rank 16 at 2e-4 over 2048 tokens."""
    job = jobs.read(written(tmp_path, LEAST))
    assert (job.method, job.sequence_length, job.packing, job.train_on) == ("qlora", 2048, True, "assistant")
    assert (job.lora.rank, job.lora.targets, job.learning_rate) == (16, "all-linear", 2e-4)


def test_methods_that_train_the_weights_get_a_lower_rate(tmp_path: Path) -> None:
    """Full and freeze default to 2e-5, and a given rate wins."""
    assert jobs.read(written(tmp_path, {**LEAST, "method": "freeze"})).learning_rate == 2e-5
    assert jobs.read(written(tmp_path, {**LEAST, "method": "full", "lr": 1e-3})).learning_rate == 1e-3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metod": "lora"}, "unknown key `metod`; did you mean `method`?"),
        ({"lora": {"rnk": 8}}, "unknown key `lora.rnk`; did you mean `lora.rank`?"),
        ({"lora": {"rank": "8"}}, '`lora.rank` must be a whole number, not "8"'),
        ({"lora": {"rank": True}}, "`lora.rank` must be a whole number, not true"),
        (
            {"lora": {"targets": []}},
            '`lora.targets` must be "all-linear" or "attention" or "qv" or a list of strings, not []',
        ),
        ({"lora": 3}, "`lora` must be an object"),
        ({"micro_batch": 0}, "`micro_batch` must be at least 1, not 0"),
        ({"lr": float("nan")}, "`lr` must be a number or null, not NaN"),
        ({"method": "sft"}, '`method` must be "full" or "lora" or "qlora" or "dora" or "freeze", not "sft"'),
        ({"epochs": 0}, "`epochs` must be above 0 when `max_steps` is not given"),
        ({"data": {"path": "train.jsonl"}}, "`data.path` must be an absolute path, not `train.jsonl`"),
        ({"data": {}}, "`data.path` is missing"),
        ({"model": "/nowhere"}, "there is no model in /nowhere: it has no config.json"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    """One sentence names the key at fault and what it should be."""
    assert refusal(tmp_path, **changes) == sentence


def test_what_is_no_job_at_all_is_refused(tmp_path: Path) -> None:
    """A missing file, broken JSON and a JSON list each get a sentence."""
    for text, part in (("{", "is not JSON"), ("[]", "`the job` must be an object"), ("{}", "`model` is missing")):
        (tmp_path / "job.json").write_text(text)
        with pytest.raises(failures.BadJob, match=part):
            jobs.read(tmp_path / "job.json")
    with pytest.raises(failures.BadJob, match="cannot read the job file"):
        jobs.read(tmp_path / "absent.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from([*jobs.Job.__dataclass_fields__, "surprise"])


@given(st.dictionaries(KEYS, JSON, max_size=6))
@settings(max_examples=examples(100))
def test_any_json_is_a_job_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]) -> None:
    """Whatever the values are, reading gives a job or BadJob, never another exception."""
    path = written(tmp_path_factory.getbasetemp(), {**LEAST, **document})
    found: Any
    try:
        found = jobs.read(path)
    except failures.BadJob as refused:
        found = str(refused)
    assert isinstance(found, jobs.Job) or len(found.split()) > 1


def test_the_recipe_ignores_places_and_limits(tmp_path: Path) -> None:
    """A run may resume on another machine with other paths and a later deadline, but not with another rank."""
    here = jobs.read(written(tmp_path, LEAST))
    there = {**LEAST, "output": "/elsewhere", "data": {"path": "/mnt/train.jsonl"}, "deadline": 5.0}
    assert jobs.read(written(tmp_path, there)).recipe == here.recipe
    assert jobs.read(written(tmp_path, {**LEAST, "lora": {"rank": 8}})).recipe != here.recipe


def test_the_recipe_has_whole_steps(tmp_path: Path) -> None:
    """Four sequences in a step are one recipe however they are split up, also in a checkpoint of an earlier version."""
    splits = [{"micro_batch": 4}, {"micro_batch": 2, "grad_accum": 2}, {"grad_accum": 4}]
    found = [jobs.read(written(tmp_path, {**LEAST, **split})).recipe for split in splits]
    assert found[0] == found[1] == found[2] != jobs.read(written(tmp_path, {**LEAST, "grad_accum": 2})).recipe
    rest = {key: value for key, value in found[0].items() if key != "step_sequences"}
    assert jobs.in_whole_steps({**rest, "micro_batch": 2, "grad_accum": 2}) == found[0]
    assert jobs.in_whole_steps(found[0]) == found[0]


def test_the_fast_trainer_must_be_asked_for(tmp_path: Path) -> None:
    """It is experimental, and quotes count the plain one, which computes layers again."""
    plain = jobs.read(written(tmp_path, LEAST))
    assert (plain.trainer, plain.activation_checkpointing) == ("plain", True)
    fast = jobs.read(written(tmp_path, {**LEAST, "trainer": "fast", "activation_checkpointing": "auto"}))
    assert (fast.trainer, fast.activation_checkpointing) == ("fast", "auto")
