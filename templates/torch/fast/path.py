"""The fast path of a run: takes a loaded model over, and gives the training loop the loss of a batch.

A batch is rows packed behind each other, [1, tokens], or padded rows [rows, tokens], which are packed here: attention
keeps the documents apart either way, and no padding is computed.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import torch
from job import Job
from torch import Tensor

from fast.attention import Documents
from fast.loss import Head, cross_entropy
from fast.pieces_of import Parts, family_of, replace, shape_of
from fast.threshold import flash_from

NO_LABEL = -100
NAME = "documents"  # of our attention, as transformers is to call it: it makes no mask for it


class Batch(NamedTuple):
    """Tokens, positions and labels [1, tokens], and cumulative lengths of the documents."""

    ids: Tensor
    positions: Tensor
    labels: Tensor
    starts: list[int]


class Fast:
    """A model whose parts run fast, as `parts` says."""

    def __init__(self, causal: Any, documents: Documents, parts: Parts) -> None:
        self.causal, self.documents, self.parts = causal, documents, parts
        self.checkpointing = False  # layers are computed again in the backward pass

    @property
    def about(self) -> dict[str, Any]:
        """For the `loaded` event."""
        return {
            "trainer": "fast",
            "fast": dict(self.parts.fast),
            "plain": self.parts.plain,
            "checkpointing": self.checkpointing,
        }

    def loss(self, inputs: dict[str, Any], count: Tensor | float | None) -> Tensor:
        """The summed loss of a batch over `count`; over its own tokens with a label, if that is None."""
        batch = packed(inputs)
        self.documents.of(batch.starts)
        hidden = self.causal.model(input_ids=batch.ids, position_ids=batch.positions, use_cache=False)[0]
        wanted = batch.labels[0, 1:]
        chosen = (wanted != NO_LABEL).nonzero()[:, 0]
        rows = hidden[0].index_select(0, chosen)
        head, cap = self.causal.lm_head, getattr(self.causal.config, "final_logit_softcapping", None)
        return cross_entropy(
            rows, Head(head.weight, head.bias, cap), wanted[chosen], max(1, len(chosen)) if count is None else count
        )


def prepare(job: Job, model: Any) -> Fast | None:
    """Take over the model of a job (PEFT's, or itself), if the job, its machine and the model allow it; say so."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    why, family = refusal(job, causal), family_of(causal)
    if why or family is None or not wanted(job):
        if why:
            print(f"plain trainer: {why}", file=sys.stderr, flush=True)
        return None
    documents = Documents()
    parts = replace(causal, family, documents)
    attention = next((each for each in causal.modules() if hasattr(each, "o_proj")), None)
    if attention is not None and "attention" not in parts.plain:
        kind = causal.get_input_embeddings().weight.dtype
        documents.flash_from = flash_from(shape_of(attention), kind, job.sequence_length)
    fast = Fast(causal, documents, parts)
    if "attention" not in parts.plain:
        _without_mask(causal)
    print(_sentence(parts), file=sys.stderr, flush=True)
    return fast


def wanted(job: Job) -> bool:
    """Whether the job is one for the fast path, as far as it says itself."""
    return job.trainer == "fast" and job.accelerator == "cpu" and job.dtype == "bf16"


def refusal(job: Job, causal: Any) -> str:
    """Why a job that asks for the fast path stays with the plain one as a whole; nothing when it need not."""
    if not wanted(job):
        return ""
    if family_of(causal) is None:
        return f"{type(causal).__name__} has no fast parts yet"
    if type(causal.lm_head) is not torch.nn.Linear:
        return f"the head is a {type(causal.lm_head).__name__}"
    return ""


def _without_mask(causal: Any) -> None:
    """No mask of the whole batch: documents are known to who attends."""
    from transformers import AttentionInterface, AttentionMaskInterface

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("attention outside of the fast path")

    AttentionInterface.register(NAME, refuse)
    AttentionMaskInterface.register(NAME, lambda *arguments, **options: None)
    causal.config._attn_implementation = NAME


def packed(inputs: dict[str, Any]) -> Batch:
    """A batch without padding, whichever way the collator has made it."""
    ids, labels = inputs["input_ids"], inputs["labels"]
    mask = inputs.get("attention_mask")
    if mask is None:
        positions = inputs["position_ids"]
        starts = (positions[0] == 0).nonzero()[:, 0].tolist()
        return Batch(ids, positions, labels, [*starts, ids.shape[1]])
    lengths = mask.sum(1)
    real = mask.bool()
    labels = labels.clone()
    labels[:, 0] = NO_LABEL  # no token comes before it
    positions = torch.cat([torch.arange(int(length)) for length in lengths])[None]
    starts = [0, *lengths.cumsum(0).tolist()]
    return Batch(ids[real][None], positions, labels[real][None], starts)


def _sentence(parts: Parts) -> str:
    fast = ", ".join(f"{count} {name}" for name, count in sorted(parts.fast.items()))
    plain = "; ".join(f"{name} stays plain: {why}" for name, why in parts.plain.items())
    return f"fast trainer: {fast}, loss" + (f"; {plain}" if plain else "")
