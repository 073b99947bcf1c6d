"""4-bit weights that a run's machines keep beside it, so that the next one need not make them again.

They lie in the machine's folder, `quantised/`, as pieces and a manifest (`templates/torch/pieces.py`). What is there is
a claim of the machine that wrote it: of the run's own machines alone, no larger than planned, or not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cloudtrain.errors import DamagedRecord
from cloudtrain.providers import PriceSource, load
from cloudtrain.runs import claims
from cloudtrain.runs.record import Run
from cloudtrain.state.address import parse
from cloudtrain.units import gib

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.records import KeptPiece, KeptRecord, TicketFile, TicketFiles, TicketKept
    from cloudtrain.state.protocol import Store

FOLDER = "quantised"
MANIFEST = f"{FOLDER}/manifest.json"
LEAST_PIECE_BYTES = 1 << 30
PIECES = 200  # of a large model: as many addresses are signed, and the manifest stays a small document
MOST_OVER = 1.25  # times what the quote says, and a gigabyte: what is larger is not what was planned
READERS = 8
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def offered(
    store: Store, run: Run, plan: Plan, url: Callable[[str], str], model: TicketFiles | None
) -> TicketKept | None:
    """The ticket's part: what is there and may be fetched, and what may be written; None where nothing is kept."""
    from cloudtrain.records import TicketKept

    planned = planned_bytes(store, plan)
    if not planned:
        return None
    most = int(planned * MOST_OVER) + 10**9
    found = there(store, run, most)
    return TicketKept(
        most_bytes=most,
        piece_bytes=max(LEAST_PIECE_BYTES, planned // PIECES),
        weights=None if model is None else listed(model),
        manifest=None if found is None else found.as_document(),
        files=() if found is None else tuple(file(run, piece, url) for piece in found.pieces),
    )


def planned_bytes(store: Store, plan: Plan) -> int:
    """What the plan has room for on the machine's disk; 0 where keeping would cost more than it saves.

    Bytes between a bucket and machines of another cloud are billed, and the quote has not counted them.
    """
    planned = plan.line.disk_parts_bytes.get("quantised", 0)
    if not planned or plan.line.market != "spot":
        return 0
    beside = load("pricing", plan.line.provider, PriceSource).terms.bucket
    return planned if beside and parse(store.url).scheme == beside else 0


def there(store: Store, run: Run, most_bytes: int) -> KeptRecord | None:
    """What the run's earlier machines have left, as far as it is whole; None without anything that can be used."""
    from cloudtrain.records import KeptRecord

    try:
        found = claims.read(store, run.key(MANIFEST), KeptRecord)
    except DamagedRecord as damaged:
        run.event("4-bit weights not used", message=damaged.message)
        return None
    if found is None or not found.pieces:
        return None
    if len({piece.name for piece in found.pieces}) < len(found.pieces):
        run.event("4-bit weights not used", message="its manifest names a piece twice")
        return None
    claimed = sum(piece.bytes for piece in found.pieces)
    if claimed > most_bytes:
        run.event("4-bit weights not used", message=f"they have {gib(claimed)}, and {gib(most_bytes)} were planned")
        return None
    with ThreadPoolExecutor(READERS) as readers:
        sizes = list(readers.map(lambda piece: store.size(run.key(f"{FOLDER}/{piece.name}")), found.pieces))
    whole = tuple(piece for piece, size in zip(found.pieces, sizes, strict=True) if size == piece.bytes)
    if len(whole) < len(found.pieces):
        run.event("4-bit weights incomplete", message=f"{len(found.pieces) - len(whole)} pieces are not as listed")
    if not whole:
        return None
    return KeptRecord(key=found.key, complete=found.complete and len(whole) == len(found.pieces), pieces=whole)


def file(run: Run, piece: KeptPiece, url: Callable[[str], str]) -> TicketFile:
    """A piece as a file to fetch; its hash is the manifest's claim."""
    from cloudtrain.records import TicketFile

    address = url(run.key(f"{FOLDER}/{piece.name}"))
    return TicketFile(path=piece.name, sha256=piece.sha256, url=address, bytes=piece.bytes)


def listed(model: TicketFiles) -> str:
    """The model's files in the state, as one word: other files make other 4-bit weights."""
    facts = sorted((each.path, each.bytes) for each in model.files if each.path.endswith(WEIGHTS))
    return f"{model.folder}@{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"


def forget(run: Run) -> None:
    """Delete them: they are gigabytes, and made again from the model. Without any nothing happens."""
    run.store.delete(run.key(FOLDER))
