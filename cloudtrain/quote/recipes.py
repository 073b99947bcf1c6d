"""The recipe our trainer really uses on each back end: the data files `recipes.json`, as estimator options.

Every trainer back end has one in its folder; the one here is for hardware that no trainer of ours drives.

A quote is for this recipe and not for a textbook run: the loss that never holds all logits, adapters in bfloat16 under
QLoRA, attention-only targets on mixtures of experts, experts in 4 bit only where our loader really does that.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain import backends
from cloudtrain.estimate.options import Options, Quantisation
from cloudtrain.offer import Range
from cloudtrain.quote.compatibility import compatibility

if TYPE_CHECKING:
    from cloudtrain.estimate.memory import MemoryEstimate
    from cloudtrain.quote.request import Request

TABLE = Path(__file__).with_name("recipes.json")
LONGCAT = ("longcat_flash", "longcat_flash_ngram")


class Recipe(NamedTuple):
    """How a job is run on a back end. Rates are parameters per second."""

    backend: str
    flavour: str
    stack: str
    packing: bool
    loss: str  # what our trainer runs; the memory may follow another one where that is what was measured
    options: Options
    image_bytes: int
    environment_bytes: int  # of the packages, unpacked
    writes_quantised: bool  # 4-bit weights are a file of their own before they are loaded
    keeps_quantised: bool  # our trainer can keep 4-bit weights beside the run, and load them instead of making them
    streams_per_s: Range | None  # bytes that each of several hosts reads of its part of the weights; None: whole files
    compile_s: Range
    quantise_per_s: Range  # of each host
    dequantise_per_vcpu_s: Range | None
    memory: tuple[float, int] | None  # (factor on activations and logits, runtime bytes) where we measured our own runs
    untried: str  # why its figures are to be taken with care; "" where we ran it
    experts: str  # how a mixture's experts are kept, as text; "" for a dense model
    notes: tuple[str, ...]

    def required_bytes(self, estimated: MemoryEstimate) -> int:
        """What a device must offer: by our own measurements where there are any, else the estimator's margins."""
        if self.memory is None:
            return estimated.required_bytes
        factor, runtime_bytes = self.memory
        parts = estimated.parts
        working = parts.activations + parts.logits + parts.workspace
        return round(estimated.peak_bytes + (factor - 1) * working + runtime_bytes)

    @property
    def width_bytes(self) -> int:
        """Bytes of a weight that is not quantised."""
        return 4 if self.options.dtype == "fp32" else 2

    @property
    def learnt_bytes(self) -> int:
        """Bytes of a weight that learns, as it is saved; an optimizer state of it has as many."""
        options = self.options
        if options.method not in ("lora", "qlora", "dora"):
            return self.width_bytes
        return 4 if options.adapter_dtype == "fp32" else 2

    def summary(self) -> dict[str, Any]:
        """What the recipe is, for the JSON and for --why."""
        options = self.options
        return {
            "stack": self.stack,
            "method": options.method,
            "targets": options.targets,
            "rank": options.rank,
            "batch": options.batch,
            "loss": self.loss,
            "dtype": options.dtype,
            "adapter_dtype": options.adapter_dtype,
            "quantisation": options.quantisation if options.method == "qlora" and options.estimator != "mlx" else "",
            "experts": self.experts,
            "sharding": options.sharding if options.devices > 1 else "none",
            "checkpointing": options.checkpointing,
            "optimizer": options.optimizer,
            "packing": self.packing,
        }


@cache
def table() -> dict[str, dict[str, dict[str, Any]]]:
    """Back end of the accelerator table -> trainer ("": none of ours) -> its row, in the trainers' order there."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for backend in backends.all_backends():
        if path := backend.table("recipes.json"):
            for key, row in _read(path).items():
                rows[key, backend.name] = {"estimator": backend.estimator, **row}
    rows |= {(key, ""): row for key, row in _read(TABLE).items()}
    keys = dict.fromkeys(key for key, _ in rows)
    return {key: {name: rows[key, name] for name in backends.in_order(key) if (key, name) in rows} for key in keys}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def row_of(backend: str, family: str, method: str, trainer: str = "") -> dict[str, Any] | None:
    """The row that a job goes by: of the trainer that has it, else of the first there; None where there is none."""
    rows = table().get(backend, {})
    found = compatibility(backend, family, method, trainer=trainer).trainer
    return rows.get(found) or rows.get(trainer) or next(iter(rows.values()), None)


@cache
def variants(request: Request, backend: str) -> tuple[Quantisation, ...]:
    """What our trainer there can pack the frozen weights in, the most exact one first; of these what was asked for.

    Empty where it has not what was asked for. Other methods than qlora pack nothing.
    """
    row = row_of(backend, request.spec.family, request.method, request.trainer)
    if row is None or request.method != "qlora":
        return ("nf4",)
    able: tuple[Quantisation, ...] = tuple(_of(row, "quantisation", request.spec.family, ["nf4"]))
    also = (*able, *row.get("quantisation_asked", ()))
    if request.quantisation is None:
        return able
    return (request.quantisation,) if request.quantisation in also else ()


def _of(row: dict[str, Any], key: str, family: str, default: Any = None) -> Any:
    """A row's value, or the one that it has for an architecture alone."""
    return row.get(f"{key}_{family}", row.get(key, default))


