"""The decoder in JAX against transformers and PEFT, on small random models: PyTorch starts twice, JAX once for the gate.

What is computed is in `reference.py` and `parity.py`; here is what must be true of it.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cloudtrain import backends
from cloudtrain.models import registry
from tests.templates.conftest import COMMON, ONE_THREAD
from tests.trainer_fixtures import TEMPLATES

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("tpu-parity")]  # they share what was made once
GATE = ["llama", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "gemma2", "gemma3_text", "gemma3", "phi3"]
SOAK = ["olmo3", "gemma", "granite", "ernie4_5", "seed_oss", "exaone4", "glm", "glm4", "hunyuan_v1_dense"]
SOAK += ["cohere", "cohere2", "ministral"]
OPENED = ["llama", "phi3", "gemma3"]
CHECKS = ["nf4", "coarse", "sharded", "packed", "variants", "dropout", "splash", "exported", "memory"]
CHECKS += ["refusals", "names"]
HERE = Path(__file__).parent
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
IN_JAX = {
    **os.environ,
    **backends.of_flavour("jax").variables("cpu"),
    "PYTHONPATH": f"{TEMPLATES / 'tpu'}:{COMMON}",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling is most of it
}
Found = dict[str, dict[str, Any]]


def run(program: list[str | Path], variables: dict[str, str]) -> str:
    """The standard output of a program that must succeed."""
    done = subprocess.run([str(word) for word in program], capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def told(python: Path, folder: Path, checks: list[str]) -> Found:
    """What came of the checks."""
    lines = run([python, HERE / "parity.py", folder, *checks], IN_JAX).splitlines()
    return {found.pop("check"): found for found in map(json.loads, lines)}


@pytest.fixture(scope="module")
def made(warm_python: Path, jax_python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """The models of the gate, and what came of them."""
    folder = tmp_path_factory.mktemp("parity")
    run([warm_python, HERE / "reference.py", folder, *GATE], {**ONE_THREAD, **QUIET})
    return folder, told(jax_python, folder, [*GATE, *CHECKS])


@pytest.fixture(scope="module")
def found(made: tuple[Path, Found]) -> Found:
    """What came of the checks of the gate."""
    return made[1]


def agrees(came: dict[str, Any]) -> None:
    """Logits and losses within 1e-4, every adapter's gradient within 1e-3."""
    assert "error" not in came, came["error"]
    assert came["logits"] < 1e-4
    assert came["losses"] < 1e-4
    assert {name: apart for name, apart in came["gradients"].items() if not apart < 1e-3} == {}
    assert {"o", "down"} <= set(came["adapted"])
    assert came["fell"]


@pytest.mark.parametrize("family", GATE)
def test_a_family_computes_what_transformers_computes(found: Found, family: str) -> None:
    """Two packed documents in a row, five steps of AdamW on LoRA whose B is not zero."""
    agrees(found[family])


@pytest.mark.soak
def test_every_other_family_computes_what_transformers_computes(
    warm_python: Path, jax_python: Path, tmp_path: Path
) -> None:
    """The same for those that the registry has no model of; and eight devices with NF4, and where windows alternate."""
    run([warm_python, HERE / "reference.py", tmp_path, *SOAK, "gemma2", "llama"], {**ONE_THREAD, **QUIET})
    came = told(jax_python, tmp_path, [*SOAK, "sharded windows", "sharded nf4"])
    as_one_device(came.pop("sharded windows"), 1)
    as_one_device(came.pop("sharded nf4"), 1)
    for family in SOAK:
        agrees(came[family])


def test_dense_families_of_the_registry_are_all_compared() -> None:
    """What is not is no dense decoder of the usual form."""
    named = {spec.family for spec in registry.all_models()}
    assert named - set(GATE) <= {"qwen3_moe", "mixtral", "gpt_oss", "deepseek_v3", "kimi_k2"} | {
        "longcat_flash",
        "longcat_flash_ngram",
    }


def test_nf4_is_that_of_bitsandbytes(found: Found) -> None:
    """To the last bit, and the model computes with it as with the matrices it stands for."""
    came = found["nf4"]
    assert came["largest difference"] == 0
    assert came["bits"] == ["uint4", "float32"]
    assert came["loss"] < 1e-6
    assert came["gradients"] < 1e-5


def test_coarser_kinds_lose_what_their_bits_lose(found: Found) -> None:
    """Relative errors of a normal matrix."""
    came = found["coarse"]
    assert came["int8"] == pytest.approx(0.006, rel=0.1)
    assert came["nf4"] == pytest.approx(0.092, rel=0.1)
    assert came["int4"] == pytest.approx(0.108, rel=0.1)


def as_one_device(came: dict[str, Any], meshes: int) -> None:
    """Equal losses and gradients in so many meshes, of whose eight devices each holds an eighth of what is large."""
    came = {name: value for name, value in came.items() if name != "cpu_s"}
    assert "error" not in came, came["error"]
    assert len(came) == meshes
    for mesh in came.values():
        assert mesh["loss"] < 1e-6
        assert mesh["gradients"] < 1e-5
        assert mesh["held"] < 0.14
        assert mesh["copies"] == 1


