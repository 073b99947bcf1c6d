"""What our trainer costs over the bare library: the median of alternating pairs of one fine-tune, with us and without.

    python tests/bench/trainer_overhead.py [PAIRS]

"Without us" is a plain TRL script with the same settings, model, packed rows and environment variables. Prints one
JSON line per run and, at the end, our tokens per second over the plain script's. Step 1 warms up and is left out.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
TORCH = ROOT / "templates" / "torch"
STEPS = 9

# One optimizer step at a time is timed by the callback, as the trainer's own events are.
PLAIN = """
import json, sys, time
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
model, data, folder, steps = sys.argv[1:]
class Clock(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs): self.began = time.monotonic()
    def on_step_end(self, args, state, control, **kwargs): times.append(time.monotonic() - self.began)
times = []
rows = []
for line in open(data):
    turns = json.loads(line)["messages"]
    rows.append({"prompt": turns[:-1], "completion": turns[-1:]})
trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16),
    processing_class=AutoTokenizer.from_pretrained(model),
    train_dataset=Dataset.from_list(rows),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    args=SFTConfig(output_dir=folder, max_steps=int(steps), per_device_train_batch_size=1, learning_rate=2e-4,
        packing=True, max_length=512, bf16=True, use_cpu=True, gradient_checkpointing=True, logging_steps=1,
        save_strategy="no", report_to=[], disable_tqdm=True, optim="adamw_torch_fused", lr_scheduler_type="cosine"),
    callbacks=[Clock()],
)
tokens = []
step = trainer.training_step
def counted(model, inputs, *rest):
    tokens.append(inputs["input_ids"].numel())
    return step(model, inputs, *rest)
trainer.training_step = counted
trainer.train()
print(json.dumps({"tokens": sum(tokens[1:]), "seconds": sum(times[1:])}))
"""


def rows(path: Path) -> Path:
    """Conversations of mixed length, the same ones every time."""
    with path.open("w") as file:
        for number in range(160):
            words = " ".join(f"word{number * 7 % 50 + at}" for at in range(5 + number * 13 % 60))
            turns = [{"role": "user", "content": f"Repeat: {words}"}, {"role": "assistant", "content": words}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


def ours(python: Path, model: Path, data: Path, folder: Path, env: dict[str, str]) -> float:
    """Tokens per second of train.py."""
    job = {
        "model": str(model),
        "method": "lora",
        "data": {"path": str(data)},
        "sequence_length": 512,
        "max_steps": STEPS,
        "warmup": 0,
        "checkpoint": {"folder": str(folder / "ckpt")},
        "output": str(folder / "output"),
    }
    (folder / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [python, TORCH / "train.py", folder / "job.json"], capture_output=True, text=True, env=env, check=True
    )
    steps = [event for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "step"]
    pairs = list(itertools.pairwise(steps))
    tokens = [after["tokens"] - before["tokens"] for before, after in pairs]
    seconds = sum(count / after["tokens_per_second"] for count, (_, after) in zip(tokens, pairs, strict=True))
    return sum(tokens) / seconds


def plain(python: Path, model: Path, data: Path, folder: Path, env: dict[str, str]) -> float:
    """Tokens per second of the plain script."""
    command = [python, "-c", PLAIN, model, data, folder / "plain", str(STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return float(found["tokens"] / found["seconds"])


def main() -> None:
    """Run the pairs and print the ratio."""
    from cloudtrain import backends
    from cloudtrain.trainer import environment

    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    python = environment.ensure("cpu", lambda sentence: print(sentence, file=sys.stderr))
    command = [str(python), str(ROOT / "templates" / "demo" / "prepare_model.py"), "--uv", environment.uv_binary()]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    model = Path(made.stdout.strip().splitlines()[-1])
    env = {**os.environ, **backends.of_flavour("cpu").variables("cpu"), "HF_HUB_OFFLINE": "1"}
    ratios = []
    for number in range(pairs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            data = rows(folder / "rows.jsonl")
            order = (ours, plain) if number % 2 == 0 else (plain, ours)
            speed = {run.__name__: run(python, model, data, folder, env) for run in order}
        ratios.append(speed["ours"] / speed["plain"])
        print(json.dumps({**speed, "ratio": ratios[-1]}), flush=True)
    print(json.dumps({"median_ratio": statistics.median(ratios), "pairs": pairs}))


if __name__ == "__main__":
    main()
