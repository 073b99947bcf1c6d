"""An adapter's AdamW as every back end writes and reads it, so that a run goes on with another one.

One safetensors file: each tensor has the name that it has in the adapter's own file, and then which moment of it it is.
What other optimizers remember differs between back ends and is not carried from one to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

FILE = "moments.safetensors"
OPTIMIZER = "adamw"  # whose moments they are
KINDS = ("exp_avg", "exp_avg_sq")  # running means of the gradient and of its square, as PyTorch calls them


def key(parameter: str, kind: str) -> str:
    """The name of one moment of the parameter that the adapter's file calls so."""
    return f"{parameter}.{kind}"


def covers(names: Iterable[str], parameters: Iterable[str]) -> bool:
    """Whether a file with these names has every moment of every parameter."""
    found = set(names)
    return all(key(parameter, kind) in found for parameter in parameters for kind in KINDS)


def has_memory(optimizer: str) -> bool:
    """Whether a job's optimizer remembers anything from one step to the next."""
    return optimizer != "sgd"


def each(parameters: Iterable[str], moment: Callable[[str, str], Any]) -> Iterator[tuple[str, Any]]:
    """What is to be written: `moment` of each parameter and kind, under its name."""
    return ((key(name, kind), moment(name, kind)) for name in parameters for kind in KINDS)