def test_eight_devices_compute_as_one(found: Found) -> None:
    """Rows, heads, or both shared out."""
    as_one_device(found["sharded"], 3)


def test_packed_rows_compute_as_rows_of_their_own(found: Found) -> None:
    """With windows and caps; padding adds nothing."""
    assert found["packed"]["loss"] < 1e-6
    assert found["packed"]["gradients"] < 1e-5


def test_memory_settings_do_not_change_the_loss(found: Found) -> None:
    """Layers kept instead of computed again; the loss in several tiles."""
    came = found["variants"]
    assert came["kept"] < 1e-6
    assert came["kept gradients"] < 1e-5
    assert came["tiles"] > 1
    assert came["tiled"] < 1e-6
    assert came["tiled gradients"] < 1e-5


def test_dropout_is_drawn_by_key(found: Found) -> None:
    """Zeros and larger values, the same for a key, others for each adapter; none without a key."""
    came = found["dropout"]
    assert came["values"] == [0.0, 1.3333]
    assert came["mean"] == pytest.approx(1, abs=0.02)
    assert came["same key"]
    assert came["other adapter"] == pytest.approx(2 * 0.25 * 0.75, abs=0.1)
    first, again, other = came["losses"]
    assert first == again != other
    assert first != came["plain"]


def test_the_splash_kernel_agrees_with_dense_attention(found: Found) -> None:
    """Interpreted, for rows that its blocks do not divide."""
    assert "error" not in found["splash"], found["splash"]["error"]
    assert found["splash"]["loss"] < 1e-6
    assert found["splash"]["gradients"] < 1e-5


def test_peft_opens_exported_adapters(made: tuple[Path, Found], warm_python: Path) -> None:
    """Read back they are the same; in bf16 we round no worse than PEFT does."""
    folder, found = made
    assert [found["exported"][name] for name in OPENED] == [0, 0, 0]
    answer = run([warm_python, HERE / "reference.py", folder, "open", *OPENED], {**ONE_THREAD, **QUIET})
    came = json.loads(answer.splitlines()[-1])
    assert list(came) == OPENED
    for apart in came.values():
        assert apart["exact"] < 1e-5
        assert apart["bf16"] < 1.2 * apart["theirs"]


def test_loading_holds_a_few_pieces_on_the_host(found: Found) -> None:
    """Of a model of 60 layers never more than three layers' parts of one matrix."""
    came = found["memory"]
    assert came["right"]
    assert came["peak"] < 3 * came["piece"] < came["model"] / 100


SENTENCES = {
    "family": "no model for the family `lama`; the nearest it knows is llama",
    "rope": "kind `longrope`",
    "fp8": "published in fp8",
    "activation": "`relu2`",
    "size": "no 'vocab_size', which a llama needs",
    "missing": "lack `model.layers.1.mlp.up_proj.weight`",
    "shape": "is (3, 64) in the weights, and (128, 64) by the model's config.json",
    "bytes": "`model.x` is published as I8",
    "layers": "more layers than the 2 of",
    "short": "is cut short",
    "no weights": "has no weights",
    "groups": "`self_attn.q_proj` has 96 inputs, no multiple of 64",
    "kind": "not as nf3",
    "target": "did you mean `q_proj`?",
    "plan": "8 do not divide the 3 heads; use a micro_batch of 8",
    "devices": "for 16 chips, and there are 8",
    "copies": "8 chips cannot share `embedding` (1000003, 67)",
    "adapter": "which is no LoRA of this model's layers",
    "no adapter": "cannot read the adapter",
}


@pytest.mark.parametrize("case", SENTENCES)
def test_what_cannot_be_is_told_in_a_sentence(found: Found, case: str) -> None:
    """A bad job, with what is wrong in it."""
    assert SENTENCES[case] in found["refusals"][case]


def test_targets_are_matrices_of_the_model(found: Found) -> None:
    """The words of a job, and names of the checkpoint; also where queries, keys and values are one matrix."""
    seven = ["q", "k", "v", "o", "gate", "up", "down"]
    assert found["names"]["separate"] == [seven, ["q", "k", "v", "o"], ["q", "v"], ["o", "up"]]
    assert found["names"]["fused"] == [["qkv", "o", "gate_up", "down"], ["qkv", "o"], ["qkv"]]


def test_chips_take_rows_first_and_then_heads(found: Found) -> None:
    """Of 1, 8, 8, 8, 4 and 8 chips with 1, 8, 16, 4, 1 and 2 rows."""
    plans = [[1, 1, 1], [8, 1, 1], [8, 1, 1], [4, 2, 1], [1, 4, 1], [2, 4, 1]]
    assert found["names"]["plans"] == plans
    assert found["names"]["told"][3] == "8 chips: 4 share rows and weights, 2 heads"


def test_fresh_adapters_change_nothing_yet(found: Found) -> None:
    """A fills PEFT's interval, B is zero."""
    largest, second = found["names"]["fresh"]
    assert 0.99 < largest <= 1
    assert second == 0
