"""Which modules build the model that a configuration describes: the one place where a trainer meets more than one kind.

`decoder.from_config` has read which it is; everything else of a trainer takes what is here and does not ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mesh
import model
import weights
from decoder import Decoder
from longcat import LongCat
from longcat import mesh as longcat_mesh
from longcat import model as longcat_model
from longcat import weights as longcat_weights


class Architecture(NamedTuple):
    """What a trainer does with a model, by what `decoder.from_config` says of it (the description)."""

    plan: Callable[..., mesh.Plan]  # (devices, description, rows of a micro-batch)
    load: Callable[..., Any]  # (folder, description, mesh, quantised, dtype): the weights
    shapes: Callable[..., Any]  # (description, mesh, quantised, dtype): the same without values
    loss_sum: Callable[
        ..., tuple[Any, Any]
    ]  # (description, how, weights, adapters, batch, key): and counts, to be added
    logits: Callable[..., Any]  # (description, how, weights, adapters, batch)
    check: Callable[[Any, Any], None]  # the counts of a step, added up: raises Failure when they show it to be spoilt


def of(description: Decoder | LongCat) -> Architecture:
    """The functions for what `decoder.from_config` has returned."""
    return _LONGCAT if isinstance(description, LongCat) else _DENSE


def _dense_loss(*given: Any) -> tuple[Any, tuple[()]]:
    return model.loss_sum(*given), ()


_DENSE = Architecture(
    mesh.plan, weights.load, weights.shapes, _dense_loss, model.logits, lambda description, counts: None
)
_LONGCAT = Architecture(
    longcat_mesh.plan,
    longcat_weights.load,
    longcat_weights.shapes,
    longcat_model.loss_sum,
    longcat_model.logits,
    longcat_model.check,
)
