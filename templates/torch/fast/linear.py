"""Frozen linear layers, with LoRA or without: y = x W' + b + s (x A') B', layers with one input in one product.

Only x and x A' are kept for the backward pass, and x only where there is an adapter to learn from it. Where x is the
middle of a gated layer, gate and up are kept in its place, and x is made again from them. With g = dL/dy:

    dB = s g' (x A')      dA = (s g B)' x      dx = g W + (s g B) A

PEFT's own modules under autocast keep each cast copy, and add the adapter's output in passes of its own. W may be in 4
bit: it is unpacked at each use, which costs less than a hundredth of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fast import gated
from fast.pages import give_back, lies_in_a_file


class Adapter(NamedTuple):
    """`down` is A [rank, inputs], `up` is B [outputs, rank], both float32; `scale` is s (alpha / rank, or its rule)."""

    down: Tensor
    up: Tensor
    scale: float
    dropout: float


class Layer(NamedTuple):
    """A frozen layer: `base` holds weight [outputs, inputs] and bias; its adapter, if it has one."""

    base: Any
    outputs: int
    adapter: Adapter | None


def described(module: Any) -> Layer | str:
    """What a module is made of; or why it is none that `Product` computes."""
    base = module
    adapter = None
    if hasattr(module, "base_layer"):
        found = _adapter(module)
        if isinstance(found, str):
            return found
        base, adapter = module.base_layer, found
    kind = type(base).__name__
    if kind not in ("Linear", "Linear4bit") or type(module).forward is None:
        return f"a {kind} is no linear layer"
    if any(parameter.requires_grad for parameter in base.parameters()):
        return "its weight is trained itself"
    if kind == "Linear4bit" and getattr(base.weight, "quant_state", None) is None:
        return "its weight is not packed yet"
    return Layer(base, base.out_features, adapter)


def _adapter(module: Any) -> Adapter | str:
    if type(module).__name__ not in ("Linear", "Linear4bit") or "lora" not in type(module).__module__:
        return f"a {type(module).__name__} of another kind of adapter"
    names = list(module.active_adapters)
    if len(names) != 1 or names[0] not in module.lora_A or module.disable_adapters or module.merged:
        return "not one adapter that is switched on"
    (name,) = names
    if name in module.lora_variant:
        return type(module.lora_variant[name]).__name__.removesuffix("LinearVariant") + " is another sum"
    if module.lora_bias.get(name):
        return "its adapter has a bias"
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    return Adapter(down, up, float(module.scaling[name]), float(getattr(module.lora_dropout[name], "p", 0.0)))


class Product:
    """Layers that read the same input, computed as one. `splits` are the widths of the tensors that a call returns."""

    def __init__(self, layers: Sequence[Layer], splits: Sequence[int] = ()) -> None:
        self.layers = tuple(layers)
        self.outputs = [layer.outputs for layer in layers]
        self.splits = list(splits) or self.outputs
        self.packed = any(hasattr(layer.base.weight, "quant_state") for layer in layers)
        self.dense = None if self.packed else self._share()
        biases = [layer.base.bias for layer in layers]
        self.bias = None if all(each is None for each in biases) else _filled(biases, self.outputs)

    def _share(self) -> Tensor:
        """The weights as one matrix in memory of our own, of which the layers' own become views: no second copy stays.

        What is read in place from a file begins anywhere, which products do not like, and its pages would stay too.
        """
        weights = [layer.base.weight.data for layer in self.layers]
        if len(weights) == 1 and not lies_in_a_file(weights[0]):
            return weights[0]
        whole = torch.cat(weights)
        for layer, part in zip(self.layers, whole.split(self.outputs), strict=True):
            layer.base.weight.data = part
        for weight in weights:
            give_back(weight)
        return whole

    def weight(self, dtype: torch.dtype) -> Tensor:
        """[outputs of all, inputs], unpacked where it is in 4 bit."""
        if self.dense is not None:
            return self.dense.to(dtype)
        from bitsandbytes.functional import dequantize_4bit

        states = [(layer.base.weight.data, layer.base.weight.quant_state) for layer in self.layers]
        if len(states) == 1:
            return dequantize_4bit(*states[0]).to(dtype)
        whole = torch.empty(sum(self.outputs), self.layers[0].base.in_features, dtype=states[0][1].dtype)
        for (packed, state), part in zip(states, whole.split(self.outputs), strict=True):
            part.copy_(dequantize_4bit(packed, state))
        return whole.to(dtype)

    def __call__(self, rows: Tensor, learns: bool, up: Tensor | None = None, kind: str = "") -> tuple[Tensor, ...]:
        """The outputs for [tokens, inputs]; `learns` switches dropout on. With `up`, for `gated(rows, up, kind)`."""
        factors: list[Tensor] = []
        for layer in self.layers:
            if layer.adapter is not None:
                factors += (layer.adapter.down, layer.adapter.up)
        found = _Product.apply(rows, up, (self, learns, kind), *factors)
        return found if isinstance(found, tuple) else (found,)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, up: Tensor | None, how: tuple[Product, bool, str], *factors: Tensor) -> Any:
        product, learns, gate_kind = how
        rows = first if up is None else gated.product(first, up, gate_kind)
        kind = rows.dtype
        weight = product.weight(kind)
        bias = product.bias
        out = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias.to(kind), rows, weight.t())
        adapters = [layer.adapter for layer in product.layers if layer.adapter is not None]
        masks = [_mask(rows, each.dropout) if learns and each.dropout else None for each in adapters]
        if any(mask is not None for mask in masks):
            reads = [rows if mask is None else rows * mask for mask in masks]
            low = [torch.mm(read, down.to(kind).t()) for read, down in zip(reads, factors[::2], strict=True)]
        else:
            down = _stacked(factors[::2], kind)
            low = list(torch.mm(rows, down.t()).split([each.shape[0] for each in factors[::2]], 1)) if adapters else []
        for part, small, factor, each in zip(_adapted(out, product), low, factors[1::2], adapters, strict=True):
            part.addmm_(small, _scaled(factor, each, kind).t())
        ctx.product, ctx.masks, ctx.gate_kind = product, masks, gate_kind
        ctx.save_for_backward(first if adapters or up is not None else None, up, *low, *factors)
        return out if len(product.splits) == 1 else tuple(out.split(product.splits, 1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        product: Product = ctx.product
        first, up, *rest = ctx.saved_tensors
        gradient = joined(gradients)
        kind = gradient.dtype
        adapters = [layer.adapter for layer in product.layers if layer.adapter is not None]
        low, factors = rest[: len(adapters)], rest[len(adapters) :]
        lows = torch.empty(gradient.shape[0], sum(each.down.shape[0] for each in adapters), dtype=kind)
        slots = lows.split([each.down.shape[0] for each in adapters], 1) if adapters else ()
        found: list[Tensor] = []
        for part, small, slot, factor, each in zip(
            _adapted(gradient, product), low, slots, factors[1::2], adapters, strict=True
        ):
            torch.mm(part, _scaled(factor, each, kind), out=slot)
            found.append(torch.mm(part.t(), small).float().mul_(each.scale))
        rows = first if up is None or not adapters else gated.product(first, up, ctx.gate_kind)
        downs = _downs(rows, lows, slots, ctx.masks)
        del rows
        back = to_up = None
        if ctx.needs_input_grad[0]:
            back = torch.mm(gradient, product.weight(kind))
            if all(mask is None for mask in ctx.masks):
                if adapters:
                    back.addmm_(lows, _stacked(factors[::2], kind))
            else:
                for slot, down, mask in zip(slots, factors[::2], ctx.masks, strict=True):
                    through = torch.mm(slot, down.to(kind))
                    back.add_(through if mask is None else through.mul_(mask))
            if up is not None:
                back, to_up = gated.gradients(back, first, up, ctx.gate_kind)
        pairs = [each for pair in zip(downs, found, strict=True) for each in pair]
        return back, to_up, None, *(each.to(factor.dtype) for each, factor in zip(pairs, factors, strict=True))


def _downs(rows: Tensor, lows: Tensor, slots: Sequence[Tensor], masks: Sequence[Tensor | None]) -> list[Tensor]:
    """dA of each adapter, in float32."""
    if not slots:
        return []
    if all(mask is None for mask in masks):
        return [each.float() for each in torch.mm(lows.t(), rows).split([slot.shape[1] for slot in slots])]
    return [
        torch.mm(slot.t(), rows if mask is None else rows * mask).float()
        for slot, mask in zip(slots, masks, strict=True)
    ]


def _adapted(out: Tensor, product: Product) -> list[Tensor]:
    """The columns of those layers that have an adapter."""
    parts = out.split(product.outputs, 1)
    return [part for part, layer in zip(parts, product.layers, strict=True) if layer.adapter is not None]


def _scaled(up: Tensor, adapter: Adapter, kind: torch.dtype) -> Tensor:
    """s B, rounded once."""
    return (up * adapter.scale).to(kind)


def _stacked(downs: Sequence[Tensor], kind: torch.dtype) -> Tensor:
    return torch.cat([each.to(kind) for each in downs]) if len(downs) > 1 else downs[0].to(kind) if downs else None  # type: ignore[return-value]


def _mask(rows: Tensor, dropout: float) -> Tensor:
    """1 / (1 - dropout) where an input stays, 0 where it is dropped."""
    return torch.empty_like(rows).bernoulli_(1 - dropout).div_(1 - dropout)


def _filled(biases: Sequence[Tensor | None], outputs: Sequence[int]) -> Tensor:
    given = next(each for each in biases if each is not None)
    return torch.cat(
        [given.new_zeros(count) if each is None else each.data for each, count in zip(biases, outputs, strict=True)]
    )


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Matrices side by side, [rows, sum of columns]: without a copy where they lie so in memory already."""
    first = parts[0]
    if len(parts) == 1:
        return first
    at, width = first.storage_offset(), sum(part.shape[1] for part in parts)
    for part in parts:
        beside = part.storage_offset() == at and part.stride() == first.stride() and part.stride(1) == 1
        if not beside or part.untyped_storage().data_ptr() != first.untyped_storage().data_ptr():
            return torch.cat(tuple(parts), 1)
        at += part.shape[1]
    if first.stride(0) < width:
        return torch.cat(tuple(parts), 1)
    return first.as_strided((first.shape[0], width), first.stride(), first.storage_offset())
