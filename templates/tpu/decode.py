"""The likeliest continuation of a prompt: layers remember what they have seen; one compiled program for all prompts."""

from __future__ import annotations

from typing import Any, NamedTuple

import attention
import jax
import jax.numpy as jnp
import model
import numpy as np
from decoder import Decoder

Memory = tuple[Any, Any]  # keys and values (layers, 1, room, kv_heads, head_dim)


class Reader(NamedTuple):
    """A model to go on with prompts of at most `prompt` tokens, by at most `answer` tokens."""

    decoder: Decoder
    how: model.How
    prompt: int
    answer: int
    ends: tuple[int, ...]  # tokens that end an answer


def compiled(reader: Reader) -> Any:
    """(weights, adapters, tokens (prompt,), length) -> (tokens (answer,), their number)."""
    decoder, how = reader.decoder, reader.how
    room = reader.prompt + reader.answer
    shape = (decoder.layers, 1, room, decoder.kv_heads, decoder.head_dim)

    def run(weights: Any, adapters: Any, tokens: Any, length: Any) -> tuple[Any, Any]:
        empty = jnp.zeros(shape, how.dtype), jnp.zeros(shape, how.dtype)
        # What fills the prompt up is remembered too, behind it: unseen until the answer has overwritten it.
        scores, memory = _advance(reader, (weights, adapters), tokens[None], 0, empty)
        first = scores[0, length - 1].argmax().astype(jnp.int32)
        answer = jnp.zeros(reader.answer, jnp.int32)

        def goes_on(state: Any) -> Any:
            count, token, _, _ = state
            return (count < reader.answer) & ~jnp.isin(token, jnp.array(reader.ends, jnp.int32))

        def step(state: Any) -> Any:
            count, token, answer, memory = state
            scores, memory = _advance(reader, (weights, adapters), token[None, None], length + count, memory)
            return count + 1, scores[0, 0].argmax().astype(jnp.int32), answer.at[count].set(token), memory

        count, _, answer, _ = jax.lax.while_loop(goes_on, step, (jnp.int32(0), first, answer, memory))
        return answer, count

    return jax.jit(run)


def _advance(reader: Reader, loaded: tuple[Any, Any], tokens: Any, begin: Any, memory: Memory) -> tuple[Any, Memory]:
    """Scores (1, count, vocabulary) of what follows each of the tokens, whose first stands at `begin`."""
    decoder, how = reader.decoder, reader.how
    weights, adapters = loaded
    positions = begin + jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    hidden = jnp.take(weights["embedding"], tokens, axis=0).astype(how.dtype)
    hidden = hidden * jnp.asarray(decoder.embed_scale, how.dtype)
    turns, habits = model._turns(decoder, how, positions), model._habits(decoder)

    def body(hidden: Any, layer: Any) -> tuple[Any, Memory]:
        weights, adapters, habit, seen = layer
        turn = jax.tree.map(lambda table: table[habit["turn"]], turns)
        run = _Layer(decoder, how, weights, adapters or {}, None)
        run.begin, run.seen = begin, seen
        return run(hidden, None, turn, habit["window"]), run.seen

    hidden, memory = jax.lax.scan(body, hidden, (weights["layers"], adapters, habits, memory))
    head = weights["embedding" if decoder.tied else "head"]
    return model._scores(decoder, how, model._normed(decoder, hidden, weights["norm"]), head), memory


class _Layer(model._Layer):
    """A layer that remembers keys and values: `seen`, of positions before `begin`, and of its own after a call."""

    begin: Any
    seen: Memory

    def attend(self, query: Any, key: Any, value: Any, batch: Any, window: Any) -> Any:
        """Attention to all that was seen, up to the own position."""
        decoder, at = self.decoder, (0, self.begin, 0, 0)
        keys, values = (
            jax.lax.dynamic_update_slice(old, new, at) for old, new in zip(self.seen, (key, value), strict=True)
        )
        self.seen = keys, values
        grouped = query.reshape(1, query.shape[1], keys.shape[2], -1, decoder.head_dim)
        scores = jnp.einsum("bqhgd,bkhd->bhgqk", grouped, keys).astype(jnp.float32)
        scores = scores * (decoder.attention_scale or decoder.head_dim**-0.5)
        if decoder.attention_softcap:
            scores = jnp.tanh(scores / decoder.attention_softcap) * decoder.attention_softcap
        gap = self.begin + jnp.arange(query.shape[1])[:, None] - jnp.arange(keys.shape[1])[None]
        seen = (gap >= 0) & (gap < jnp.asarray(attention.windows(decoder))[window])
        shares = jax.nn.softmax(jnp.where(seen, scores, attention.HIDDEN), -1).astype(query.dtype)
        return jnp.einsum("bhgqk,bkhd->bqhgd", shares, values).reshape(query.shape)


def padded(tokens: list[int], size: int) -> np.ndarray:
    """The tokens as int32 (size,), zeros behind them."""
    return np.array(tokens + [0] * (size - len(tokens)), np.int32)
