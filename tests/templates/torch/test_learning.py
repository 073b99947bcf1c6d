"""What PyTorch computes: answers alone are trained, packed documents stay apart, 4-bit gradients survive evaluations."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.templates.conftest import WITH_ITS_MODULES, Bench

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("learning")]  # they share what was trained once


@pytest.fixture(scope="module")
def probe(bench: Bench, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers of probe.py, which runs in the trainer's environment."""
    script = Path(__file__).with_name("probe.py")
    folder = tmp_path_factory.mktemp("probe")
    command = [str(bench.python), str(script), str(bench.model), str(demo_model), str(bench.data), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=WITH_ITS_MODULES)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


def test_only_answers_are_trained_with_their_end(probe: dict[str, Any]) -> None:
    """Each assistant turn is trained up to its end-of-turn token; questions, roles and the system text are not."""
    assert probe["masks"]["chat"] == [["Yes, 2 is even. ✓<|im_end|>", "No.<|im_end|>"]]
    assert probe["masks"]["last answer only"] == [["No.<|im_end|>"]]
    assert probe["masks"]["prompt"] == [[" four<|im_end|>"]]


def test_training_on_all_covers_the_whole_rendering(probe: dict[str, Any]) -> None:
    """With `train_on: all` every token of the conversation carries loss."""
    assert probe["masks"]["all"] == [probe["masks"]["whole"]]


def test_templates_that_rewrite_earlier_turns_give_a_document_per_answer(probe: dict[str, Any]) -> None:
    """Where reasoning disappears from earlier turns, each answer is trained in the form it is generated in."""
    assert probe["masks"]["forgetful"] == [["<think>hm</think>Yes.<|im_end|>"], ["No.<|im_end|>"]]


def test_a_prompt_opening_more_than_the_answer_shows_works(probe: dict[str, Any]) -> None:
    """A generation prompt that adds `<think>` does not shift what is trained."""
    assert probe["masks"]["opens"] == [["Yes, 2 is even. ✓<|im_end|>", "No.<|im_end|>"]]


def test_packed_documents_do_not_see_each_other(probe: dict[str, Any]) -> None:
    """Three documents in one row give the logits they give alone; without restarting positions they do not."""
    found = probe["isolation"]
    assert (found["rows"], found["documents"], found["same_order"]) == (1, 3, True)
    assert found["difference"] < 1e-5
    assert found["difference_when_mixed"] > 1e-2
    assert found["first_tokens_ignored"]
    assert found["trained"] == found["trained_alone"]


def test_4_bit_gradients_are_equal_before_and_after_an_evaluation(probe: dict[str, Any]) -> None:
    """The bitsandbytes fault on AVX512-BF16 CPUs is avoided; with its switch left on, it shows on such a CPU."""
    assert probe["change_with_the_switch_off"] == 0.0
    if probe["has_the_fault"]:
        assert probe["change_with_the_switch_on"] > 0.1


def test_adapter_targets_follow_the_model_family(probe: dict[str, Any]) -> None:
    """Separate, fused and latent attention are recognised; heads, routers and experts get no adapter."""
    found = probe["targets"]
    assert found["llama"]["qv"] == ["q_proj", "v_proj"]
    assert found["llama"]["all-linear"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert found["phi3"]["qv"] == ["qkv_proj"]
    assert found["deepseek_v3"]["qv"] == ["kv_b_proj", "q_b_proj"]
    assert found["deepseek_v3"]["all-linear"] == found["deepseek_v3"]["attention"]
    assert found["qwen2_moe"]["all-linear"] == ["k_proj", "o_proj", "q_proj", "v_proj"]
