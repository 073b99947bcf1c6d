"""Counting tokens with the model's own tokenizer and chat template, by the back end's own program."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain import backends
from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.trainer.keyless import without_keys

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec

PATIENCE_S = 600
SHOWN_KINDS = 5  # of faults


def python_for(flavour: str) -> Path | None:
    """The Python in which the flavour's back end can count here: of its own environment, else of a sister's.

    None where the back end cannot count, or no environment of it is here.
    """
    from cloudtrain.trainer import environment

    backend = backends.of_flavour(flavour)
    if backend.program("check_data") is None:
        return None
    found = (environment.find(name) for name in (flavour, *backend.flavours))
    return next((python for python in found if python is not None), None)


def counted(job: dict[str, Any], flavour: str, folder: Path) -> dict[str, Any] | None:
    """What the back end's `check_data` makes of a job: rows, tokens, shares truncated and dropped, steps, problems.

    None where it cannot be asked here. Raises UsageError, with file and line, for data that the trainer cannot use.
    """
    python, script = python_for(flavour), backends.of_flavour(flavour).program("check_data")
    if python is None or script is None:
        return None
    path = folder / "check.json"
    path.write_text(json.dumps(job))
    try:
        done = subprocess.run(
            [str(python), str(script), str(path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env=without_keys(os.environ),
        )
    except subprocess.TimeoutExpired:
        raise CloudtrainError(f"counting the tokens took more than {PATIENCE_S} s", "use less data") from None
    return answer(done.stdout, done.stderr, str(job["data"]["path"]))


def answer(stdout: str, stderr: str, data: str) -> dict[str, Any]:
    """The check's document, or its refusal as an error of ours."""
    try:
        document: dict[str, Any] = json.loads(stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = stderr.strip().splitlines()[-1:] or ["no output"]
        raise CloudtrainError(f"the data could not be counted: {last[0]}", "repeat with CLOUDTRAIN_DEBUG=1") from None
    if document.get("event") == "error":
        raise UsageError(str(document.get("message", "the trainer refuses this job")))
    problems = document.get("problems", [])
    if problems:
        lines = [f"{_place(each, data)}{each['problem']}" for each in problems[:SHOWN_KINDS]]
        more = len(problems) - len(lines)
        raise UsageError("\n".join(lines), f"and {more} kinds of faults more" if more else "nothing was started")
    return document


def _place(problem: dict[str, Any], data: str) -> str:
    """Where a problem was first seen, for the beginning of its sentence."""
    file, line = problem.get("file", data), problem.get("line")
    if not line:
        return ""
    return f"{file}: row {line}: " if problem.get("unit") == "row" else f"{file}:{line}: "


def at_hand(model: ModelSpec, data: Path, sequence_length: int, epochs: float) -> int | None:
    """Positions in so many epochs of the data, when model folder and environment are there already; else None."""
    flavour = None
    with contextlib.suppress(UsageError):  # no home folder: then there is no environment either
        flavour = next((name for name in backends.flavours() if python_for(name)), None)
    if flavour is None or not (Path(model.path or ".") / "tokenizer_config.json").is_file():
        return None
    with tempfile.TemporaryDirectory(prefix="cloudtrain-count-") as name:
        job = {
            "model": str(Path(model.path).absolute()),
            "data": {"path": str(data.absolute())},
            "sequence_length": sequence_length,
            "epochs": epochs,
            "checkpoint": {"folder": f"{name}/ckpt"},
            "output": f"{name}/output",
        }
        found = counted(job, flavour, Path(name))
        return None if found is None else int(found["tokens_processed"])
