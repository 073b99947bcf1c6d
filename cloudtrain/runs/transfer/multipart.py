"""Files that are kept in the state in several pieces, because a bucket takes no larger object from a machine's form.

    optimizer.pt.part-00000  optimizer.pt.part-00001  optimizer.pt.parts

The last one is written last: {"parts": 2, "bytes": ...}. Pieces without it are what an upload left that was cut off.
"""

from __future__ import annotations

import re

from cloudtrain.errors import DamagedRecord, UsageError
from cloudtrain.runs import claims
from cloudtrain.state.protocol import Store

INDEX = ".parts"
_PIECE = re.compile(r"(.+)\.part-\d{5}")


def whole_files(store: Store, folder: str) -> dict[str, list[str]]:
    """Every file below a folder of the state -> the keys of its pieces in their order; one for an ordinary file.

    A name that leads elsewhere, or that no file can have, is passed over. Raises UsageError when a piece is missing.
    """
    names = {name for name in store.files(folder) if claims.is_path(name)}
    names -= {name.rpartition("/")[0] for name in names}  # a file cannot be a folder as well
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        piece = _PIECE.fullmatch(name)
        if name.endswith(INDEX) and f"{name.removesuffix(INDEX)}.part-00000" in names:
            whole = name.removesuffix(INDEX)
            found[whole] = [f"{folder}/{each}" for each in pieces(store, f"{folder}/{name}", whole, names)]
        elif piece is None:
            found[name] = [f"{folder}/{name}"]
    return found


def pieces(store: Store, index: str, whole: str, names: set[str]) -> list[str]:
    """The names of a file's pieces, as its index counts them. Raises UsageError."""
    from cloudtrain.records import PartsRecord, read

    try:
        data = store.read_from(index, 0, claims.LARGEST_BYTES)
        count = read(PartsRecord, data, f"`{index}`").parts
    except DamagedRecord:
        raise UsageError(f"`{store.place(index)}` is damaged", "its file cannot be put together") from None
    wanted = [f"{whole}.part-{number:05d}" for number in range(count)]
    if missing := [name for name in wanted if name not in names]:
        raise UsageError(f"`{missing[0]}` is missing next to `{store.place(index)}`", "the file cannot be put together")
    return wanted
