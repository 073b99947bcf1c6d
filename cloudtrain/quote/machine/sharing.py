"""Whether chips can share a micro-batch and a model as our TPU trainer does it: `mesh.py` and `longcat/mesh.py` there.

As many chips as divide the sequences take some of their own; the others share heads and matrices. Where experts are
spread, every chip has sequences. What does not divide is refused by the trainer in its first minute, on a paid machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtrain.estimate.options import Options
    from cloudtrain.models.spec import ModelSpec


def uneven(spec: ModelSpec, options: Options) -> str:
    """Why the devices cannot share the work, and what to ask for; "" where they can."""
    devices, rows = options.devices, options.batch
    if options.estimator != "tpu" or devices == 1:
        return ""
    others = devices // math.gcd(devices, rows)
    shape = spec.shape
    heads_too = options.sharding != "ep"
    if others == 1 or (heads_too and shape.heads % others == 0 and shape.intermediate % others == 0):
        return ""
    what = f", and {others} cannot share {shape.heads} heads" if heads_too else ""
    return (
        f"{devices} chips cannot share a step of {rows} sequence{'' if rows == 1 else 's'}{what}: "
        f"`grad_accum: {devices}` in a spec, or a multiple"
    )
