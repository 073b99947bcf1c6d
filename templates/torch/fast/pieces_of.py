"""Which piece computes which module of a model: by the names of its family's classes, and by what a module is made of.

A new family is a line in `FAMILIES`, if its parts are of these kinds; a new part is a function in `PARTS`. A function
gets a module and makes its forward function, or says why it cannot: that module then stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fast.attention import Documents, Shape, attend
from fast.gated import activation, gated
from fast.linear import Product, described
from fast.norm import rms_norm
from fast.rotary import angles

Forward = Callable[..., Any]


class Family(NamedTuple):
    """What its classes' names begin with, and what is added to the weights of its norms."""

    prefix: str
    added: float = 0.0


FAMILIES = (
    Family("Llama"),
    Family("Mistral"),
    Family("Qwen2"),
    Family("Qwen3"),
    Family("Gemma2", 1.0),
    Family("Gemma3", 1.0),
    Family("Phi3"),
    Family("Olmo2"),
    Family("SmolLM3"),
)


@dataclass
class Parts:
    """What runs fast, by part; and what does not, with the reason."""

    fast: Counter[str] = field(default_factory=Counter)
    plain: dict[str, str] = field(default_factory=dict)  # part -> why, each once


def family_of(model: Any) -> Family | None:
    """The family of a causal language model; None for one that nobody has described."""
    name = type(model).__name__
    return next((each for each in FAMILIES if name == f"{each.prefix}ForCausalLM"), None)


def replace(model: Any, family: Family, documents: Documents) -> Parts:
    """Give each module that a piece can compute its forward function."""
    parts = Parts()
    for module in list(model.modules()):
        kind = type(module).__name__
        part = next((name for name in PARTS if kind == family.prefix + name), None)
        if part is None:
            continue
        made = PARTS[part](module, family, documents, parts)
        if isinstance(made, str):
            parts.plain[part.lower()] = made
        else:
            module.forward = made
            parts.fast[part.lower()] += 1
    return parts


class Projections:
    """Linear layers that read the same input: in one product where they can be, else each by itself."""

    def __init__(self, modules: Sequence[Any], splits: Sequence[int], parts: Parts) -> None:
        self.modules, self.splits = tuple(modules), list(splits)
        found = [described(module) for module in modules]
        layers = [each for each in found if not isinstance(each, str)]
        self.product = Product(layers, splits) if len(layers) == len(found) else None
        parts.fast["linear"] += len(layers) if self.product else 0
        if self.product is None:
            parts.plain["linear"] = next(each for each in found if isinstance(each, str))

    def __call__(self, rows: Tensor, up: Tensor | None = None, kind: str = "") -> tuple[Tensor, ...]:
        """The outputs [tokens, each of the splits] for rows [tokens, inputs]; with `up`, of their gated product."""
        if self.product is not None:
            return self.product(rows, self.modules[0].training, up, kind)
        rows = rows if up is None else gated(rows, up, kind)
        found = [as_it_is(module, rows) for module in self.modules]
        return tuple(found) if len(found) == len(self.splits) else tuple(found[0].split(self.splits, 1))


def as_it_is(module: Any, rows: Tensor) -> Tensor:
    """A layer by its own function. An adapter's own is made for autocast: without it, it computes in float32."""
    with torch.autocast("cpu", torch.bfloat16, rows.dtype == torch.bfloat16 and hasattr(module, "base_layer")):
        return module(rows).to(rows.dtype)  # type: ignore[no-any-return]


def _norm(module: Any, family: Family, documents: Documents, parts: Parts) -> Forward | str:
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps

    def forward(hidden_states: Tensor) -> Tensor:
        return rms_norm(hidden_states, module.weight, epsilon, family.added)

    return forward


def _feed_forward(module: Any, family: Family, documents: Documents, parts: Parts) -> Forward | str:
    kind = activation(module.act_fn if hasattr(module, "act_fn") else module.activation_fn)
    if kind is None:
        return "another activation than SiLU or GELU by tanh"
    fused = hasattr(module, "gate_up_proj")
    width = module.config.intermediate_size
    first = Projections([module.gate_up_proj] if fused else [module.gate_proj, module.up_proj], [width] * 2, parts)
    second = Projections([module.down_proj], [module.config.hidden_size], parts)

    def forward(hidden_states: Tensor) -> Tensor:
        gate, up = first(hidden_states.reshape(-1, hidden_states.shape[-1]))
        (out,) = second(gate, up, kind)
        return out.view(hidden_states.shape)

    return forward


def _attention(module: Any, family: Family, documents: Documents, parts: Parts) -> Forward | str:
    if hasattr(module, "sinks"):
        return "attention sinks"
    if not module.is_causal:
        return "not causal"
    shape = shape_of(module)
    widths = [shape.heads * shape.size, *[shape.key_heads * shape.size] * 2]
    fused = hasattr(module, "qkv_proj")
    apart = [] if fused else [module.q_proj, module.k_proj, module.v_proj]
    before = Projections([module.qkv_proj] if fused else apart, widths, parts)
    after = Projections([module.o_proj], [module.config.hidden_size], parts)
    turns = getattr(module, "use_rope", True)

    def forward(
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        q, k, v = before(hidden_states.reshape(-1, hidden_states.shape[-1]))
        if hasattr(module, "q_norm"):
            q, k = (_normed(norm, each, shape.size) for norm, each in ((module.q_norm, q), (module.k_norm, k)))
        by = angles(*position_embeddings) if turns and position_embeddings is not None else None
        (out,) = after(attend(q, k, v, by, documents, shape))
        return out.view(hidden_states.shape), None

    return forward


def _normed(norm: Any, rows: Tensor, size: int) -> Tensor:
    """Queries or keys, normed over a head or over all of them, as the norm's weight says."""
    if norm.weight.shape[0] == rows.shape[1]:
        return norm(rows)  # type: ignore[no-any-return]
    return norm(rows.view(rows.shape[0], -1, size)).view(rows.shape)  # type: ignore[no-any-return]


def shape_of(module: Any) -> Shape:
    """Of an attention module's layer."""
    config = module.config
    window = module.sliding_window if hasattr(module, "sliding_window") else getattr(config, "sliding_window", None)
    cap = getattr(module, "attn_logit_softcapping", None)
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    return Shape(heads, key_heads, module.head_dim, float(module.scaling), window, cap)


PARTS: dict[str, Callable[[Any, Family, Documents, Parts], Forward | str]] = {
    "Attention": _attention,
    "MLP": _feed_forward,
    "RMSNorm": _norm,
}
