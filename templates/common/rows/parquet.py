"""A Parquet file as records, by pyarrow.

The trainer's environment has pyarrow; the client, which need not, has that environment's Python print the rows.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .files import ALWAYS_UNPACKED_BYTES, MOST_UNPACKED, Unreadable

BATCH = 64  # rows in memory at once
_HINT = "install it beside cloudtrain (`pip install pyarrow`), or convert the file to JSON lines"


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The rows as a JSON file would hold them: keys that are null inside of a row are absent.

    Raises Unreadable for a damaged file, and where pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise Unreadable("is a Parquet file, and pyarrow, which reads it, is not installed here", _HINT) from None
    taken, most = 0, max(ALWAYS_UNPACKED_BYTES, MOST_UNPACKED * os.path.getsize(path))
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                taken += batch.nbytes
                if taken > most:
                    break
                yield from ({key: _plain(cell) for key, cell in row.items()} for row in batch.to_pylist())
    except (arrow.ArrowException, OSError, ValueError) as refused:
        words = " ".join(str(refused).split())[:200]
        raise Unreadable(f"is a Parquet file and damaged ({words})", "fetch it or write it again") from None
    if taken > most:
        raise Unreadable(f"unpacks to more than {MOST_UNPACKED} times its size", "look at its rows")


def _plain(cell: Any) -> Any:
    """A cell as JSON has it. Columns have one type for all rows: what a row lacks is null there, or not a number."""
    if isinstance(cell, dict):
        return {key: _plain(each) for key, each in cell.items() if each is not None}
    if isinstance(cell, list | tuple):
        return [_plain(each) for each in cell]
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    return cell if cell is None or isinstance(cell, str | int | bool) else str(cell)


def main(path: str) -> None:
    """Print the rows as JSON lines; a list of message and hint in place of what cannot be read."""
    try:
        for row in records(Path(path)):
            sys.stdout.write(json.dumps(row) + "\n")
    except Unreadable as unreadable:
        sys.stdout.write(json.dumps([unreadable.message, unreadable.hint]) + "\n")
