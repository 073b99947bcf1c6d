"""What a training step costs beside its large products: steps of small QLoRA models by the trainer itself, taken apart.

A step of our trainer over T tokens on a processor takes, with R operations per second of products,

    step + layers x layer + 3 x weights x unpack
         + T x (operations of layers / R + numbers of the head x head + attention / A + weights / hidden x element)

`unpack` (of a 4-bit weight) and A (attention) are timed alone. `step`, `layer` (operators, Python, optimizer), `head`
(products of the head, partly in float32, and the loss) and `element` (norms, activations, adapters, casts) are what
steps of two depths and two lengths leave of the rest.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

HIDDEN, WIDE, HEADS, KV_HEADS = 576, 1536, 9, 3  # a layer of SmolLM2 135M
VOCAB = 16384
FEW, MANY = 2, 24  # layers: few, and so many that their weights lie in no cache
SHORT, LONG = 128, 512  # tokens
STEPS = 4  # of each kind, if nobody says; the middle counts: a run pays for what is usual here, not for the best
PASSES = 3  # over the frozen weights in each step: forward, recomputation, backward
KV = HIDDEN * KV_HEADS // HEADS
WEIGHTS = HIDDEN * (2 * HIDDEN + 2 * KV + 3 * WIDE)  # of one layer
ADAPTER = 16 * (2 * 2 * HIDDEN + 2 * (HIDDEN + KV) + 3 * (HIDDEN + WIDE))
LEAST_S = 1e-12


class Costs(NamedTuple):
    """Seconds of all cores together: of a step, a layer in it, an element, a number of the head, a 4-bit weight; and A.

    Attention is counted as 6 x tokens^2 x width for forward, recomputation and backward together.
    """

    step_s: float
    layer_s: float
    element_s: float
    head_s: float
    unpack_s: float
    attention_flops_per_s: float


def costs(
    products: Mapping[str, float], clock: Callable[[], float] = time.perf_counter, steps: int = STEPS
) -> dict[str, Costs]:
    """By number type, given operations per second of products in each. Takes about 15 s on two idle cores."""
    quietly()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        few, many = (tiny_model(Path(name) / str(layers), layers) for layers in (FEW, MANY))
        for dtype, rate in products.items():
            seconds = {
                (layers, tokens): taken
                for layers, model in ((FEW, few), (MANY, many))
                for tokens, taken in step_times(model, dtype, (SHORT, LONG), (clock, steps)).items()
            }
            found[dtype] = taken_apart(seconds, rate, *alone(dtype, clock))
    return found


def taken_apart(steps: Mapping[tuple[int, int], float], rate: float, unpack_s: float, attention: float) -> Costs:
    """The costs, from seconds of a step by its layers and tokens."""

    def left(layers: int, tokens: int) -> float:
        products = tokens * 6 * (WEIGHTS + ADAPTER) / rate + 6 * tokens * tokens * HIDDEN / attention
        return steps[layers, tokens] - layers * (PASSES * WEIGHTS * unpack_s + products)

    per_token = {layers: (left(layers, LONG) - left(layers, SHORT)) / (LONG - SHORT) for layers in (FEW, MANY)}
    in_layer = max((per_token[MANY] - per_token[FEW]) / (MANY - FEW), LEAST_S)
    in_head = max(per_token[FEW] - FEW * in_layer, LEAST_S)
    fixed = {layers: left(layers, SHORT) - SHORT * per_token[layers] for layers in (FEW, MANY)}
    layer = max((fixed[MANY] - fixed[FEW]) / (MANY - FEW), LEAST_S)
    step = max(fixed[FEW] - FEW * layer, LEAST_S)
    return Costs(step, layer, in_layer * HIDDEN / WEIGHTS, in_head / (VOCAB * HIDDEN), unpack_s, attention)


def tiny_model(folder: Path, layers: int) -> Path:
    """A model folder with random weights and a tokenizer of single words."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=WIDE,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    names = [f"w{number}" for number in range(VOCAB)]
    words = Tokenizer(WordLevel({name: number for number, name in enumerate(names)}, unk_token=names[0]))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token=names[1], pad_token=names[2]).save_pretrained(folder)
    return folder


def step_times(
    model: Path, dtype: str, lengths: tuple[int, ...], timing: tuple[Callable[[], float], int]
) -> dict[int, float]:
    """Seconds of an optimizer step by its tokens: the trainer's own loop, the middle of so many steps by a clock."""
    clock, steps = timing
    import checkpoints
    import loading
    import loop
    from job import Checkpoint, Data, Job
    from packing import in_rows
    from reports import Progress, Reports
    from tokens import Document, load_tokenizer

    class Timed(loop.Watcher):
        """Notes how long each step takes, from where the trainer's own clock starts to where it stops."""

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            """Start."""
            super().on_step_begin(*args, **kwargs)
            self.began, self.before = clock(), self.progress.tokens

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            """Stop."""
            times.setdefault(self.progress.tokens - self.before, []).append(clock() - self.began)
            super().on_step_end(*args, **kwargs)

    times: dict[int, list[float]] = {}
    where = model / dtype
    job = Job(str(model), Data("none"), Checkpoint(str(where)), str(where / "output"))
    job = replace(job, sequence_length=LONG, compute=dtype)  # type: ignore[arg-type]  # one of the two
    rows = [Document([3 + at % (VOCAB - 3) for at in range(length)], [4] * length, 0) for length in lengths]
    data = loop.dataset(in_rows([row for row in rows for _ in range(steps)], LONG, False))
    store = checkpoints.Store(where, 1)
    store.prepare()
    silence: Any = Silence()  # in place of the stream
    watcher = Timed(Reports(job, store, Progress(steps * len(lengths)), silence))
    loaded = loading.load_model(job)
    adapter = loading.adapter_config(job, loaded)
    loop.run(loop.build(job, loaded, adapter, load_tokenizer(job), (data, None), watcher), None)
    return {tokens: sorted(found)[len(found) // 2] for tokens, found in times.items()}


class Silence:
    """Takes the loop's events in place of the stream."""

    def emit(self, event: str, **fields: Any) -> None:
        """Nothing."""


def alone(dtype: str, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds for a 4-bit weight to be unpacked, and attention operations per second."""
    import torch
    from bitsandbytes import functional

    kind = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    packed, state = functional.quantize_4bit(
        torch.randn(WIDE, HIDDEN, dtype=kind), quant_type="nf4", compress_statistics=True
    )
    unpack_s = fastest(lambda: functional.dequantize_4bit(packed, state), clock) / (WIDE * HIDDEN)
    heads = [torch.randn(1, HEADS, LONG, HIDDEN // HEADS, dtype=kind, requires_grad=True) for _ in range(3)]

    def forward() -> Any:
        return torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=True)

    def both() -> None:
        forward().sum().backward()

    seconds = fastest(forward, clock) + fastest(both, clock)
    return unpack_s, 6 * LONG * LONG * HIDDEN / seconds


def fastest(run: Callable[[], object], clock: Callable[[], float], repeats: int = 8) -> float:
    """Seconds of the fastest of some runs, after one that warms up."""
    run()
    times = []
    for _ in range(repeats):
        began = clock()
        run()
        times.append(clock() - began)
    return min(times)


def quietly() -> None:
    """Settings of the libraries, before they are imported: no hub, no chatter."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
