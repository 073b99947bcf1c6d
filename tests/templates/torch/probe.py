"""Run in a trainer's environment: what only PyTorch can tell, as one JSON document.

PYTHONPATH=templates/torch:templates/common python probe.py MODEL MODEL_FOR_4_BIT DATA FOLDER NAME...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import loading
import loop
import reader
import rows
import torch
import transformers
from checkpoints import Store
from events import Events
from job import Checkpoint, Data, Job
from packing import in_rows
from reports import Progress, Reports
from tokens import IGNORED, Encoder, load_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

transformers.logging.set_verbosity_error()
MODEL, FOUR_BIT, DATA, FOLDER, *NAMES = sys.argv[1:]
TWO_ANSWERS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is 2 even? ✓"},
    {"role": "assistant", "content": "Yes, 2 is even. ✓"},
    {"role": "user", "content": "And 3?"},
    {"role": "assistant", "content": "No."},
)
# What some published templates do: say nothing of the reasoning in earlier turns.
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content.split('</think>')[-1] if m.role == 'assistant' and not loop.last else m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# And this: the prompt opens the reasoning, which the finished answer does not show.
OPENS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def job(**changes: Any) -> Job:
    """A job on the tiny model."""
    places = {"data": Data(DATA), "checkpoint": Checkpoint(FOLDER + "/ckpt"), "output": FOLDER + "/output"}
    return Job(**{"model": MODEL, "sequence_length": 128, **places, **changes})


def learnt(encoder: Encoder, tokenizer: Any, row: rows.Row) -> list[list[str]]:
    """Per document: the runs of trained tokens, as text."""
    found = []
    for document in encoder.encode(row):
        spans: list[list[int]] = [[]]
        for label in document.labels:
            if label != IGNORED:
                spans[-1].append(label)
            elif spans[-1]:
                spans.append([])
        found.append([tokenizer.decode(span) for span in spans if span])
    return found


def masks() -> dict[str, Any]:
    """What is trained, as text, for kinds of rows and templates."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    encoder = Encoder(tokenizer, "assistant")
    chat = rows.Row(1, TWO_ANSWERS)
    thought = rows.Row(
        1, (*TWO_ANSWERS[:2], {"role": "assistant", "content": "<think>hm</think>Yes."}, *TWO_ANSWERS[3:])
    )
    found = {
        "chat": learnt(encoder, tokenizer, chat),
        "last answer only": learnt(encoder, tokenizer, rows.Row(1, TWO_ANSWERS, first_trained=4)),
        "prompt": learnt(encoder, tokenizer, rows.Row(1, prompt="2 + 2 =", completion=" four")),
        "all": ["".join(part) for part in learnt(Encoder(tokenizer, "all"), tokenizer, chat)],
        "whole": tokenizer.apply_chat_template(list(TWO_ANSWERS), tokenize=False),
    }
    for name, template in (("forgetful", FORGETFUL), ("opens", OPENS)):
        tokenizer.chat_template = template
        found[name] = learnt(encoder, tokenizer, thought if name == "forgetful" else chat)
    return found


def tiny_documents(count: int) -> list[Any]:
    """The first documents of the data."""
    encoder = Encoder(AutoTokenizer.from_pretrained(MODEL), "assistant")
    return encoder.prepare(list(reader.read(Path(DATA), None))[:count], 128).documents


def trainer(described: Job, documents: list[Any]) -> Any:
    """Our trainer over the documents, ready to train."""
    progress = Progress(steps=1, evaluates=True)
    watcher = loop.Watcher(Reports(described, Store(Path(FOLDER) / "ckpt", 1), progress, Events(sys.stderr)))
    model = loading.load_model(described)
    peft = loading.adapter_config(described, model) if described.adapter else None
    data = loop.dataset(in_rows(documents, described.sequence_length, described.packing))
    return loop.build(described, model, peft, load_tokenizer(described), (data, data), watcher)


def isolation() -> dict[str, Any]:
    """Log-probabilities of packed documents against the same documents alone (fp32, so that only mixing can differ)."""
    documents = tiny_documents(3)
    built = trainer(job(method="full", dtype="amp", sequence_length=256), documents)
    packed = next(iter(built.get_train_dataloader()))
    model = built.model.eval()
    order = sorted(documents, key=lambda document: -len(document.ids))
    labels = packed.pop("labels")
    with torch.no_grad():
        together = model(**packed, use_cache=False).logits[0]
        alone = torch.cat([model(input_ids=torch.tensor([document.ids])).logits[0] for document in order])
        mixed = model(input_ids=packed["input_ids"]).logits[0]
    starts = [at for at, position in enumerate(packed["position_ids"][0].tolist()) if position == 0]
    return {
        "rows": packed["input_ids"].shape[0],
        "documents": len(starts),
        "same_order": packed["input_ids"][0].tolist() == [token for document in order for token in document.ids],
        "difference": (together - alone).abs().max().item(),
        "difference_when_mixed": (mixed - alone).abs().max().item(),
        "first_tokens_ignored": all(labels[0, at].item() == IGNORED for at in starts),
        "trained": int((labels != IGNORED).sum()),
        "trained_alone": sum(document.trained for document in documents),
    }


def gradients(built: Any, batch: dict[str, Any]) -> torch.Tensor:
    """All adapter gradients of one micro-batch as one vector."""
    built.model.zero_grad()
    built.model.train()
    with built.compute_loss_context_manager():
        built.compute_loss(built.model, dict(batch)).backward()
    return torch.cat([p.grad.float().flatten() for p in built.model.parameters() if p.grad is not None])


def after_evaluation(switch_off: bool) -> float:
    """The relative change of the gradients of 4-bit training that one evaluation makes."""
    described = job(method="qlora", model=FOUR_BIT, activation_checkpointing=False)
    built = trainer(described, tiny_documents(2))
    torch.manual_seed(0)
    for name, parameter in built.model.named_parameters():
        if "lora_B" in name:  # zero at the start, where nothing would flow through
            parameter.data.normal_(std=0.02)
    if not switch_off:
        for module in built.model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = True
    batch = next(iter(built.get_train_dataloader()))
    before = gradients(built, batch)
    built.evaluate()
    return ((gradients(built, batch) - before).norm() / before.norm()).item()


def has_the_fault() -> bool:
    """Whether bitsandbytes would repack weights on this CPU."""
    from bitsandbytes.functional import has_avx512bf16

    return bool(has_avx512bf16())


def targets() -> dict[str, Any]:
    """Which layers get an adapter in dense, fused, MLA and mixture models."""
    from transformers import AutoConfig

    small = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 128,
        "intermediate_size": 64,
    }
    mla = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
    kinds = {
        "llama": {"num_key_value_heads": 2},
        "phi3": {"num_key_value_heads": 2, "pad_token_id": 0},
        "deepseek_v3": {**mla, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
        "qwen2_moe": {"num_key_value_heads": 2, "num_experts": 4, "shared_expert_intermediate_size": 32},
    }
    found: dict[str, Any] = {}
    for kind, more in kinds.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**small, **more}))
        found[kind] = {name: loading.target_modules(model, name) for name in ("qv", "attention", "all-linear")}
    return found


PROBES = {
    "masks": masks,
    "isolation": isolation,
    "targets": targets,
    "has_the_fault": has_the_fault,
    "change_with_the_switch_off": lambda: after_evaluation(switch_off=True),
    "change_with_the_switch_on": lambda: after_evaluation(switch_off=False),
}


if __name__ == "__main__":
    print(json.dumps({name: PROBES[name]() for name in NAMES or PROBES}))
