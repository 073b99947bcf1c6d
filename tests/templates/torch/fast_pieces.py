"""Run in the trainer's environment: each piece of the fast path beside its formula, as autograd computes it.

Prints one line of JSON: by piece and case, the largest relative difference of outputs and gradients in float32.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from fast.attention import BLOCK, KEEP, NEVER, Documents, Shape, attend
from fast.gated import gated
from fast.linear import Adapter, Layer, Product, joined
from fast.loss import Head, cross_entropy
from fast.norm import rms_norm
from fast.pages import give_back, lies_in_a_file
from fast.rotary import Angles, angles, turn
from fast.threshold import flash_from
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

FOUND: dict[str, float | bool] = {}


def drawn(*shape: int) -> Tensor:
    """Normal numbers that gradients flow to."""
    return torch.randn(shape).requires_grad_()


def differ(mine: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The largest relative difference of pairs."""
    assert [each.shape for each in mine] == [each.shape for each in right]
    return max(float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(mine, right, strict=True))


def compare(name: str, mine: Callable[[], Any], right: Callable[[], Any], inputs: Sequence[Tensor]) -> None:
    """Outputs and the inputs' gradients of both, for one gradient of the output."""
    results = []
    for function in (mine, right):
        outputs = function()
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        torch.manual_seed(9)
        total = sum((output * torch.randn_like(output)).sum() for output in outputs)
        results.append([*outputs, *torch.autograd.grad(total, inputs)])
    FOUND[name] = differ(*results)


def linear() -> None:
    """Three layers with one input: biases on some, adapters on some; 4-bit weights; dropout."""
    torch.manual_seed(0)
    bases = [nn.Linear(24, width, bias=width != 8).requires_grad_(False) for width in (16, 8, 12)]
    factors = [(drawn(4, 24), drawn(16, 4)), None, (drawn(3, 24), drawn(12, 3))]
    rows = drawn(10, 24)
    layers = [
        Layer(base, base.out_features, None if pair is None else Adapter(*pair, 1.7, 0.0))
        for base, pair in zip(bases, factors, strict=True)
    ]
    product = Product(layers)

    def right() -> tuple[Tensor, ...]:
        return tuple(
            base(rows) if pair is None else base(rows) + 1.7 * (rows @ pair[0].t()) @ pair[1].t()
            for base, pair in zip(bases, factors, strict=True)
        )

    learnt = [each for pair in factors if pair for each in pair]
    compare("linear joined", lambda: product(rows, True), right, [rows, *learnt])
    FOUND["linear shares its weights"] = bases[1].weight.data_ptr() == product.dense[16:].data_ptr()
    fused = Product([Layer(bases[0], 16, Adapter(*factors[0], 1.7, 0.0))], (10, 6))
    compare("linear split", lambda: fused(rows, True), lambda: right()[0].split((10, 6), 1), [rows, *factors[0]])
    wet = Product([Layer(bases[0], 16, Adapter(*factors[0], 1.7, 0.5))])
    compare("linear dropout off", lambda: wet(rows, False), lambda: right()[0], [rows, *factors[0]])
    torch.manual_seed(4)
    kept = torch.empty(10, 24).bernoulli_(0.5).div_(0.5)

    def dropped() -> Tensor:
        torch.manual_seed(4)
        return wet(rows, True)[0]

    def plain() -> Tensor:
        return bases[0](rows) + 1.7 * ((rows * kept) @ factors[0][0].t()) @ factors[0][1].t()

    compare("linear dropout", dropped, plain, [rows, *factors[0]])
    gate, up = drawn(10, 24), drawn(10, 24)
    compare(
        "linear after a gate",
        lambda: product(gate, True, up, "silu"),
        lambda: product(nn.functional.silu(gate) * up, True),
        [gate, up, *learnt],
    )
    whole = torch.randn(6, 10)
    FOUND["joined without a copy"] = joined(whole.split((4, 6), 1)).data_ptr() == whole.data_ptr()
    apart = [torch.randn(6, 4), torch.randn(6, 6)]
    FOUND["joined from apart"] = torch.equal(joined(apart), torch.cat(apart, 1))
    FOUND["joined in another order"] = torch.equal(joined([whole[:, 4:], whole[:, :4]]), whole.roll(6, 1))