@cache
def recipe(
    request: Request, backend: str, devices: int, chip: str, float32: bool = False, quantisation: Quantisation = "nf4"
) -> Recipe | None:
    """Our recipe for the request on `devices` devices of a back end; None where we have none.

    `float32`: it was measured to be the faster type there; of use to trainers that can choose. `quantisation`: one of
    `variants`.
    """
    row = row_of(backend, request.spec.family, request.method, request.trainer)
    if row is None:
        return None
    spec, method = request.spec, request.method
    has_experts = spec.params_experts > 0
    experts_4bit, experts = expert_treatment(spec.family, method, backend, quantisation) if has_experts else (False, "")
    targets = request.targets or (row["targets_experts"] if has_experts else row["targets"])
    memory = _of(row, "memory", spec.family)
    wide = "float32_on" in row and (
        float32 or chip in row["float32_on"]
    )  # no bf16 worth computing in: our trainer uses float32 for everything
    options = Options(
        method=method,
        dtype="fp32" if wide else "bf16",
        sequence_length=request.sequence_length,
        batch=_sequences(request, devices) if row.get("sequence_per_device") else request.batch,
        rank=request.rank,
        targets=targets,
        checkpointing=row["checkpointing"],
        loss=(memory or row).get("loss", row["loss"]),
        attention=row["attention"],
        optimizer=row["optimizer"],
        adapter_dtype="fp32" if wide else row["adapter_dtype"].get(method, "fp32"),
        experts_4bit=experts_4bit,
        expert_dequant="single",
        devices=devices,
        sharding=row.get(f"sharding_{method}", _of(row, "sharding", spec.family)),
        estimator=row["estimator"],
        chip=chip,
        quantisation=quantisation,
    )
    return Recipe(
        backend,
        _of(row, "flavour", spec.family),
        row["stack"],
        row["packing"],
        row["loss"],
        options,
        row["image_bytes"],
        row["environment_bytes"],
        row.get("writes_quantised", False),
        row.get("keeps_quantised", False),
        Range(*row["streams_per_s"]) if "streams_per_s" in row else None,
        Range(*_of(row, "compile_s", spec.family)),
        Range(*row["quantise_per_s"]),
        Range(*row["dequantise_per_vcpu_s"]) if "dequantise_per_vcpu_s" in row else None,
        (memory["working_factor"], memory["runtime_bytes"]) if memory else None,
        row.get("untried", ""),
        experts,
        tuple(row["notes"]),
    )


def _sequences(request: Request, devices: int) -> int:
    """Sequences at once, one for each device where nobody said; what does not split up a step of the optimizer is not.

    A trainer that shards by sequences leaves devices idle otherwise.
    """
    if request.batch_given:
        return request.batch
    step = request.step_sequences
    return devices if step is None else max(size for size in range(1, min(step, devices) + 1) if step % size == 0)


def expert_treatment(family: str, method: str, backend: str, quantisation: str = "nf4") -> tuple[bool, str]:
    """Whether the experts of a mixture are packed, and how, as text.

    transformers 5 keeps fused experts in bfloat16 under `load_in_4bit` (bitsandbytes issue 1849); the LongCat recipe
    pins transformers 4.57.6, whose experts are plain linears; MLX quantises them itself.
    """
    if method != "qlora":
        return False, "bf16"
    if backend == "mlx":
        return True, "4-bit"
    if backend == "tpu":
        return True, f"{quantisation}, each device its own"
    if family in LONGCAT:
        return True, "4-bit, unpacked one expert at a time"
    return False, "bf16 (the stock loader does not quantise fused experts)"
