"""Frozen weights in 4 or 8 bits: groups of 64 along the inputs, which are the groups of bitsandbytes.

bitsandbytes counts its groups along a matrix's rows (outputs, inputs) laid end to end: as long as 64 divides the
inputs, no group crosses a row. Its second quantisation, of the scales, is left out: it alone moves the loss by 0.7 %.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from failures import BadJob

GROUP = 64
KINDS = {"nf4": jnp.uint4, "int4": jnp.int4, "int8": jnp.int8}
TOP = {"int4": 7, "int8": 127}  # the largest code
# The sixteen values of NormalFloat 4: the midpoints of equally likely parts of a normal distribution, 0 among them.
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)
EDGES = (NF4[1:] + NF4[:-1]) / 2  # above which the next value is nearer


def check(name: str, inputs: int) -> None:
    """Raise BadJob for a matrix whose groups would cross its rows."""
    if inputs % GROUP:
        raise BadJob(f"`{name}` has {inputs} inputs, no multiple of {GROUP}: it cannot be quantised, use method lora")


def quantise(weight: Any, kind: str, scales: Any = jnp.float32) -> dict[str, Any]:
    """A (..., inputs, outputs) matrix as `codes` of the same shape and `scales` (..., inputs / 64, outputs)."""
    *lead, inputs, outputs = weight.shape
    grouped = jnp.asarray(weight).astype(jnp.float32).reshape(*lead, inputs // GROUP, GROUP, outputs)
    peak = jnp.abs(grouped).max(-2, keepdims=True)
    if kind == "nf4":
        part = grouped / jnp.where(peak == 0, 1, peak)
        codes = sum((part > edge).astype(jnp.int8) for edge in EDGES)
        scale = peak
    else:
        scale = peak / TOP[kind]
        codes = jnp.clip(jnp.rint(grouped / jnp.where(scale == 0, 1, scale)), -TOP[kind], TOP[kind])
    return {"codes": codes.astype(KINDS[kind]).reshape(weight.shape), "scales": scale.squeeze(-2).astype(scales)}


def matrix(weight: Any, dtype: Any) -> Any:
    """The matrix itself in `dtype`, as a multiplication wants it: `weight` is one, or codes with scales."""
    if not isinstance(weight, dict):
        return weight.astype(dtype)
    codes, scales = weight["codes"], weight["scales"]
    *lead, inputs, outputs = codes.shape
    values = _looked_up(codes) if codes.dtype == jnp.uint4 else codes.astype(jnp.float32)
    grouped = values.reshape(*lead, inputs // GROUP, GROUP, outputs) * scales[..., None, :].astype(jnp.float32)
    return grouped.astype(dtype).reshape(codes.shape)


def _looked_up(codes: Any) -> Any:
    """The values of NF4 codes in float32 by four levels of choices: TPUs are slow at looking up single numbers."""
    wide = codes.astype(jnp.int32)
    level = [jnp.float32(value) for value in NF4]
    for bit in range(4):
        one = (wide >> bit) & 1 == 1
        level = [jnp.where(one, high, low) for low, high in zip(level[::2], level[1::2], strict=True)]
    return level[0]
