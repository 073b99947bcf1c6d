"""The training loop: TRL's, with our counters, our clock for checkpoints, and a way to stop it between two steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoints
import transformers.trainer
from accelerate import skip_first_batches
from events import Events
from failures import Diverged, SaveFailed
from job import Job
from machine import peak_bytes
from number_type import SAVED, in_bf16
from packing import pack
from tokens import Document
from transformers import TrainerCallback, set_seed
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw8bit": "adamw_bnb_8bit",
    "adafactor": "adafactor",
    "sgd": "sgd",
    "lion": "lion_32bit",
}
# safetensors, tokenizers and torch.save each wrap a full disk in an error of their own.
_DISK_FULL = ("No space left", "File too large", "failed writing", "unexpected pos")
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass
class Progress:
    """What has been reached, over all resumes; and whether somebody asked to stop."""

    steps: int  # to be made in all
    tokens: int = 0  # positions processed, prompts included, padding not
    train_seconds: float = 0.0  # inside optimizer steps
    eval_loss: float | None = None
    peak_bytes: int = 0  # of the processes before this one
    evaluates: bool = False  # there are rows to evaluate on
    stop: str = ""  # why to stop at the next step boundary

    def saved(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "train_seconds": self.train_seconds,
            "eval_loss": self.eval_loss,
            "peak_bytes": max(self.peak_bytes, peak_bytes()),
        }

    def resume(self, saved: dict[str, Any]) -> None:
        """Go on counting from a checkpoint's counters."""
        self.tokens, self.train_seconds = saved["tokens"], saved["train_seconds"]
        self.eval_loss, self.peak_bytes = saved["eval_loss"], saved["peak_bytes"]


class EvaluationStopped(Exception):
    """A stop was asked for in the middle of an evaluation."""


