"""The fast path on processors: each piece is its formula, and each family's gradients are those of the plain path."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.templates.conftest import WITH_ITS_MODULES, Bench

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("fast")]  # they share what was computed once
HERE = Path(__file__).parent
QUIET = {**WITH_ITS_MODULES, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
HALF_TURNED = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
TWO_KINDS = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: list[dict[str, Any]] = [
    {"family": "llama", "method": "lora"},
    {"family": "mistral", "method": "qlora", "model": {"sliding_window": 24}},
    {"family": "qwen2", "method": "lora"},
    {"family": "qwen3", "method": "qlora"},
    {"family": "gemma2", "method": "lora", "model": {"sliding_window": 24, "attn_logit_softcapping": 5.0}},
    {"family": "gemma3", "method": "qlora", "model": TWO_KINDS},
    {"family": "phi3", "method": "lora", "model": HALF_TURNED},
    {"family": "olmo2", "method": "lora"},
    {"family": "smollm3", "method": "lora"},
]
WAYS: list[dict[str, Any]] = [
    {"name": "full", "family": "qwen2", "method": "full"},
    {"name": "freeze", "family": "llama", "method": "freeze", "job": {"train_layers": 1}, "model": {"tie_word_embeddings": True}},
    {"name": "dora", "family": "llama", "method": "dora"},
    {"name": "qv", "family": "llama", "method": "lora", "lora": {"targets": "qv"}},
    {"name": "padded", "family": "llama", "method": "lora", "job": {"packing": False, "micro_batch": 4}},
    {"name": "kept", "family": "llama", "method": "qlora", "job": {"activation_checkpointing": False}},
]  # fmt: skip
CASES = [{"name": case["family"], **case} for case in FAMILIES] + WAYS
GATE = ("llama", "qwen3", "dora")  # LoRA, QLoRA, and a part that falls back; the others soak
NAMES = [name if name in GATE else pytest.param(name, marks=pytest.mark.soak) for name in (c["name"] for c in CASES)]
FAMILY_NAMES = NAMES[: len(FAMILIES)]


@pytest.fixture(scope="module")
def pieces(warm_python: Path) -> dict[str, Any]:
    """Differences of the pieces from their formulas."""
    done = subprocess.run(
        [warm_python, HERE / "fast_pieces.py"], capture_output=True, text=True, check=False, env=QUIET
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def cases(
    request: pytest.FixtureRequest, warm_python: Path, demo_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Losses and errors of each case: five packed batches through three paths, against the plain one in float32."""
    asked = CASES if request.config.getoption("--soak") else [case for case in CASES if case["name"] in GATE]
    return compared(warm_python, demo_model, tmp_path_factory.mktemp("fast"), asked, QUIET)


