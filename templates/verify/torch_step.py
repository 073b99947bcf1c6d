"""Proves what one training step needs: runs it with PyTorch on fake tensors and prints the highest moment.

`python torch_step.py < document.json`. Nothing is allocated, so any model goes on any machine. The document holds
`config` (the keys of a Hugging Face config.json) and `options`; the answer is one JSON object on standard output, with
`unsupported` and a message in it where the step cannot be run. Two steps are run and the second is measured, which
has the optimiser's states.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"})
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import four_bit  # noqa: E402
import optimizers  # noqa: E402
import stand_ins  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from live_bytes import LiveBytes  # noqa: E402
from torch import nn  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

LOSS_CHUNKS = 8
ADAPTERS = ("lora", "qlora", "dora")


class UnsupportedError(Exception):
    """Why this step cannot be run here, as a message."""


def main() -> None:
    """Read the document, run, print."""
    document = json.load(sys.stdin)
    torch.set_num_threads(1)
    try:
        answer = prove(document["config"], document["options"])
    except UnsupportedError as error:
        answer = {"unsupported": str(error)}
    print(json.dumps(answer))


def prove(keys: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The highest moment of the second step: bytes by kind, phase, and how many parameters were built."""
    config = configure(keys, options)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model, base = build(config, options)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        live = LiveBytes(tied_gradient(config, base, options))
        live.mark([*model.parameters(), *model.buffers()], "weights")
        optimizer = optimizers.make(options["optimizer"], trained)
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(lambda it: live.mark([it.grad], "gradients"))
        with live:
            step(model, base, optimizer, options, live)
            gc.collect()
            live.phase = "forward"
            live.forget_peak()
            step(model, base, optimizer, options, live)
    return {
        "peak_bytes": live.peak,
        "phase": live.peak_phase,
        "parts": live.peak_live,
        "params_total": base.params_total,
        "params_trainable": sum(parameter.numel() for parameter in trained),
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
    }


def configure(keys: dict[str, Any], options: dict[str, Any]) -> Any:
    """The model's configuration with the kernels that a training run would use."""
    kind = keys.get("model_type", "")
    if kind not in transformers.CONFIG_MAPPING:
        raise UnsupportedError(f"transformers {transformers.__version__} has no class for `{kind}`")
    try:
        config = transformers.CONFIG_MAPPING[kind].from_dict(keys)
    except Exception as error:  # its checks raise many kinds; each says which key
        message = " ".join(str(error).split())[:300]
        raise UnsupportedError(f"transformers {transformers.__version__} refuses the config: {message}") from error
    config.use_cache = False
    for part in (config, config.get_text_config()):
        if getattr(part, "attention_dropout", None):
            part.attention_dropout = 0.0  # as the trainer does
    attention = options["attention"]
    if attention == "sdpa" and hasattr(config, "kv_lora_rank"):
        attention = stand_ins.PADDED_SDPA
    config._attn_implementation = attention
    if kind == "longcat_flash":
        stand_ins.longcat_experts()
    elif any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        config._experts_implementation = "grouped_mm"
    stand_ins.fake_friendly()
    return config


