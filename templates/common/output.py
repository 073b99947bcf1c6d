"""The result folder: adapter (or model), tokenizer, metrics and a model card, made from the final checkpoint."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import machine
from failures import SaveFailed
from job import Job

OURS = (checkpoints.MANIFEST, checkpoints.PROGRESS)
Losses = list[list[float]]  # [step, loss]


def write(job: Job, checkpoint: Path, metrics: dict[str, Any], is_state: Callable[[str], bool]) -> None:
    """Fill `job.output` and rename it into place whole, replacing an earlier result. Raises SaveFailed.

    `is_state` says of a name whether the checkpoint holds it only for resuming.
    """
    output = Path(job.output)
    partial, old = output.with_name(output.name + ".partial"), output.with_name(output.name + ".old")
    try:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        for path in sorted(checkpoint.iterdir()):
            if path.name not in OURS and not is_state(path.name):
                _same(path, partial / path.name)
        if job.adapter:
            _name_base(partial / "adapter_config.json", job)
        (partial / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
        _fresh(partial / "README.md", card(job, metrics))
        if output.exists():
            output.rename(old)
        partial.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise SaveFailed(f"the result could not be written to {output}: {error.strerror}") from error


def metrics(job: Job, checkpoint: Path, seconds: float, losses: Losses, eval_losses: Losses) -> dict[str, Any]:
    """The figures of the whole run: its losses by step, tokens, and seconds inside steps over all resumes."""
    saved = checkpoints.progress(checkpoint)
    return {
        "run": job.run,
        "model": job.model,
        "revision": job.revision,
        "method": job.method,
        "steps": checkpoints.step_of(checkpoint),
        "tokens": saved["tokens"],
        "seconds": seconds,
        "train_seconds": saved["train_seconds"],
        "tokens_per_second": saved["tokens"] / max(saved["train_seconds"], 1e-9),
        "peak_bytes": max(saved["peak_bytes"], machine.peak_bytes()),
        "final_loss": losses[-1][1] if losses else None,
        "eval_loss": saved["eval_loss"],
        "losses": losses,
        "eval_losses": eval_losses,
    }


def card(job: Job, metrics: dict[str, Any]) -> str:
    """The model card: what it was made from, how, and how well that went."""
    losses = [loss for _, loss in metrics["losses"]]
    rows: dict[str, Any] = {
        "base model": job.model + (f" at {job.revision}" if job.revision else ""),
        "method": job.method,
        "data": Path(job.data.path).name,
        "trained on": "answers only" if job.train_on == "assistant" else "all tokens",
        "sequence length": f"{job.sequence_length}, {'packed' if job.packing else 'not packed'}",
        "rows per step": job.micro_batch * job.grad_accum,
        "steps": metrics["steps"],
        "tokens processed": f"{metrics['tokens']:,}",
        "learning rate": f"{job.learning_rate:g}, {job.schedule}, warm-up {job.warmup:g}",
        "optimizer": f"{job.optimizer}, weight decay {job.weight_decay:g}",
        "seed": job.seed,
        "loss, first and last step": f"{losses[0]:.3f} → {losses[-1]:.3f}" if losses else "not measured",
        "loss on held-out rows": "not measured" if metrics["eval_loss"] is None else f"{metrics['eval_loss']:.3f}",
    }
    if job.adapter:
        targets = job.lora.targets if isinstance(job.lora.targets, str) else ", ".join(job.lora.targets)
        rows["adapter"] = f"rank {job.lora.rank}, alpha {job.lora.alpha:g}, dropout {job.lora.dropout:g}, on {targets}"
    if job.method == "freeze":
        rows["layers trained"] = f"the last {job.train_layers}"
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    library = "peft" if job.adapter else "transformers"
    head = f"---\nbase_model: {job.model}\nlibrary_name: {library}\n"
    return f"{head}---\n# {job.run}\n\n| | |\n|---|---|\n{table}\n"


def _name_base(config: Path, job: Job) -> None:
    """Write the base model into the adapter's configuration as the job names it."""
    document = json.loads(config.read_text())
    document["base_model_name_or_path"] = job.model
    document["revision"] = job.revision
    _fresh(config, json.dumps(document, indent=2, sort_keys=True) + "\n")


def _same(source: Path, target: Path) -> None:
    """The same file under another name: a hard link where the disk allows it, else a copy."""
    if source.is_dir():
        shutil.copytree(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _fresh(path: Path, text: str) -> None:
    """Write `text` as a file of its own, so that a file it was linked to keeps its content."""
    path.unlink(missing_ok=True)
    path.write_text(text)
