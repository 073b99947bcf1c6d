"""What loading a model's weights takes of the host's memory, beside what the training itself needs of its devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.estimate import budget
from cloudtrain.units import GIB, gib

if TYPE_CHECKING:
    from cloudtrain.estimate.hardware import Hardware
    from cloudtrain.estimate.memory import MemoryEstimate
    from cloudtrain.offer import Offer
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

# A trainer's process on an accelerator: 1.0 GB was the largest of ours without one, libraries of a device come on top.
RUNTIME_BYTES = 4 * GIB
ON_THE_HOST = ("torch-cpu", "mlx")  # back ends whose devices use the host's memory


def host_bytes(request: Request, recipe: Recipe, estimated: MemoryEstimate) -> int:
    """Bytes of host memory while the weights are loaded. Files are mapped, so that what was read can go again.

    What stays is a piece as it was read and the same as it is kept: a matrix, or all experts of a layer where the
    loader joins them into one (transformers 5). On a host back end the weights that are there already stay too.
    """
    spec, shape = request.spec, request.spec.shape
    piece = shape.vocab * shape.hidden
    if spec.params_experts and not recipe.options.experts_4bit:
        piece = max(piece, spec.params_experts // max(1, shape.layers - shape.dense_layers))
    pieces = piece * (2 + recipe.width_bytes)
    return pieces + (estimated.parts.weights if recipe.backend in ON_THE_HOST else RUNTIME_BYTES)


def shortage(request: Request, recipe: Recipe, chip: Hardware, offer: Offer, estimated: MemoryEstimate) -> str:
    """Why the weights cannot be loaded on the offer's host; "" when they can, or when its memory is not stated."""
    shared = recipe.backend in ON_THE_HOST
    memory_bytes = budget.usable_bytes(chip, offer.memory_bytes) if shared else offer.host_memory_bytes
    needed = host_bytes(request, recipe, estimated)
    if memory_bytes is None or needed <= memory_bytes:
        return ""
    return f"loading the weights needs {gib(needed)} of the host's memory, it has {gib(memory_bytes)}"