def build(config: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """The model to train, and the bare one inside it, with the method applied."""
    method, dtype = options["method"], options["dtype"]
    wide = dtype == "fp32" or (dtype == "amp" and method not in ADAPTERS)
    weights = torch.float32 if wide else torch.bfloat16
    with transformers.initialization.no_init_weights():
        attention = config._attn_implementation
        base = transformers.AutoModelForCausalLM.from_config(config, dtype=weights, attn_implementation=attention)
    base.tie_weights()
    base.params_total = sum(parameter.numel() for parameter in base.parameters())
    base.train()
    if method == "qlora":
        four_bit.pack_linears(base)
        if options["experts_4bit"]:
            four_bit.pack_experts(base, options["expert_dequant"] == "single")
        if options["embed_fp32"]:
            widen(base.parameters(), torch.float32)
    model = base
    if method in ADAPTERS:
        base.requires_grad_(False)
        model = adapt(base, options)
    elif method == "freeze":
        base.requires_grad_(False)
        for layer in base.model.layers[-options["train_layers"] :]:
            layer.requires_grad_(True)
    if options["checkpointing"]:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model, base


def adapt(base: Any, options: dict[str, Any]) -> Any:
    """PEFT's adapters around the model."""
    import peft

    rank = options["rank"]
    lora = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=options["dropout"],
        target_modules=options["target_modules"],
        use_dora=options["method"] == "dora",
        task_type="CAUSAL_LM",
    )
    narrow = options["adapter_dtype"] == "bf16"
    with assigning_apply():
        model = peft.get_peft_model(base, lora, autocast_adapter_dtype=not narrow)
    if narrow:
        widen((it for it in model.parameters() if it.requires_grad), torch.bfloat16)
    return model


def widen(parameters: Iterator[Any], dtype: torch.dtype) -> None:
    """Give floating-point parameters another type."""
    for parameter in parameters:
        if parameter.is_floating_point() and parameter.dtype != dtype:
            parameter.data = torch.empty(parameter.shape, dtype=dtype)


@contextlib.contextmanager
def assigning_apply() -> Iterator[None]:
    """`Module.to` swaps tensors, which fake ones refuse: assign new parameters meanwhile."""
    original = nn.Module._apply

    def apply(self: Any, change: Any, recurse: bool = True) -> Any:
        for child in self.children():
            child._apply(change)
        for name, parameter in self._parameters.items():
            if parameter is not None:
                with torch.no_grad():
                    self._parameters[name] = nn.Parameter(change(parameter), requires_grad=parameter.requires_grad)
        self._buffers.update({name: change(it) for name, it in self._buffers.items() if it is not None})
        return self

    nn.Module._apply = apply  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nn.Module._apply = original  # type: ignore[method-assign]


def tied_gradient(config: Any, base: Any, options: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape of a tied table whose two gradients autograd adds in place: under autocast of float32 weights."""
    if options["dtype"] == "amp" and options["method"] == "full" and config.tie_word_embeddings:
        return tuple(base.get_input_embeddings().weight.shape)
    return None


def step(model: Any, base: Any, optimizer: Any, options: dict[str, Any], live: LiveBytes) -> None:
    """One optimiser step of `grad_accum` micro-batches."""
    shape = (options["batch"], options["sequence_length"])
    casts = options["dtype"] == "amp" or (options["dtype"] == "bf16" and options["method"] in ADAPTERS)
    for _ in range(options["grad_accum"]):
        live.phase = "forward"
        tokens = torch.randint(0, base.config.vocab_size, shape)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=casts):
            loss = forward(model, base, tokens, options["loss"])
        live.phase = "backward"
        loss.backward()
        del loss
    live.phase = "optimizer"
    optimizer.step()
    live.mark(optimizer.states(), "optimizer")
    optimizer.zero_grad()


def forward(model: Any, base: Any, tokens: Any, loss: str) -> Any:
    """The loss: Hugging Face's own over all logits, or cross-entropy that holds an eighth of them at a time."""
    if loss == "hf":
        output = model(input_ids=tokens, labels=tokens, use_cache=False)
        return output.loss
    hidden = base.model(input_ids=tokens, use_cache=False).last_hidden_state
    rows, labels = hidden[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()

    def of_chunk(rows: Any, labels: Any) -> Any:
        return functional.cross_entropy(base.lm_head(rows).float(), labels, reduction="sum")

    total = hidden.new_zeros((), dtype=torch.float32)
    for some_rows, some_labels in zip(rows.chunk(LOSS_CHUNKS), labels.chunk(LOSS_CHUNKS), strict=True):
        total = total + checkpoint(of_chunk, some_rows, some_labels, use_reentrant=False)
    return total / labels.numel()


if __name__ == "__main__":
    main()
