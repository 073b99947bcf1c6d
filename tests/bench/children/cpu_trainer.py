"""One of the three programs of `cpu_trainer.py`, in the trainer's environment: a step for each line that it reads.

python cpu_trainer.py stock|plain|fast GIVEN_JSON
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

NAME, GIVEN = sys.argv[1], json.loads(sys.argv[2])
sys.path[:0] = GIVEN["paths"]
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # libraries print

import torch  # noqa: E402
from machine import peak_bytes  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, TrainerCallback  # noqa: E402

FOLDER = Path(GIVEN["folder"]) / NAME


class Turns(TrainerCallback):  # type: ignore[misc]
    """Waits for its turn before a step, and tells what it took after it."""

    tokens = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait."""
        if not sys.stdin.readline():
            os._exit(0)
        self.tokens, self.began = 0, time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the clock; the loss comes with the log."""
        self.seconds = time.perf_counter() - self.began

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell."""
        if "loss" in kwargs["logs"]:
            found = {"tokens": self.tokens, "seconds": self.seconds, "peak_bytes": peak_bytes()}
            ANSWERS.write(json.dumps({**found, "loss": kwargs["logs"]["loss"]}) + "\n")


def model_folder() -> str:
    """The small model, or random weights in the shape of Qwen3-0.6B, made once for all three."""
    if GIVEN["model"] == "small":
        return str(GIVEN["small"])
    folder = Path(GIVEN["folder"]) / "shape"
    if not folder.exists():
        shape = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "head_dim": 128}
        heads = {"num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 4096}
        config = Qwen3Config(vocab_size=151936, tie_word_embeddings=True, **shape, **heads)
        torch.manual_seed(0)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        made = empty.to_empty(device="cpu")
        for name, value in made.named_parameters():
            value.data.fill_(1.0) if "norm" in name else value.data.normal_(0, 0.02)
        made.tie_weights()
        made.save_pretrained(folder)
        AutoTokenizer.from_pretrained(GIVEN["small"]).save_pretrained(folder)
    return str(folder)


def counted(trainer: Any, turns: Turns) -> Any:
    """The trainer, its useful tokens counted."""
    step = trainer.training_step

    def training_step(model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        mask = inputs.get("attention_mask")
        turns.tokens += inputs["input_ids"].numel() if mask is None else int(mask.sum())
        return step(model, inputs, *rest)

    trainer.training_step = training_step
    return trainer


def stock(model: str, turns: Turns) -> Any:
    """SFTTrainer with its defaults."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    rows = [json.loads(line)["messages"] for line in Path(GIVEN["data"]).read_text().splitlines()]
    options: dict[str, Any] = {}
    if GIVEN["method"] == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        options["device_map"] = {"": "cpu"}
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, **options),
        processing_class=AutoTokenizer.from_pretrained(model),
        train_dataset=Dataset.from_list([{"prompt": turns[:-1], "completion": turns[-1:]} for turns in rows]),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        args=SFTConfig(
            output_dir=str(FOLDER),
            max_steps=GIVEN["steps"],
            per_device_train_batch_size=4,
            max_length=512,
            learning_rate=2e-4,
            bf16=True,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        callbacks=[turns],
    )


def ours(model: str, turns: Turns) -> Any:
    """The trainer of train.py, as far as its steps go."""
    import loading
    import loop
    import number_type
    from checkpoints import Store
    from job import read
    from packing import in_rows
    from reader import read_rows
    from reports import Progress, Reports
    from tokens import Encoder, load_tokenizer

    FOLDER.mkdir(parents=True)
    document = {
        "model": model,
        "method": GIVEN["method"],
        "data": {"path": GIVEN["data"]},
        "sequence_length": 512,
        "micro_batch": 2,
        "max_steps": GIVEN["steps"],
        "compute": os.environ.get("BENCH_COMPUTE", "measured"),
        "trainer": NAME,
        "activation_checkpointing": True if "BENCH_CHECKPOINTING" in os.environ else "auto",
        "checkpoint": {"folder": str(FOLDER / "ckpt"), "every_s": 86400},
        "output": str(FOLDER / "output"),
    }
    (FOLDER / "job.json").write_text(json.dumps(document))
    job = read(FOLDER / "job.json")
    tokenizer = load_tokenizer(job)
    found, _ = read_rows(job)
    train = Encoder(tokenizer, job.train_on).prepare(found, job.sequence_length)
    job = number_type.settle(job, Silence(), None)  # type: ignore[arg-type]
    about["compute"] = job.compute
    store = Store(FOLDER / "ckpt", 1)
    store.prepare()
    reports = Reports(job, store, Progress(GIVEN["steps"]), Silence())  # type: ignore[arg-type]
    loaded = loading.load_model(job)
    adapter = loading.adapter_config(job, loaded)
    data = loop.dataset(in_rows(train.documents, job.sequence_length, job.packing)), None
    trainer = loop.build(job, loaded, adapter, tokenizer, data, loop.Watcher(reports))
    if trainer.fast is not None:
        about.update(trainer.fast.about)
    trainer.add_callback(turns)
    return trainer


class Silence:
    """Takes the loop's events."""

    def emit(self, event: str, **fields: Any) -> None:
        """Nothing."""


about: dict[str, Any] = {}
turns = Turns()
trainer = counted((stock if NAME == "stock" else ours)(model_folder(), turns), turns)
ANSWERS.write(json.dumps({"threads": torch.get_num_threads(), **about}) + "\n")
trainer.train()
