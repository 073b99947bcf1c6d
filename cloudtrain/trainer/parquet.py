"""The rows of a Parquet file, by pyarrow: this Python's own, else that of a trainer's environment on this machine."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain import backends
from cloudtrain.errors import UsageError
from cloudtrain.trainer import environment

if TYPE_CHECKING:  # the same files, where a type checker finds them
    from templates.common.rows import Unreadable, parquet
else:
    from cloudtrain.templates.common.rows import Unreadable, parquet


_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from rows.parquet import main; main(sys.argv[2])"


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The rows. Raises Unreadable for a damaged file, and where neither Python has pyarrow."""
    python = None if find_spec("pyarrow") else _trainers_python()
    yield from parquet.records(path) if python is None else _by(python, path)


def _trainers_python() -> Path | None:
    """The Python of an environment that trains, of any back end; None where none is here."""
    with contextlib.suppress(UsageError):  # no home folder: then there is no environment either
        found = [environment.find(flavour) for flavour in backends.flavours()]
        return next((python for python in found if python is not None and _has_pyarrow(python)), None)
    return None


def _has_pyarrow(python: Path) -> bool:
    """Whether the environment of that Python holds it, without starting it."""
    return any(python.parent.parent.glob("lib/python*/site-packages/pyarrow"))


def _by(python: Path, path: Path) -> Iterator[dict[str, Any]]:
    """The rows as another Python prints them."""
    command = [str(python), "-I", "-c", _PROGRAM, str(backends.templates() / "common"), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                found = json.loads(line)
                if isinstance(found, list):  # its refusal
                    raise Unreadable(*found)
                yield found
            if process.wait():
                raise Unreadable("cannot be read by the trainer's pyarrow", "convert it to JSON lines")
        finally:
            process.kill()
