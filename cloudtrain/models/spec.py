"""ModelSpec: one model as every estimate sees it, and its exact parameter counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

from cloudtrain.models.adapters import Targets, adapter_parameters
from cloudtrain.models.counts import Counts, counts
from cloudtrain.models.shape import Shape

# Half a byte a weight, one scale byte per 64 weights, one float32 per 256 of those: NF4 with double quantisation.
NF4_BYTES_PER_WEIGHT = 0.5 + 1 / 64 + 4 / (64 * 256)
# As repositories publish them, with their scales: e4m3 with one per 128 x 128 weights, e2m1 with one per 32.
PACKED_BYTES = {"fp8": 1.0, "mxfp4": 0.5 + 1 / 32, "bitsandbytes 4-bit": NF4_BYTES_PER_WEIGHT}


class Published(NamedTuple):
    """What a repository says beside the model's sizes.

    `model_type` is that of its config.json ("": the family's), `text_type` that of the language model in a wrapper ("":
    no wrapper). `format`: how the weights are packed ("": 16 or 32 bit). `positions`: the longest sequence (0: not
    known). `gated`: its owner wants a licence accepted before anybody downloads it. `template`: whether its tokenizer
    has a chat template (None: not known).
    """

    model_type: str = ""
    text_type: str = ""
    format: str = ""
    positions: int = 0
    gated: bool = False
    template: bool | None = None


NOTHING_SAID = Published()


@dataclass(frozen=True, repr=False)
class ModelSpec:
    """A model: its names, its shape and, when it came from a folder, the `path` of that folder ("" otherwise)."""

    name: str
    hub_id: str
    shape: Shape
    path: str = ""
    published: Published = NOTHING_SAID

    def is_usual(self, sequence_length: int) -> bool:
        """Whether its repository says nothing that a trainer could stumble over at this length."""
        model_type, _, packed, positions, *_ = self.published
        return not packed and model_type in ("", self.shape.family) and (not positions or sequence_length <= positions)

    @property
    def family(self) -> str:
        """The short, stable name of the architecture."""
        return self.shape.family

    def __hash__(self) -> int:
        """By its names: a quote looks things up by it hundreds of times, and its shape has dozens of fields."""
        return hash((self.name, self.path))

    @cached_property
    def counts(self) -> Counts:
        """All parameter counts."""
        return counts(self.shape)

    @property
    def params_total(self) -> int:
        """Every parameter, tied embeddings once."""
        return self.counts.total

    @property
    def params_active(self) -> int:
        """Parameters one token passes on average, the looked-up embedding apart."""
        return self.counts.active_mean

    @property
    def params_active_min(self) -> int:
        """Active parameters when every pick falls on an identity expert."""
        return self.counts.active_min

    @property
    def params_active_max(self) -> int:
        """Active parameters when every pick falls on a real expert."""
        return self.counts.active_max

    @property
    def params_experts(self) -> int:
        """Parameters of all routed experts."""
        return self.counts.experts

    @property
    def params_embedding(self) -> int:
        """Input embedding and head (once when tied)."""
        return self.counts.embedding

    @property
    def matmul_params_per_token(self) -> int:
        """Parameters that multiply for one token: what floating-point operations are counted from."""
        return self.counts.active_mean

    @property
    def params_linear(self) -> int:
        """Dense matrices that 4-bit loading quantises, experts apart."""
        return self.counts.linear

    def params_lora(self, rank: int = 16, targets: Targets = "all-linear") -> int:
        """Trainable parameters of LoRA adapters as PEFT places them, experts included under `all-linear`."""
        return adapter_parameters(self.shape, rank, targets)

    def weights_bytes(self, kind: Literal["bf16", "nf4"]) -> int:
        """Bytes of the weights: 2 each, or matrices and experts in NF4 and the rest (n-gram tables too) in bfloat16."""
        if kind == "bf16":
            return 2 * self.params_total
        quantised = self.params_linear + self.params_experts
        return round(NF4_BYTES_PER_WEIGHT * quantised) + 2 * (self.params_total - quantised)

    @property
    def published_bytes(self) -> int:
        """Bytes of the weights as they are fetched; 2 a parameter where the format's size is not known."""
        kind = self.published.format
        if kind not in PACKED_BYTES:
            return 2 * self.params_total
        packed = self.params_experts + (0 if kind == "mxfp4" else self.params_linear)  # gpt-oss packs experts alone
        return round(PACKED_BYTES[kind] * packed) + 2 * (self.params_total - packed)

    def with_layers(self, layers: int) -> ModelSpec:
        """The same model at another depth."""
        return replace(self, shape=self.shape.with_layers(layers))
