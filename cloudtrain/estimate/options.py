"""What a fine-tune is: every choice that changes its memory, with the defaults of the shared measurements."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.models.adapters import Targets
from cloudtrain.models.spec import ModelSpec

Method = Literal["full", "lora", "qlora", "dora", "freeze"]
Dtype = Literal["bf16", "fp32", "amp"]
Optimizer = Literal["adamw", "adamw8bit", "adafactor", "sgd", "lion", "adamw_master", "adamw_foreach"]
Sharding = Literal["fsdp", "zero2", "tp", "ep", "pp"]
Quantisation = Literal["nf4", "int8", "int4"]
Estimator = Literal["torch", "tpu", "mlx"]  # whose formulas

ADAPTER_METHODS = ("lora", "qlora", "dora")


class Options(NamedTuple):
    """One fine-tune. `batch` counts the sequences of a micro-step over all devices.

    `experts_4bit=None` means: for LongCat, and where the back end quantises every matrix anyway. `layers` overrides
    the depth. `devices` counts what the framework sees. `chip` is a key of the accelerator table or "".
    """

    method: Method = "qlora"
    sequence_length: int = 2048
    batch: int = 1
    checkpointing: bool = True
    dtype: Dtype = "bf16"
    optimizer: Optimizer = "adamw"
    rank: int = 16
    targets: Targets = "all-linear"
    loss: Literal["hf", "chunked"] = "hf"
    grad_accum: int = 1
    embed_fp32: bool = False
    experts_4bit: bool | None = None
    expert_dequant: Literal["single", "layer"] = "single"
    attention: Literal["sdpa", "eager"] = "sdpa"
    dropout: float = 0.0
    train_layers: int = 2
    layers: int | None = None
    devices: int = 1
    sharding: Sharding = "fsdp"
    estimator: Estimator = "torch"
    chip: str = ""
    adapter_dtype: Literal["fp32", "bf16"] = "fp32"
    quantisation: Quantisation = "nf4"  # of the frozen weights under qlora; the TPU trainer has all of them

    @property
    def adapts(self) -> bool:
        """Whether adapters are trained on frozen weights."""
        return self.method in ADAPTER_METHODS


_SMALLEST = {"sequence_length": 1, "batch": 1, "rank": 1, "grad_accum": 1, "train_layers": 1, "devices": 1}
_LARGEST = 10**9  # beyond it a figure is a typing error, and printing it helps nobody


def checked(spec: ModelSpec, options: Options) -> tuple[ModelSpec, Options]:
    """The model at the asked depth and the options with every open choice made. Raises UsageError."""
    for name, smallest in _SMALLEST.items():
        value = getattr(options, name)
        if not smallest <= value <= _LARGEST:
            raise UsageError(f"{name.replace('_', ' ')} {value} is out of range", f"give {smallest} to {_LARGEST}")
    if not 0 <= options.dropout < 1:
        raise UsageError(f"dropout {options.dropout} is out of range", "give a share from 0 up to, not including, 1")
    if options.layers is not None:
        if not 1 <= options.layers <= 10_000:
            raise UsageError(f"layers {options.layers} is out of range", "give 1 to 10000")
        spec = spec.with_layers(options.layers)
    shape = spec.shape
    quantised_experts = options.experts_4bit
    if quantised_experts is None:  # MLX and Qwix quantise every matrix; bitsandbytes leaves stacked experts alone
        quantised_experts = options.estimator != "torch" or shape.family.startswith("longcat")
    return spec, options._replace(
        experts_4bit=bool(quantised_experts and shape.experts and options.method == "qlora"),
        attention="eager" if shape.traits.eager_only and options.estimator == "torch" else options.attention,
        train_layers=min(options.train_layers, shape.layers),
    )