def compared(
    python: Path, tokenizer: Path, folder: Path, asked: list[dict[str, Any]], env: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """What `fast_cases.py` says of some cases."""
    words = [str(word) for word in (python, HERE / "fast_cases.py", tokenizer, folder, json.dumps(asked))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"case"')]
    assert [line["case"] for line in lines if "error" in line] == [], done.stderr[-3000:]
    return {line["case"]: line for line in lines}


def middle(values: list[float]) -> float:
    """The root of the mean square."""
    return float((sum(value * value for value in values) / len(values)) ** 0.5)


def loss_error(case: dict[str, Any], path: str) -> float:
    """Of the steps' losses, against float32."""
    losses = case["losses"]
    return middle([mine - right for mine, right in zip(losses[path], losses["right"], strict=True)])


def test_every_piece_is_its_formula(pieces: dict[str, Any]) -> None:
    """Outputs and all gradients, in float32."""
    wrong = {name: off for name, off in pieces.items() if off is False or (off is not True and not abs(off) < 2e-5)}
    assert not wrong
    assert len(pieces) > 25


@pytest.mark.parametrize("name", NAMES)
def test_in_float32_it_computes_what_the_plain_path_does(cases: dict[str, dict[str, Any]], name: str) -> None:
    """Losses and gradients differ by rounding alone: also what packs, keeps documents apart or falls back."""
    case = cases[name]
    assert loss_error(case, "fp32") < 1e-5
    assert max(case["errors"]["fp32"]) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_in_bf16_gradients_err_no_more_than_the_plain_path(cases: dict[str, dict[str, Any]], name: str) -> None:
    """At most 1.3 times its relative error over five steps; losses near."""
    case = cases[name]
    assert middle(case["errors"]["bf16"]) <= 1.3 * middle(case["errors"]["plain"])
    assert loss_error(case, "bf16") <= 1.5 * max(loss_error(each, "plain") for each in cases.values())


@pytest.mark.soak
def test_in_bf16_losses_err_no_more_than_the_plain_path(cases: dict[str, dict[str, Any]]) -> None:
    """Over all families: five losses of one are too few to tell two errors of that size apart."""
    mine, plain = (middle([loss_error(case, path) for case in cases.values()]) for path in ("bf16", "plain"))
    assert mine <= 1.5 * plain


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_part_of_a_family_runs_fast(cases: dict[str, dict[str, Any]], family: str) -> None:
    """Attention, feed-forward, norms and linear layers, in both number types."""
    for kind in ("bf16", "fp32"):
        about = cases[family]["parts"][kind]
        assert about["plain"] == {}
        assert {name: count > 0 for name, count in about["fast"].items()} == dict.fromkeys(
            ("attention", "linear", "mlp", "rmsnorm"), True
        )


def test_what_no_piece_computes_stays_plain_and_is_said(cases: dict[str, dict[str, Any]]) -> None:
    """DoRA's sum is another one; the rest of the model is fast all the same."""
    about = cases["dora"]["parts"]["bf16"]
    assert about["plain"] == {"linear": "Dora is another sum"}
    assert (about["fast"]["attention"], about["fast"]["linear"]) == (2, 0)


@pytest.mark.soak
def test_without_avx512_it_is_right_too(trainer_python: Path, demo_model: Path, tmp_path: Path) -> None:
    """As PyTorch computes where a processor has no more than AVX2."""
    asked = [{"name": "qlora", "family": "llama", "method": "qlora"}]
    env = {**QUIET, "ATEN_CPU_CAPABILITY": "avx2", "DNNL_MAX_CPU_ISA": "AVX2"}
    case = compared(trainer_python, demo_model, tmp_path, asked, env)["qlora"]
    assert max(case["errors"]["fp32"]) < 1e-4
    assert middle(case["errors"]["bf16"]) <= 1.3 * middle(case["errors"]["plain"])


def test_a_run_says_what_is_fast(bench: Bench, tmp_path: Path) -> None:
    """In its record and in its first lines, with its layers computed again as long as nothing else is asked for."""
    fast = bench.train(tmp_path / "fast", max_steps=2, trainer="fast")
    assert fast.one("loaded")["trainer"] == "fast"
    assert fast.one("loaded")["fast"]["linear"] == 14
    assert "fast trainer: 2 attention, 14 linear" in fast.stderr
    assert fast.one("loaded")["checkpointing"] is True


@pytest.mark.soak
def test_nobody_who_does_not_ask_trains_fast(bench: Bench, tmp_path: Path) -> None:
    """The default is plain, says so, and has the fast path's losses but for rounding."""
    plain = bench.train(tmp_path / "plain", max_steps=2)
    fast = bench.train(tmp_path / "fast", max_steps=2, trainer="fast")
    assert plain.one("loaded")["trainer"] == "plain"
    assert "fast" not in plain.one("loaded")
    assert "fast trainer" not in plain.stderr
    assert list(fast.losses.values()) == pytest.approx(list(plain.losses.values()), rel=0.01)


@pytest.mark.soak
def test_evaluation_in_between_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    """The losses of training with it are those without it, to the last bit."""
    data = {"path": str(bench.data), "eval_path": str(bench.data)}
    without = bench.train(tmp_path / "without", method="qlora", trainer="fast")
    between = bench.train(tmp_path / "between", method="qlora", trainer="fast", data=data, eval={"every_steps": 1})
    assert len(between.of("eval")) >= 6
    assert between.losses == without.losses


@pytest.mark.soak
@pytest.mark.parametrize("order", [("fast", "fast"), ("fast", "plain"), ("plain", "fast")])
def test_either_trainer_resumes_what_the_other_began(bench: Bench, tmp_path: Path, order: tuple[str, str]) -> None:
    """The same trainer makes the same losses; the other one those that differ by rounding."""
    import signal

    whole = bench.train(tmp_path / "whole", trainer=order[0])
    job = bench.job(tmp_path / "halves", trainer=order[0])
    stopped = bench.until_step(bench.start(job), 3, signal.SIGTERM, tmp_path / "halves")
    assert stopped.code == 75, stopped.stderr[-2000:]
    resumed = bench.train(tmp_path / "halves", trainer=order[1])
    assert resumed.code == 0, resumed.stderr[-2000:]
    assert resumed.one("start")["resumed_from"] >= 3
    exact = order[0] == order[1]
    for step, loss in resumed.losses.items():
        assert loss == (whole.losses[step] if exact else pytest.approx(whole.losses[step], rel=0.02))
