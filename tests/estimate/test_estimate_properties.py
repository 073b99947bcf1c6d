"""What must hold of every memory estimate, whatever the model and the options."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cloudtrain.estimate import tpu
from cloudtrain.estimate.memory import estimate
from cloudtrain.estimate.options import Options
from cloudtrain.models.spec import ModelSpec
from tests.chance import examples
from tests.estimate.cases import options, specs

many = settings(max_examples=examples(60))
PHASES = ["forward", "loss", "last_layer", "first_layer", "end_backward", "optimizer"]


@many
@given(specs(), options())
def test_parts_sum_to_the_peak_of_the_deciding_phase(spec: ModelSpec, chosen: Options) -> None:
    """Parts are whole, never negative, and sum to the peak, which is the largest of the six phases."""
    found = estimate(spec, chosen)
    assert all(isinstance(part, int) and part >= 0 for part in found.parts)
    assert sum(found.parts) == found.peak_bytes == found.phases[found.phase] == max(found.phases.values())
    assert list(found.phases) == PHASES
    assert found.required_bytes >= found.peak_bytes > 0
    assert found.params_trainable > 0


@many
@given(specs(), options(), st.sampled_from(["batch", "sequence_length", "rank", "grad_accum"]), st.integers(1, 5))
def test_more_work_never_needs_less(spec: ModelSpec, chosen: Options, what: str, more: int) -> None:
    """Memory is monotone in batch, length, rank and accumulation; on a TPU but for its tiles of logits.

    These are whole parts of a sequence, so that a sequence a little longer may be cut into smaller ones.
    """
    larger = chosen._replace(**{what: getattr(chosen, what) + more})
    tiles = 4 * tpu.TILE_BYTES if chosen.estimator == "tpu" else 0
    assert estimate(spec, larger).peak_bytes >= estimate(spec, chosen).peak_bytes - tiles


@many
@given(specs(), options(), st.integers(1, 32))
def test_more_devices_never_need_more_each(spec: ModelSpec, chosen: Options, more: int) -> None:
    """For every way of sharding, each of more devices needs at most what each of fewer needs."""
    larger = chosen._replace(devices=chosen.devices + more)
    assert estimate(spec, larger).peak_bytes <= estimate(spec, chosen).peak_bytes


@many
@given(specs(), options(checkpointing=True, estimator="torch", devices=1, rank=4, embed_fp32=False))
def test_qlora_needs_at_most_lora_and_lora_at_most_full(spec: ModelSpec, chosen: Options) -> None:
    """qlora <= lora <= full, other options equal.

    Where it honestly holds: with checkpointing; adapters of at most an eighth of the weights (an adapter costs 16
    bytes a parameter, full AdamW saves 6 of 8); an optimiser with states and gradients of its own size; no upcast
    embeddings, which widen the stream under adapters only; and at most as many tokens as layers x hidden / 8, since
    LoRA keeps a cast input for every adapted matrix of the layer at work.
    """
    shape = spec.shape
    assume(chosen.optimizer in ("adamw", "lion", "adamw_master", "adamw_foreach"))
    assume(8 * spec.params_lora(chosen.rank, chosen.targets) <= spec.params_total)
    assume(chosen.batch * chosen.sequence_length <= shape.layers * shape.hidden / 8)
    needs = [estimate(spec, chosen._replace(method=method)).peak_bytes for method in ("qlora", "lora", "full")]
    assert needs == sorted(needs)


@many
@given(specs(), options(estimator="torch", expert_dequant="single"))
def test_qlora_needs_at_most_lora_everywhere(spec: ModelSpec, chosen: Options) -> None:
    """4-bit weights never cost more than 16-bit ones, with or without checkpointing, on any number of devices.

    Experts dequantised a whole layer at a time are apart: a device that holds a single layer then has it twice.
    """
    lora = estimate(spec, chosen._replace(method="lora")).peak_bytes
    assert estimate(spec, chosen._replace(method="qlora")).peak_bytes <= lora


@many
@given(specs(), options(devices=1))
def test_freezing_all_but_some_layers_trains_fewer_parameters(spec: ModelSpec, chosen: Options) -> None:
    """Freezing trains more with more layers, and never more than everything."""
    few = estimate(spec, chosen._replace(method="freeze", train_layers=1))
    more = estimate(spec, chosen._replace(method="freeze", train_layers=2))
    whole = estimate(spec, chosen._replace(method="full"))
    assert few.params_trainable <= more.params_trainable
    assert whole.params_trainable == whole.params_total == spec.params_total
