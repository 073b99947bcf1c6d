"""The documents of one run that its client writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from cloudtrain.records.claims import ExitRecord
from cloudtrain.records.form import Form, Instant, Record, StateId, Usd
from cloudtrain.records.row import RowRecord


class BundleRecord(Form):
    """The archive that a rented machine begins with: its key in the state, and what it must be."""

    key: str
    sha256: str
    bytes: int


class IntentRecord(Record):
    """`intent.json`, there before anything is asked of a cloud: what is wanted, by when it ends, who is meant.

    `created` and `deadline` are epoch seconds.
    """

    run: str
    identity: str
    provider: str
    wanted: Literal["up", "down"]
    created: Instant
    deadline: Instant
    state: StateId | Literal[""] = ""  # whose id the run's names carry; none: an older version began it
    flavour: str = "cpu"
    attempt: int = 1
    deadline_basis: str = ""
    max_cost_usd: Usd | None = None
    stop_above_cap: bool = False
    guards: tuple[str, ...] = ()
    data_sha256: str = ""
    revision: str | None = None  # the commit of the hub's that a spec which names none was resolved to
    names: Mapping[str, str] = {}
    idle: bool = False  # a rented machine without a job
    bundle: BundleRecord | None = None  # of a rented machine with one, as what follows
    model: str | None = None
    agreed_usd: Usd | None = None
    max_restarts: int = 0
    run_deadline: Instant | None = None  # of a run in segments: its own; `deadline` is then that of its machine
    layout: Literal[1, 2] = 1  # of the run's documents, see `state/layout.py`; records before it have none
    accept_risk: bool = False
    teaches: bool = True


class QuoteRecord(Record):
    """`quote.json`: the row that the newest attempt was launched on."""

    line: RowRecord
    quoted_at: Instant | None = None
    flops_per_token: float | None = None


class MachineRecord(Record):
    """`machine.json`. A rented one has `kind`, `inputs`, `outputs`; this machine has `pid` and `start`."""

    id: str
    created: Instant
    provider: str = ""
    place: str = ""
    usd_per_hour: Usd | None = None
    kind: str = ""  # key of the stack's drivers
    inputs: Mapping[str, Any] = {}
    outputs: Mapping[str, Any] = {}
    pid: int | None = None
    start: str | None = None  # which process of that number: when it began


class GoneRecord(Record):
    """`gone.json`, the deletion proof: the provider's answer, who gave it and when, and what was billed."""

    time: Instant
    said_by: str = ""
    answer: str = ""
    run: str = ""
    provider: str = ""
    billed_s: float | None = None


class AttemptRecord(Record):
    """`attempts/N.json`: an attempt that is over. `line` and `deadline` of a rented one, whose successor has others."""

    machine: MachineRecord | None = None
    exit: ExitRecord | None = None
    last_seen: Instant | None = None  # epoch seconds of its last heartbeat
    gone: GoneRecord | None = None
    line: RowRecord | None = None
    deadline: Instant | None = None
    addresses_ended: bool = False  # at the end of its addresses: its successor is no restart


class CandidatesRecord(Record):
    """`candidates.json`: where else a machine may be looked for."""

    places: tuple[RowRecord, ...]

    @classmethod
    def upgraded(cls, data: bytes) -> bytes:
        """It was a bare list."""
        return b'{"places": %s}' % data if data.lstrip().startswith(b"[") else data