def four_bit() -> None:
    """NF4 weights with double quantisation, two layers in one product."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    torch.manual_seed(0)
    bases = []
    for width in (64, 128):
        layer = Linear4bit(64, width, bias=False, quant_type="nf4", compute_dtype=torch.float32)
        bases.append(layer.requires_grad_(False).to("cpu"))
    pairs = [(drawn(4, 64), drawn(base.out_features, 4)) for base in bases]
    rows = drawn(10, 64)
    product = Product(
        [Layer(base, base.out_features, Adapter(*pair, 2.0, 0.0)) for base, pair in zip(bases, pairs, strict=True)]
    )

    def right() -> tuple[Tensor, ...]:
        return tuple(
            rows @ dequantize_4bit(base.weight.data, base.weight.quant_state).t()
            + 2 * (rows @ pair[0].t()) @ pair[1].t()
            for base, pair in zip(bases, pairs, strict=True)
        )

    compare("linear in 4 bit", lambda: product(rows, True), right, [rows, *(each for pair in pairs for each in pair)])


def elementwise() -> None:
    """Norm, gate, turn."""
    torch.manual_seed(0)
    rows, weight = drawn(7, 3, 12), drawn(12)
    for added in (0.0, 1.0):
        compare(
            f"norm plus {added:g}",
            lambda added=added: rms_norm(rows, weight, 1e-5, added),
            lambda added=added: rows * torch.rsqrt(rows.square().mean(-1, keepdim=True) + 1e-5) * (weight + added),
            [rows, weight],
        )
    gate, up = drawn(7, 12), drawn(7, 12)
    compare("gated silu", lambda: gated(gate, up, "silu"), lambda: nn.functional.silu(gate) * up, [gate, up])
    tanh = lambda: nn.functional.gelu(gate, approximate="tanh") * up  # noqa: E731
    compare("gated gelu", lambda: gated(gate, up, "gelu"), tanh, [gate, up])
    heads = torch.randn(2, 9, 3, 16)  # key heads, tokens, queries of each, size
    table = torch.randn(1, 9, 6)
    cos, sin = (torch.cat((each, each), -1) for each in (table.cos(), table.sin()))
    out, again = torch.empty_like(heads), torch.empty_like(heads)
    turn(heads, angles(cos, sin), out)
    right, _ = apply_rotary_pos_emb(*[heads[..., :12].permute(0, 2, 1, 3)] * 2, cos, sin)
    FOUND["rotary"] = differ([out], [torch.cat((right.permute(0, 2, 1, 3), heads[..., 12:]), -1)])
    turn(out, angles(cos, sin), again, back=True)
    FOUND["rotary back"] = differ([again], [heads])


def attention() -> None:
    """Documents of many lengths, with each kind of mask, by products and by PyTorch's own attention."""
    lengths = (1, 17, BLOCK + 1, 3, KEEP + 90)
    starts = [sum(lengths[:count]) for count in range(len(lengths) + 1)]
    tokens, heads, key_heads, size = starts[-1], 4, 2, 8
    torch.manual_seed(0)
    q, k, v = drawn(tokens, heads * size), drawn(tokens, key_heads * size), drawn(tokens, key_heads * size)
    table = torch.randn(tokens, size // 2)
    by = Angles(table.cos(), table.sin())
    document = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(tokens)

    def right(shape: Shape) -> Tensor:
        def laid(each: Tensor) -> Tensor:
            return each.view(tokens, -1, size).transpose(0, 1)

        def turned(each: Tensor) -> Tensor:
            first, second = each.chunk(2, -1)
            return torch.cat((first * by.cos - second * by.sin, second * by.cos + first * by.sin), -1)

        queries, keys = turned(laid(q)), turned(laid(k)).repeat_interleave(heads // key_heads, 0)
        scores = queries @ keys.transpose(1, 2) * shape.scale
        if shape.cap:
            scores = torch.tanh(scores / shape.cap) * shape.cap
        visible = (document[:, None] == document) & (place[:, None] >= place)
        if shape.window:
            visible &= place[:, None] - place < shape.window
        chances = torch.softmax(scores.masked_fill(~visible, -math.inf), -1)
        return (chances @ laid(v).repeat_interleave(heads // key_heads, 0)).transpose(0, 1).reshape(tokens, -1)

    for name, window, cap, limit in (
        ("attention", None, None, NEVER),
        ("attention in a window", 40, None, NEVER),
        ("attention in a wide window", BLOCK + 77, None, NEVER),
        ("attention with a cap", None, 2.0, NEVER),
        ("attention by flash", None, None, 100),
    ):
        shape = Shape(heads, key_heads, size, 0.4, window, cap)
        documents = Documents(flash_from=limit)
        documents.of(starts)
        compare(
            name,
            lambda documents=documents, shape=shape: attend(q, k, v, by, documents, shape),
            lambda shape=shape: right(shape),
            [q, k, v],
        )


def pages() -> None:
    """A weight that lies in a file: known as such, copied by a product, and its pages given back."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "weights"
        torch.randn(1 << 20).numpy().tofile(path)
        mapped = torch.from_file(str(path), shared=False, size=1 << 20).view(1024, 1024)
        sum_before = mapped.sum()
        FOUND["a file's pages are known"] = lies_in_a_file(mapped) and not lies_in_a_file(torch.randn(1024, 1024))
        before = resident_file_bytes()
        give_back(mapped)
        FOUND["a file's pages are given back"] = before - resident_file_bytes() > 3 << 20
        FOUND["a file's pages can be read again"] = bool(mapped.sum() == sum_before)
        base = nn.Linear(1024, 1024, bias=False).requires_grad_(False)
        base.weight.data = mapped
        own = Product([Layer(base, 1024, None)]).dense
        FOUND["a product's weights are its own"] = not lies_in_a_file(own) and base.weight.data_ptr() == own.data_ptr()


def resident_file_bytes() -> int:
    """Of this process."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile:"))


def threshold() -> None:
    """PyTorch's own attention is taken where it is clearly faster, by a clock that says so."""
    shape = Shape(4, 2, 8, 0.4)

    def clock(*seconds: float) -> Callable[[], float]:
        times = iter([at for each in seconds for at in (0.0, each)])
        return lambda: next(times)

    kind = torch.float32
    FOUND["flash where it is faster"] = flash_from(shape, kind, 600, clock(5, 3, 2, 2)) == KEEP
    FOUND["products where it is about as fast"] = flash_from(shape, kind, 600, clock(5, 3, 2.9, 2.9)) == NEVER
    FOUND["products for short documents"] = flash_from(shape, kind, KEEP) == NEVER
    FOUND["products with a cap"] = flash_from(shape._replace(cap=2.0), kind, 4096) == NEVER


def loss() -> None:
    """Frozen and trained heads, a cap, a bias, several chunks, and losses that no small number holds."""
    torch.manual_seed(0)
    rows, weight, bias = drawn(150, 8), drawn(40, 8), drawn(40)
    targets = torch.randint(0, 40, (150,))
    for name, given, cap, inputs in (
        ("loss", None, None, [rows]),
        ("loss of a trained head", bias, None, [rows, weight, bias]),
        ("loss with a cap", None, 1.5, [rows, weight]),
    ):

        def right(given: Tensor | None = given, cap: float | None = cap) -> Tensor:
            logits = nn.functional.linear(rows, weight, given)
            logits = logits if cap is None else torch.tanh(logits / cap) * cap
            return nn.functional.cross_entropy(logits, targets, reduction="sum") / 77

        head = Head(weight, given, cap)
        compare(name, lambda head=head: cross_entropy(rows, head, targets, 77), right, inputs)
    far = torch.tensor([[1000.0]], requires_grad=True)
    column = torch.tensor([[1.0], [-1.0]])
    FOUND["loss of 2000"] = float(cross_entropy(far, Head(column), torch.tensor([1]), 1)) - 2000
    with torch.no_grad():
        same = cross_entropy(rows, Head(weight), targets, 77)
    FOUND["loss without gradients"] = float(same - cross_entropy(rows, Head(weight), targets, 77))
    nothing = cross_entropy(rows[:0], Head(weight), targets[:0], 1)
    FOUND["loss of nothing"] = float(nothing)
    nothing.backward()


for check in (linear, four_bit, elementwise, attention, pages, threshold, loss):
    check()
print(json.dumps(FOUND))
