"""What goes on from a checkpoint of any back end: an adapter's moments and the place on the schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import moments
import torch
from safetensors import safe_open
from safetensors.torch import save_file


def save(folder: Path, model: Any, optimizer: Any) -> None:
    """Write the moments of all that learns. Before the first step there are none."""
    learnt = _learnt(model)
    memory = optimizer.state
    found = moments.each(
        [name for name, parameter in learnt.items() if parameter in memory],
        lambda name, kind: memory[learnt[name]][kind].detach().contiguous(),
    )
    save_file(dict(found), folder / moments.FILE)


def load(checkpoint: Path, model: Any, optimizer: Any, step: int) -> bool:
    """Give the optimizer the moments after `step`; whether the checkpoint has those of everything that learns."""
    path, learnt = checkpoint / moments.FILE, _learnt(model)
    if not path.exists():
        return False
    with safe_open(path, "pt") as file:
        if not moments.covers(file.keys(), learnt):
            return False
        for name, parameter in learnt.items():
            found = {kind: file.get_tensor(moments.key(name, kind)) for kind in moments.KINDS}
            count = torch.tensor(float(step), device=parameter.device)
            optimizer.state[parameter] = {"step": count, **{kind: it.to(parameter) for kind, it in found.items()}}
    return True


def turn_to(scheduler: Any, step: int) -> None:
    """Put the learning rates where they stand after `step`; they depend on nothing else."""
    scheduler.last_epoch, scheduler._step_count = step - 1, step
    scheduler.step()


def _learnt(model: Any) -> dict[str, Any]:
    """The parameters that learn, by their names in the adapter's file: those of PEFT without its adapter's name."""
    parameters = ((name, each) for name, each in model.named_parameters() if each.requires_grad)
    return {name.replace(".default.", ".").removesuffix(".default"): each for name, each in parameters}
