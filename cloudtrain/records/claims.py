"""What the machine writes and the client believes as a claim: heartbeat, exit record, index of a file in pieces.

The programs that write them are `templates/supervisor` and `templates/machine`, which know nothing of this package.
"""

from __future__ import annotations

from cloudtrain.records.form import Number, Record


class Figures(Record):
    """The trainer's newest figures; None where it has printed none."""

    step: Number | None = None
    of: Number | None = None
    loss: Number | None = None
    tokens: Number | None = None
    tokens_per_second: Number | None = None
    peak_bytes: Number | None = None
    message: str | None = None  # of the trainer's last error
    log_bytes: Number | None = None
    attempt: int | None = None

    @property
    def steps(self) -> str:
        """`12/20` for a person; `-` before the first step."""
        return "-" if self.step is None else f"{self.step}/{'?' if self.of is None else self.of}"


class Heartbeat(Figures):
    """`hb.json`: how far the machine is. `time` is epoch seconds by the machine's clock, which may be wrong."""

    time: float
    phase: str | None = None  # boot | environment | weights | training | finishing; only of a rented machine
    preempted: bool = False
    log_shipped_bytes: Number | None = None
    disk_free_bytes: Number | None = None
    fetched_bytes: Number | None = None
    fetch_bytes: Number | None = None


class ExitRecord(Figures):
    """`exit.json`: how an attempt ended. Instants are epoch seconds, `peak_bytes` is the trainer process's own."""

    reason: str
    code: int | None = None
    signal: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    cpu_s: Number | None = None
    load: Number | None = None  # the share of the processors that others had, 0 to 1


class PartsRecord(Record):
    """`NAME.parts`: of how many pieces a file consists that is too large for one object."""

    parts: int
    bytes: int | None = None