class Trainer(SFTTrainer):
    """TRL's trainer that counts useful tokens and drops an evaluation when the run has to stop."""

    progress: Progress

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One micro-batch, counted before it runs: packed rows have no padding, padded ones say so in the mask."""
        mask = inputs.get("attention_mask")
        self.progress.tokens += inputs["input_ids"].numel() if mask is None else int(mask.sum())
        return super().training_step(model, inputs, *args, **kwargs)

    def _inner_training_loop(self, batch_size: int | None = None, **kwargs: Any) -> Any:
        """All steps, with this job's micro-batch: transformers 4 would take that of the checkpoint it resumes."""
        self._train_batch_size = self.args.train_batch_size
        return super()._inner_training_loop(batch_size=self._train_batch_size, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The metrics; none when the evaluation was broken off."""
        try:
            found: dict[str, float] = super().evaluate(*args, **kwargs)
        except EvaluationStopped:
            return {}
        return found

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the card is written once, with the result."""


class Watcher(TrainerCallback):
    """Reports every step, saves on the clock, stops on request. Publishes what the trainer has saved."""

    def __init__(self, job: Job, store: checkpoints.Store, progress: Progress, events: Events) -> None:
        self.job, self.store, self.progress, self.events = job, store, progress, events
        self._pace = checkpoints.Pace(job.checkpoint.every_s)
        self._step_began = 0.0
        self._tokens_before = 0
        self._rate = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock for saves, with the size of what will be saved."""
        sizes = [(each.numel() * each.element_size(), each.requires_grad) for each in kwargs["model"].parameters()]
        learnt = sum(size for size, learns in sizes if learns)
        weights = learnt if self.job.adapter else sum(size for size, _ in sizes)
        self._pace.start(weights + 2 * learnt)  # and two moments of the optimizer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the step's clock."""
        self._step_began = time.monotonic()
        self._tokens_before = self.progress.tokens

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the step's clock; save when it is time to, when it is the last step, or when asked to stop."""
        now = time.monotonic()
        seconds = now - self._step_began
        self.progress.train_seconds += seconds
        self._rate = (self.progress.tokens - self._tokens_before) / max(seconds, 1e-9)
        last = state.global_step >= self.progress.steps
        args.save_only_model = last  # nothing is trained after it: of the last save only the result is needed
        if self.progress.stop:
            control.should_training_stop = True
            control.should_evaluate = False
        elif last and self.progress.evaluates:
            control.should_evaluate = True
        if self._pace.is_due() or last or self.progress.stop:
            self._save(control)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Break an evaluation off when asked to stop: the model is at a step boundary and can be saved at once."""
        if self.progress.stop:
            control.should_training_stop = True
            self._save(control)
            raise EvaluationStopped

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What the trainer saves at a step it saves after evaluating there: that is no part of the save."""
        self._pace.begin()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One `step` or `eval` event. Raises Diverged when the loss is no number."""
        logs: dict[str, Any] = kwargs["logs"]
        if "eval_loss" in logs:
            self.progress.eval_loss = logs["eval_loss"]
            self.events.emit("eval", step=state.global_step, loss=logs["eval_loss"])
        elif "loss" in logs:
            self.events.emit(
                "step",
                step=state.global_step,
                of=self.progress.steps,
                loss=logs["loss"],
                lr=logs["learning_rate"],
                tokens=self.progress.tokens,
                tokens_per_second=self._rate,
                peak_bytes=peak_bytes(),
            )
            if not math.isfinite(logs["loss"]):
                raise Diverged(f"the loss is no longer a number at step {state.global_step}: lower the learning rate")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Publish the folder that the trainer has just written."""
        step = state.global_step
        saved = {**self.progress.saved(), "recipe": self.job.recipe, SAVED: self.job.compute}
        self.store.publish(self.store.partial / f"checkpoint-{step}", step, saved)
        self.events.emit("checkpoint", step=step, seconds=self._pace.end())

    def _save(self, control: Any) -> None:
        control.should_save = True
        self._pace.begin()


def dataset(documents: list[Document], job: Job) -> Any:
    """The documents as TRL takes them: packed whole into rows of the sequence length, or one a row."""
    from datasets import Dataset

    if not job.packing:
        groups = [[index] for index in range(len(documents))]
    else:
        groups = pack([len(document.ids) for document in documents], job.sequence_length)
    return Dataset.from_dict(
        {
            "input_ids": [[token for index in group for token in documents[index].ids] for group in groups],
            "labels": [[label for index in group for label in documents[index].labels] for group in groups],
            "seq_lengths": [[len(documents[index].ids) for index in group] for group in groups],
        }
    )


def arguments(job: Job, store: checkpoints.Store, progress: Progress) -> Any:
    """TRL's settings for the job. Warm-up below 1 is a part of all steps, else a number of steps."""
    warmup = int(job.warmup * progress.steps) if job.warmup < 1 else int(job.warmup)
    periodic = progress.evaluates and job.eval.every_steps > 0
    return SFTConfig(
        output_dir=str(store.partial),
        max_steps=progress.steps,
        per_device_train_batch_size=job.micro_batch,
        per_device_eval_batch_size=job.micro_batch,
        gradient_accumulation_steps=job.grad_accum,
        learning_rate=job.learning_rate,
        lr_scheduler_type=SCHEDULES[job.schedule],
        warmup_steps=warmup,
        optim=OPTIMIZERS[job.optimizer],
        weight_decay=job.weight_decay,
        seed=job.seed,
        bf16=in_bf16(job),
        use_cpu=job.accelerator == "cpu",
        gradient_checkpointing=job.activation_checkpointing,
        max_length=None,  # the documents are cut and packed already
        padding_free=job.packing,
        eval_strategy="steps" if periodic else "no",
        eval_steps=job.eval.every_steps if periodic else None,
        save_strategy="no",  # the watcher asks for every save
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=[] if job.report == "none" else [job.report],
        dataloader_pin_memory=job.accelerator != "cpu",
        disable_tqdm=True,
    )


def build(job: Job, model: Any, peft_config: Any, tokenizer: Any, data: tuple[Any, Any], watcher: Watcher) -> Trainer:
    """The trainer over (train, eval or None), with the watcher as its only voice."""
    train, evaluation = data
    set_seed(job.seed)  # here too: TRL 0.24 (LongCat's) makes the adapter before it sets the seed
    trainer = Trainer(
        model=model,
        args=arguments(job, watcher.store, watcher.progress),
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[watcher],
    )
    if not trainer.args.bf16:
        widen(trainer.model)
    trainer.remove_callback(PrinterCallback)
    trainer.progress = watcher.progress
    return trainer


def widen(model: Any) -> None:
    """Make what learns float32: TRL makes the adapters of a 4-bit model bf16, whatever the machine computes in."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def skip_in_its_epoch(loader: Any, batches: int = 0) -> Any:
    """What is left of a resumed epoch, in its order: accelerate 1.12 (LongCat's) would take that of the first one."""
    left = skip_first_batches(loader, batches)
    left.iteration = loader.iteration
    return left


def run(trainer: Trainer, resume: Path | None) -> None:
    """Train to the end or to a stop, from the checkpoint `resume` on. Raises SaveFailed when a save fails."""
    transformers.trainer.skip_first_batches = skip_in_its_epoch
    try:
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    except Exception as error:
        if any(phrase in str(error) for phrase in _DISK_FULL):
            reason = str(error).splitlines()[0]
            raise SaveFailed(f"a checkpoint could not be saved, the one before it is intact: {reason}") from error
        raise
