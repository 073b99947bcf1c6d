"""Models that have no arithmetic here are counted by the trainer's transformers, which builds them without memory.

That takes some seconds, and once some minutes to make the trainer's environment; the answer is kept in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.models import registry

if TYPE_CHECKING:
    from pathlib import Path

    from cloudtrain.models.counted import UncountedError
    from cloudtrain.models.spec import ModelSpec

Say = Callable[[str], None]
FAILED = ("the counting failed", "the system ended the counting")
SCRIPT = "verify/count_parameters.py"


def find(text: str, say: Say = lambda sentence: None) -> ModelSpec:
    """The model that `text` names, counted first where nothing else knows its parameters.

    `say` gets one sentence per thing that takes long. Raises UsageError for a model that is not known or that
    transformers refuses, and where the environment cannot be made.
    """
    try:
        return registry.find(text)
    except UsageError as error:
        from cloudtrain.models.counted import UncountedError

        if not isinstance(error, UncountedError):
            raise
        count(error, say)
    return registry.find(text)


def count(uncounted: UncountedError, say: Say) -> None:
    """Have the model counted and keep the answer. Raises UsageError."""
    from cloudtrain.models.counted import place
    from cloudtrain.trainer import environment, verify

    kind = uncounted.model_type
    try:
        python = environment.ensure("cpu", say)
        say(f"counting the parameters of a model of type `{kind}` (some seconds)")
        answer = verify.run(python, SCRIPT, {"configs": [uncounted.document]}, FAILED)[0]
    except UsageError:
        raise
    except CloudtrainError as error:
        raise UsageError(f"{uncounted.message}, and it could not be counted: {error.message}", error.hint) from None
    if "unsupported" in answer:
        raise UsageError(f"{uncounted.message}: {answer['unsupported']}", "the trainer could not load it either")
    keep(place(uncounted.document), answer)


def keep(path: Path, answer: dict[str, Any]) -> None:
    """Write the answer whole or not at all. Raises UsageError when the cache cannot be written."""
    import json
    import os

    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(answer) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        hint = "set CLOUDTRAIN_CACHE to a folder that can be written"
        raise UsageError(f"the count could not be kept in {path.parent}: {error.strerror}", hint) from None
