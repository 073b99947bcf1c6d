"""`tickets/N.json`: the one document with which a rented machine begins. Its machine's side is `templates/machine`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtrain.records.form import Form, Record


class TicketPiece(Form):
    """What is stored at a signed address."""

    url: str
    bytes: int


class TicketFile(Form):
    """A file to fetch: from one address, or from one for each of its pieces."""

    path: str
    bytes: int
    sha256: str | None = None
    url: str | None = None
    pieces: tuple[TicketPiece, ...] | None = None


class TicketFiles(Form):
    """Files of a folder: the model's, or the checkpoint's of a step."""

    files: tuple[TicketFile, ...]
    folder: str | None = None
    step: int | None = None


class TicketKept(Form):
    """4-bit weights that are kept beside the run: what there is to fetch, and how much may be written.

    `manifest` is what an earlier machine of the run said of them, `weights` says of which weights of the state they are
    made: its own list of the model's files, None where the hub's commit says it.
    """

    most_bytes: int
    piece_bytes: int
    weights: str | None = None
    manifest: Mapping[str, Any] | None = None
    files: tuple[TicketFile, ...] = ()


class TicketBundle(Form):
    """The archive that the machine unpacks first."""

    url: str
    sha256: str
    bytes: int


class TicketAddress(Form):
    """One signed address to read."""

    url: str


class TicketHost(Form):
    """Where one host of a machine writes its heartbeat and its exit record, for the others to read."""

    hb: TicketAddress
    exit: TicketAddress


class TicketRented(Form):
    """What was rented: the accelerator table's key, the devices of all hosts together, each host of several."""

    chip: str
    devices: int
    hosts: tuple[TicketHost, ...] = ()


class TicketCompiled(Form):
    """Compiled programs that are kept beside the run: what there is to fetch, and how much may be written."""

    most_bytes: int
    files: tuple[TicketFile, ...] = ()


class TicketEnd(Form):
    """How the machine ends itself: the provider's key."""

    kind: str


class TicketRest(Form):
    """By what the machine foresees how its run ends; instants in epoch seconds. See `runs/results/remaining.py`."""

    along: float
    after_s: float
    ends_at: float
    cap_at: float | None = None
    stop_above_cap: bool = False


class TicketRecord(Record):
    """Who and until when (epoch seconds), what to fetch, where to write, how the machine ends itself."""

    run: str
    attempt: int
    deadline: float
    grace_s: float
    heartbeat_s: float
    no_progress_s: float
    bundle: TicketBundle
    model: TicketFiles | None  # None: the machine takes the weights from the hub
    resume: TicketFiles | None
    quantised: TicketKept | None = None  # None: 4-bit weights are not kept
    hub_token: TicketAddress | None = None  # of the hub, for gated weights; deleted when the run is over
    post: Mapping[str, Any]  # the form by which files are written; see `signing/urls.py`
    kill: TicketAddress
    hb: TicketAddress
    exit: TicketAddress
    log_bytes: int
    micro_batch: int | None = None  # sequences at once on this machine; None: as the bundle's job says
    end: TicketEnd
    rest: TicketRest | None = None
    rented: TicketRented | None = None
    compiled: TicketCompiled | None = None  # None: the trainer keeps none
