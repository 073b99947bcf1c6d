"""LongCat in JAX against transformers 4.57.6 and PEFT, on one device and over eight; a tiny random model in float32."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.models import registry
from cloudtrain.spec.schema import parse
from cloudtrain.trainer import environment
from cloudtrain.trainer.job import job_document
from tests.templates.conftest import COMMON, Bench
from tests.templates.torch.test_longcat import TINY
from tests.trainer_fixtures import TEMPLATES

TPU = TEMPLATES / "tpu"
HERE = Path(__file__).parent
GATE = ("parity", "packed", "dropping", "devices")
ATTENTION = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"}
DENSE = {f"mlps.{half}.{name}_proj" for half in (0, 1) for name in ("gate", "up", "down")}
together = pytest.mark.xdist_group("tpu-longcat")  # they share what is computed once


def out_of(*command: Any, **variables: str) -> Any:
    """The JSON document that a program prints last."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, **variables})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def probed(folder: Path, *parts: str) -> Any:
    """What the TPU trainer computes of the model in the folder."""
    python = environment.ensure("jax", print)
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiling is most of it
    return out_of(python, HERE / "longcat_probe.py", folder, *parts, PYTHONPATH=f"{TPU}:{COMMON}", **quick)


@pytest.fixture(scope="module")
def folder(warm_longcat: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LongCat with what transformers and PEFT make of it."""
    made = tmp_path_factory.mktemp("longcat")
    command = [str(warm_longcat), str(HERE / "longcat_reference.py"), "make", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return made


@pytest.fixture(scope="module")
def computed(folder: Path) -> Any:
    """What the TPU trainer makes of the same model."""
    return probed(folder, *GATE)


@pytest.fixture(scope="module")
def quantised(folder: Path) -> Any:
    """The same model with its matrices in each kind of codes."""
    return probed(folder, "quantised")["quantised"]


@together
@pytest.mark.trainer
def test_logits_and_every_weights_gradient_are_transformers(computed: Any) -> None:
    """Router, both attentions, dense MLPs, experts, norms, embedding and head: none but the bias is without gradient."""
    parity = computed["parity"]
    assert parity["logits"] <= 1e-4
    assert parity["gradients"] <= 1e-3
    assert parity["without_gradient"] == ["['layers']['router_bias']"]


@together
@pytest.mark.trainer
def test_adapters_gradients_and_five_steps_are_those_of_peft(computed: Any, folder: Path) -> None:
    """A and B of five projections of attention and three of the dense MLPs."""
    parity = computed["parity"]
    assert parity["adapter_stacks"] == 16
    assert parity["adapter_gradients"] <= 1e-3
    assert parity["losses"] == pytest.approx(json.loads((folder / "losses.json").read_text()), rel=1e-4)


@together
@pytest.mark.trainer
def test_its_adapter_opens_in_peft_with_equal_logits(computed: Any, folder: Path, warm_longcat: Path) -> None:
    """On transformers 4.57.6: on both attentions and both dense MLPs of a layer, on no expert and no router."""
    assert computed["parity"]["read_back"] == 0
    settings = json.loads((folder / "ours" / "adapter_config.json").read_text())
    assert set(settings["target_modules"]) == ATTENTION | DENSE
    opened = out_of(warm_longcat, HERE / "longcat_reference.py", "open", folder)
    assert opened["difference"] <= 1e-4
    assert opened["effect"] > 0.01  # it was not left out by both
    attention = {f"model.layers.{at}.self_attn.{half}.{name}" for at in (0, 1) for half in (0, 1) for name in ATTENTION}
    assert set(opened["layers"]) == attention | {f"model.layers.{at}.{name}" for at in (0, 1) for name in DENSE}


@together
@pytest.mark.trainer
def test_documents_of_a_row_do_not_see_each_other(computed: Any) -> None:
    """And padding picks no experts: half the tokens, half the picks at most."""
    packed = computed["packed"]
    assert max(packed["first"], packed["second"]) <= 1e-5
    assert packed["seen_otherwise"] > 0.1
    assert 0 < packed["picks"][1] < 0.6 * packed["picks"][0]


@together
@pytest.mark.trainer
def test_eight_devices_compute_what_one_does(computed: Any) -> None:
    """Loss and gradients, of routers too; each of them holds an eighth of what is large."""
    found = computed["devices"]
    assert found["loss"] <= 1e-5
    assert found["gradients"] <= 1e-4
    assert found["picks"][0] == found["picks"][1] > 0
    assert found["dropped"] == [0, 0]
    large = {name: share for name, share in found["held"].items() if "norm" not in name and "bias" not in name}
    assert len(large) == 14
    assert set(large.values()) == {0.125}


@together
@pytest.mark.trainer
def test_dropped_picks_are_those_that_numpy_counts(computed: Any) -> None:
    """With a tenth of an even share for each device; what is dropped adds nothing, and all else is as it should be."""
    found = computed["dropping"]
    assert found["picks"][0] == found["picks"][1]
    assert found["dropped"][0] == found["dropped"][1] > 0.3 * found["picks"][1]
    assert found["out"] <= 1e-5


@together
@pytest.mark.trainer
def test_the_jobs_capacity_is_the_models(computed: Any) -> None:
    """2 where the job says nothing."""
    assert computed["dropping"]["capacity"] == [2.0, 3.0]


@together
@pytest.mark.trainer
def test_too_many_dropped_picks_end_the_run(computed: Any) -> None:
    """With the figures, and what to change."""
    found = computed["dropping"]
    assert f"{found['dropped'][0]} of {found['picks'][0]} picks of experts found no place" in found["failure"]
    assert "raise the capacity of 0.1 times an even share" in found["failure"]


@together
@pytest.mark.trainer
@pytest.mark.soak
def test_int4_experts_compute_as_the_same_weights_put_back(folder: Path) -> None:
    """Over eight devices; and something was quantised."""
    found = probed(folder, "four_bits")["four_bits"]
    assert found["out"] <= 1e-5
    assert 0.02 < found["from_unquantised"] < 0.3


@pytest.mark.soak
@together
@pytest.mark.trainer
@pytest.mark.parametrize(("kind", "least", "most"), [("int4", 0.05, 0.2), ("int8", 1e-3, 0.01), ("nf4", 0.05, 0.2)])
def test_quantised_weights_compute_as_the_same_put_back(quantised: Any, kind: str, least: float, most: float) -> None:
    """All matrices of both halves and of the experts; devices that share them hold the same codes and scales."""
    found = quantised[kind]
    assert found["stacks"] == 11
    assert found["logits"] <= 1e-4
    assert found["spread"] == 0
    assert least < found["from_unquantised"] < most


@pytest.mark.soak
@together
@pytest.mark.trainer
def test_a_step_over_devices_draws_dropout_by_its_key(folder: Path) -> None:
    """The same step twice is the same to the last digit; the next draws otherwise; picks of micro-batches add up."""
    found = probed(folder, "step")["step"]
    assert found["losses"][0] == found["losses"][1] != found["losses"][2]
    assert found["losses"][2] == pytest.approx(found["losses"][0], rel=0.1)
    assert found["picks"][0] > 0


@pytest.mark.soak
@together
@pytest.mark.trainer
def test_a_job_trains_it_in_int4_and_goes_on(
    warm_longcat: Path, demo_model: Path, bench: Bench, tmp_path: Path
) -> None:
    """The trainer's own program: six steps, of which the last two after a stop are those of a run that never stopped."""
    model = tmp_path / "model"
    subprocess.run([warm_longcat, "-c", TINY, demo_model, model], check=True, capture_output=True)
    python = environment.ensure("jax", print)
    ours = Bench(python, python, model, bench.data)
    settings = {"method": "qlora", "quantisation": "int4", "lora": {"targets": "attention"}, "sequence_length": 128}

    def start(folder: Path) -> subprocess.Popen[str]:
        return ours.start(ours.job(folder, **settings), instead=(str(TPU / "fine_tune.py"), str(folder / "job.json")))

    whole = ours.wait(start(tmp_path / "whole"), tmp_path / "whole")
    assert whole.code == 0, whole.stderr[-3000:]
    assert whole.losses[6] < whole.losses[1]
    parts = tmp_path / "parts"
    stopped = ours.until_step(start(parts), 3, signal.SIGTERM, parts)
    assert stopped.code == 75, stopped.stderr[-3000:]
    ended = ours.wait(start(parts), parts)
    assert ended.code == 0, ended.stderr[-3000:]
    assert ended.losses
    assert stopped.losses | ended.losses == whole.losses
    targets = json.loads((tmp_path / "whole" / "output" / "adapter_config.json").read_text())["target_modules"]
    assert set(targets) == ATTENTION


@pytest.fixture
def longcat() -> Any:
    """The module that reads the configuration; it needs no JAX."""
    sys.path.append(str(TPU))
    try:
        import longcat
    finally:
        sys.path.remove(str(TPU))
    return longcat


CHAT: dict[str, Any] = {
    "model_type": "longcat_flash",
    "architectures": ["LongcatFlashForCausalLM"],
    **{"vocab_size": 131072, "hidden_size": 6144, "num_layers": 28, "num_attention_heads": 64},
    **{"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128},
    **{"ffn_hidden_size": 12288, "expert_ffn_hidden_size": 2048, "n_routed_experts": 512, "zero_expert_num": 256},
    **{"moe_topk": 12, "routed_scaling_factor": 6.0, "rope_theta": 1e7, "rms_norm_eps": 1e-5, "rope_scaling": None},
    **{"attention_method": "MLA", "zero_expert_type": "identity", "mla_scale_q_lora": True, "mla_scale_kv_lora": True},
    **{"attention_bias": False, "router_bias": False, "max_position_embeddings": 131072},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "longcat_flash_ngram"}, "has no longcat_flash_ngram"),
        ({"architectures": ["LongcatCausalLM"]}, "LongcatCausalLM"),
        ({"quantization_config": {"quant_method": "fp8"}}, "with bf16 weights"),
        ({"zero_expert_type": "copy"}, 'zero_expert_type "copy"'),
        ({"mla_scale_q_lora": False}, "mla_scale_q_lora false"),
        ({"router_bias": True}, "router_bias true"),
        ({"norm_topk_prob": True}, "norm_topk_prob true"),
        ({"q_lora_rank": None}, "q_lora_rank null"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "of the kind yarn"),
    ],
)
def test_what_nobody_could_check_is_refused(longcat: Any, change: dict[str, Any], said: str) -> None:
    """A sentence that names what the configuration says."""
    from failures import BadJob

    with pytest.raises(BadJob, match=said):
        longcat.from_config({**CHAT, **change})


