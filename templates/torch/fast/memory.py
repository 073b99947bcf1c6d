"""What a step keeps for its backward pass, and whether there is room to keep it: else each layer is computed again.

A token of a layer keeps, in numbers: its input to two norms and what they give, 4 x hidden; queries, keys and values,
and where they are normed what they were before, (heads + 2 key heads) x head size each; the output of attention, heads
x head size; gate and up, 2 x feed-forward; and a probability a head for each token of its document.
"""

from __future__ import annotations

from typing import Any

import machine

from fast.attention import KEEP

SHARE = 0.5  # of the free memory that activations may take: others on the machine need some, and estimates err


def kept_bytes(config: Any, tokens: int, longest: int, number_bytes: int) -> int:
    """Bytes that a micro-batch of `tokens`, in documents of at most `longest`, keeps in all layers together."""
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    projected = (heads + 2 * key_heads) * size
    numbers = 4 * config.hidden_size + 2 * projected + heads * size + 2 * config.intermediate_size
    numbers += heads * min(longest, KEEP)
    return config.num_hidden_layers * tokens * numbers * number_bytes


def has_room(config: Any, tokens: int, longest: int, number_bytes: int, free: int | None) -> bool:
    """Whether nothing need be computed again; not where nobody says how much is free."""
    return free is not None and kept_bytes(config, tokens, longest, number_bytes) <= SHARE * free


def checkpoints(job: Any, causal: Any, number_bytes: int) -> bool:
    """Whether a job's layers are computed again in the backward pass, as it says or as there is room."""
    if isinstance(job.activation_checkpointing, bool):
        return job.activation_checkpointing
    tokens = job.micro_batch * job.sequence_length
    return not has_room(causal.config, tokens, job.sequence_length, number_bytes, machine.free_bytes())
