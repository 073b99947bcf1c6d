"""The training loop: TRL's, with our counters, our clock for checkpoints, and a way to stop it between two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import carried
import moments
import transformers.trainer
from accelerate import skip_first_batches
from checkpoints import step_of
from failures import of_a_save
from fast import memory, path
from job import Job
from number_type import in_bf16
from packing import Rows
from reports import Reports
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
SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class EvaluationStopped(Exception):
    """A stop was asked for in the middle of an evaluation."""


class Trainer(SFTTrainer):
    """TRL's trainer that counts useful tokens and drops an evaluation when the run has to stop."""

    reports: Reports
    carries_moments: bool  # those of an adapter's AdamW
    fast: path.Fast | None = None  # None: as the libraries compute it

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One micro-batch, counted before it runs: packed rows have no padding, padded ones say so in the mask."""
        mask = inputs.get("attention_mask")
        self.reports.progress.tokens += inputs["input_ids"].numel() if mask is None else int(mask.sum())
        return super().training_step(model, inputs, *args, **kwargs)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The loss of a micro-batch, by the fast path where the model has one."""
        if self.fast is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        count = kwargs.get("num_items_in_batch")
        loss = self.fast.loss(inputs, count)
        over_all = count is not None and self.args.average_tokens_across_devices
        return loss * self.accelerator.num_processes if over_all else loss

    def _inner_training_loop(self, batch_size: int | None = None, **kwargs: Any) -> Any:
        """All steps, with this job's micro-batch: transformers 4 would take that of the checkpoint it resumes."""
        self._train_batch_size = self.args.train_batch_size
        return super()._inner_training_loop(batch_size=self._train_batch_size, **kwargs)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """An adapter's moments by its own names, which any back end goes on from; other memory as PyTorch writes it."""
        if self.carries_moments:
            carried.save(Path(output_dir), self.model, self.optimizer)
        else:
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """What this trainer or that of another back end has saved; also what an older version of this one has."""
        if checkpoint is None or (Path(checkpoint) / "optimizer.pt").exists():
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        step = step_of(Path(checkpoint))
        carried.turn_to(self.lr_scheduler, step)
        if not (self.carries_moments and carried.load(Path(checkpoint), self.model, self.optimizer, step)):
            self.reports.starts_anew(step)

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

    def __init__(self, reports: Reports) -> None:
        self.reports, self.progress = reports, reports.progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock for saves, with the size of what will be saved."""
        sizes = [(each.numel() * each.element_size(), each.requires_grad) for each in kwargs["model"].parameters()]
        learnt = sum(size for size, learns in sizes if learns)
        weights = learnt if self.reports.job.adapter else sum(size for size, _ in sizes)
        self.reports.pace.start(weights + 2 * learnt)  # and two moments of the optimizer

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the step's clock."""
        self.reports.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop the step's clock; save when it is time to, when it is the last step, or when asked to stop."""
        self.reports.end_step()
        last = state.global_step >= self.progress.steps
        args.save_only_model = last  # nothing is trained after it: of the last save only the result is needed
        if self.progress.stop:
            control.should_training_stop = True
            control.should_evaluate = False
        elif last and self.progress.evaluates:
            control.should_evaluate = True
        if self.reports.saves_after(state.global_step):
            self._save(control)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Break an evaluation off when asked to stop: the model is at a step boundary and can be saved at once."""
        if self.progress.stop:
            control.should_training_stop = True
            self._save(control)
            raise EvaluationStopped

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What the trainer saves at a step it saves after evaluating there: that is no part of the save."""
        self.reports.pace.begin()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One `step` or `eval` event. Raises Diverged when the loss is no number."""
        logs: dict[str, Any] = kwargs["logs"]
        if "eval_loss" in logs:
            self.reports.evaluated(state.global_step, logs["eval_loss"])
        elif "loss" in logs:
            self.reports.step(state.global_step, logs["loss"], logs["learning_rate"])

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Publish the folder that the trainer has just written."""
        step = state.global_step
        self.reports.publish(self.reports.store.partial / f"checkpoint-{step}", step)

    def _save(self, control: Any) -> None:
        control.should_save = True
        self.reports.pace.begin()


def dataset(rows: Rows) -> Any:
    """The rows as TRL takes them, with the lengths of the documents that share one."""
    from datasets import Dataset

    documents, groups = rows
    return Dataset.from_dict(
        {
            "input_ids": [[token for index in group for token in documents[index].ids] for group in groups],
            "labels": [[label for index in group for label in documents[index].labels] for group in groups],
            "seq_lengths": [[len(documents[index].ids) for index in group] for group in groups],
        }
    )


def arguments(job: Job, reports: Reports, fast: bool, checkpointing: bool) -> Any:
    """TRL's settings for the job; `fast`: without autocast; `checkpointing`: layers are computed again."""
    progress = reports.progress
    periodic = progress.evaluates and job.eval.every_steps > 0
    return SFTConfig(
        output_dir=str(reports.store.partial),
        max_steps=progress.steps,
        per_device_train_batch_size=job.micro_batch,
        per_device_eval_batch_size=job.micro_batch,
        gradient_accumulation_steps=job.grad_accum,
        learning_rate=job.learning_rate,
        lr_scheduler_type=SCHEDULES[job.schedule],
        warmup_steps=job.warmup_steps(progress.steps),
        optim=OPTIMIZERS[job.optimizer],
        weight_decay=job.weight_decay,
        seed=job.seed,
        bf16=in_bf16(job) and not fast,
        use_cpu=job.accelerator == "cpu",
        gradient_checkpointing=checkpointing,
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
    fast = path.wanted(job) and not path.refusal(job, model)
    checkpointing = (
        memory.checkpoints(job, model, 2 if in_bf16(job) else 4) if fast else bool(job.activation_checkpointing)
    )
    set_seed(job.seed)  # here too: TRL 0.24 (LongCat's) makes the adapter before it sets the seed
    trainer = Trainer(
        model=model,
        args=arguments(job, watcher.reports, fast, checkpointing),
        train_dataset=train,
        eval_dataset=evaluation,
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=[watcher],
    )
    if not in_bf16(job) or (fast and job.adapter):
        widen(trainer.model)
    trainer.fast = path.prepare(job, trainer.model)
    if trainer.fast is not None:
        trainer.fast.checkpointing = checkpointing
    trainer.remove_callback(PrinterCallback)
    trainer.reports = watcher.reports
    trainer.carries_moments = job.adapter and job.optimizer == moments.OPTIMIZER
    return trainer


def widen(model: Any) -> None:
    """Make what learns float32: TRL makes the adapters of a 4-bit model bf16, whatever the machine computes in.

    Not the weights of a full fine-tune in bf16, which the fast path trains as they are: they are the model.
    """
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
        if (failed := of_a_save(error)) is not None:
            raise failed from error
        raise