def test_a_configuration_without_a_size_names_it(longcat: Any) -> None:
    """The key of the file."""
    from failures import BadJob

    with pytest.raises(BadJob, match="has no 'moe_topk'"):
        longcat.from_config({key: value for key, value in CHAT.items() if key != "moe_topk"})


def test_the_published_sizes_have_the_published_parameters(longcat: Any) -> None:
    """560,664,958,976 without the head for multi-token prediction."""
    cat = longcat.from_config(CHAT)
    twice = sum(inputs * outputs for inputs, outputs in cat.matrices.values()) + sum(cat.vectors.values())
    experts = cat.experts * sum(inputs * outputs for inputs, outputs in cat.expert_matrices.values())
    router = (cat.hidden + 1) * cat.everyone
    total = cat.layers * (2 * twice + experts + router) + (2 * cat.vocab + 1) * cat.hidden
    assert total - cat.layers * cat.everyone == 560_664_958_976  # the correction bias is no parameter of the class


def test_the_capacity_of_a_spec_reaches_the_job() -> None:
    """Left out where it is what the trainer takes anyway."""
    asked = {}
    for line in ("", "expert_capacity: 2", "expert_capacity: 3.5"):
        spec = parse(f"model: longcat-flash\ndata: rows.jsonl\n{line}", "cloudtrain.yaml", Path("/project"))
        asked[line] = job_document(spec, registry.find("longcat-flash"), "run", Path("/run")).get("expert_capacity")
    assert list(asked.values()) == [None, None, 3.5]


def test_places_are_the_capacity_times_an_even_share(longcat: Any) -> None:
    """In tiles of 128, never more than there are picks; one device has a place for every pick."""
    cat = longcat.from_config(CHAT)
    assert cat.places(2048, 16) == 2048  # 2 x 2048 x 12 x 512/768 / 16
    assert cat.places(2048, 1) == 2048 * 12
    assert cat.places(8, 16) == 96
