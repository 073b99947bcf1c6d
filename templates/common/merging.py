"""The door of a program that merges: `python merge.py ADAPTER_DIR OUT_DIR`; what it is given is looked at here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from failures import BadJob, Failure, as_failure


def main(arguments: list[str], merge: Callable[[Path, Path], None]) -> int:
    """Merge and save; a message on the standard error and an exit code when that fails."""
    try:
        if len(arguments) != 2:
            raise BadJob("usage: python merge.py ADAPTER_DIR OUT_DIR")
        merge(Path(arguments[0]), Path(arguments[1]))
    except Exception as error:
        failure: Failure = as_failure(error)
        print(failure, file=sys.stderr)
        return failure.exit_code
    return 0


def settings(adapter: Path, out: Path) -> dict[str, Any]:
    """PEFT's settings of the adapter. Raises BadJob when it is none, or when `out` is there already."""
    config = adapter / "adapter_config.json"
    if not config.is_file():
        raise BadJob(f"there is no adapter in {adapter}: it has no adapter_config.json")
    if out.exists():
        raise BadJob(f"{out} is there already")
    found: dict[str, Any] = json.loads(config.read_text())
    return found
