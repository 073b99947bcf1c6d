"""Run in the trainer's environment: the fast path beside the plain one, on the same packed batches of small models.

    python fast_cases.py TOKENIZER_FOLDER WORK_FOLDER CASES_JSON

A case names a family, a method, changes of the model's configuration and of the job. All of it runs in one process. For
each case one line of JSON is printed: by path, the loss of each step and the relative error of all adapters' gradients,
against the plain path in float32 with the same weights; parameters follow the float32 path's own steps.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from checkpoints import Store
from job import Checkpoint, Data, Job, Lora
from loading import adapter_config, load_model
from loop import Watcher, build, dataset
from packing import in_rows
from reports import Progress, Reports
from tokens import Document

SOURCE, WORK, CASES = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
SMALL = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CLASSES = {"gemma2": "Gemma2", "gemma3": "Gemma3Text", "olmo2": "Olmo2", "smollm3": "SmolLM3"}
WITHOUT_HEAD_SIZE = ("qwen2", "olmo2", "phi3")
LENGTHS = ((60, 41, 17), (90, 1, 2, 30), (33, 33, 33, 29), (128,), (5, 100, 7, 16))  # of documents, by step


class Silence:
    """Takes the loop's events in place of the stream."""

    def emit(self, event: str, **fields: Any) -> None:
        """Nothing."""


def saved_model(name: str, changes: dict[str, Any]) -> Path:
    """A random model's folder; weights are those that bf16 can hold."""
    folder = WORK / f"{name}-{abs(hash(json.dumps(changes, sort_keys=True)))}"
    if not folder.exists():
        torch.manual_seed(1)
        keys = {key: value for key, value in SMALL.items() if key != "head_dim" or name not in WITHOUT_HEAD_SIZE}
        config = getattr(transformers, f"{CLASSES.get(name, name.capitalize())}Config")(**{**keys, **changes})
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "norm" in key:
                    value.add_(torch.randn_like(value) * 0.1)
                elif value.dim() == 2:
                    value.mul_(3)  # attention and losses that say something
                elif "bias" in key:
                    value.normal_(0, 0.2)
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def trainer_of(job: Job, documents: list[Document]) -> Any:
    """The loop's trainer of a job, its adapters as random as those of any other."""
    job = replace(job, checkpoint=Checkpoint(str(WORK / "ckpt")))
    reports = Reports(job, Store(WORK / "ckpt", 1), Progress(5), Silence())  # type: ignore[arg-type]
    model = load_model(job)
    adapter = adapter_config(job, model) if job.adapter else None
    data = dataset(in_rows(documents, 256, job.packing))
    trainer = build(job, model, adapter, tokenizer, (data, data), Watcher(reports))
    randomise(trainer.model)
    return trainer


def randomise(model: Any) -> None:
    """Adapters with values that bf16 holds, B among them."""
    generator = torch.Generator().manual_seed(3)
    for name, value in sorted(model.named_parameters()):
        if "lora_" in name:
            drawn = torch.randn(value.shape, generator=generator) * 0.05
            value.data.copy_(drawn.bfloat16())


def batches(vocabulary: int) -> list[list[Document]]:
    """The documents of each step: prompts without labels, answers with."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for lengths in LENGTHS:
        documents = []
        for length in lengths:
            ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
            documents.append(Document(ids, [-100] * (length // 3) + ids[length // 3 :], 0))
        found.append(documents)
    return found


def gradients(trainer: Any, documents: list[Document]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of what learns, for one packed batch."""
    rows = dataset(in_rows(documents, 1 << 20, trainer.fast_packing))
    batch = trainer.data_collator([rows[index] for index in range(len(rows))])
    trainer.model.train()
    trainer.model.zero_grad()
    count = int((batch["labels"] != -100).sum())
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=count)
    loss.backward()
    found = {name: value.grad.float() for name, value in trainer.model.named_parameters() if value.grad is not None}
    return float(loss), found


def follow(target: Any, source: Any) -> None:
    """Give one model's learning parameters the values of another's."""
    values = dict(source.named_parameters())
    for name, value in target.named_parameters():
        if value.requires_grad:
            value.data.copy_(values[name].data)


def distance(found: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    """Relative error of all gradients together."""
    assert found.keys() == right.keys(), found.keys() ^ right.keys()
    wrong = sum(float((found[name] - right[name]).square().sum()) for name in right)
    return (wrong / sum(float(each.square().sum()) for each in right.values())) ** 0.5


def compared(case: dict[str, Any]) -> dict[str, Any]:
    """A case's figures."""
    folder = saved_model(case["family"], case.get("model", {}))
    lora = Lora(**{"rank": 4, "alpha": 8, **case.get("lora", {})})
    base = Job(str(folder), Data("none"), Checkpoint(""), "", method=case["method"], lora=lora, sequence_length=256)
    base = replace(base, **case.get("job", {}))
    steps = batches(SMALL["vocab_size"])
    paths = {
        "right": replace(base, compute="fp32", trainer="plain"),
        "plain": replace(base, compute="bf16", trainer="plain"),
        "bf16": replace(base, compute="bf16", trainer="fast"),
        "fp32": replace(base, compute="fp32", trainer="fast"),
    }
    trainers = {name: trainer_of(job, steps[0]) for name, job in paths.items()}
    for name, trainer in trainers.items():
        trainer.fast_packing = paths[name].packing
    right = trainers.pop("right")
    optimizer = torch.optim.AdamW([each for each in right.model.parameters() if each.requires_grad], lr=1e-3)
    losses: dict[str, list[float]] = {"right": []}
    errors: dict[str, list[float]] = {}
    for documents in steps:
        loss, truth = gradients(right, documents)
        losses["right"].append(loss)
        for name, trainer in trainers.items():
            follow(trainer.model, right.model)
            found = gradients(trainer, documents)
            losses.setdefault(name, []).append(found[0])
            errors.setdefault(name, []).append(distance(found[1], truth))
        optimizer.step()
    parts = {name: trainer.fast.about for name, trainer in trainers.items() if trainer.fast is not None}
    return {"losses": losses, "errors": errors, "parts": parts}


tokenizer = transformers.AutoTokenizer.from_pretrained(SOURCE)
for each in CASES:
    try:
        answer = compared(each)
    except Exception as error:
        import traceback

        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"case": each["name"], **answer}), flush=True)
