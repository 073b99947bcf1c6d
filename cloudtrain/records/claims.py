"""What the machine writes and the client believes as a claim: heartbeat, exit record, index of a file in pieces.

The programs that write them are `templates/supervisor` and `templates/machine`, which know nothing of this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from cloudtrain.records.form import Form, Instant, Number, Record

LONGEST_MESSAGE, LONGEST_WORD = 2000, 80  # characters


def shown(text: str, longest: int) -> str:
    """The text as it can be printed: nothing in it moves a terminal's cursor."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:longest])


Message = Annotated[str, AfterValidator(lambda text: shown(text, LONGEST_MESSAGE))]
Word = Annotated[str, AfterValidator(lambda text: shown(text, LONGEST_WORD))]
Count = Annotated[Number, Field(ge=0, le=1e18)]  # not infinite, and no NaN
Seconds = Annotated[Number, Field(ge=0, le=1e10)]
Small = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]


class FirstPace(Form):
    """What was told first: at which step, when (epoch seconds), and what was left then."""

    step: Count
    time: Instant
    left_s: tuple[Seconds, Seconds, Seconds]


class PaceClaim(Form):
    """How long the attempt's steps took, saves taken out, and what that makes of those left: low, likely, high."""

    steps: Count
    seconds: Seconds
    left_s: tuple[Seconds, Seconds, Seconds]
    first: FirstPace | None = None


class Figures(Record):
    """The trainer's newest figures; None where it has printed none."""

    step: Count | None = None
    of: Count | None = None
    loss: Number | None = None  # a training that diverges says NaN
    eval_loss: Number | None = None  # of the newest evaluation on held-out rows
    tokens: Count | None = None
    tokens_per_second: Count | None = None
    peak_bytes: Count | None = None
    message: Message | None = None  # of the trainer's last error
    log_bytes: Count | None = None
    attempt: Small | None = None
    paced: PaceClaim | None = None  # after 50 steps or 5 minutes of them

    @property
    def steps(self) -> str:
        """`12/20` for a person; `-` before the first step."""
        return "-" if self.step is None else f"{self.step}/{'?' if self.of is None else self.of}"


class Heartbeat(Figures):
    """`hb.json`: how far the machine is. `time` is epoch seconds by the machine's clock, which may be wrong."""

    time: Instant
    phase: Word | None = None  # boot | environment | weights | training | finishing; only of a rented machine
    preempted: bool = False
    log_shipped_bytes: Count | None = None
    disk_free_bytes: Count | None = None
    fetched_bytes: Count | None = None
    fetch_bytes: Count | None = None


class ExitRecord(Figures):
    """`exit.json`: how an attempt ended. Instants are epoch seconds, `peak_bytes` is the trainer process's own."""

    reason: Word
    code: Small | None = None
    signal: Small | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None
    cpu_s: Count | None = None
    load: Number | None = None  # the share of the processors that others had, 0 to 1


class PartsRecord(Record):
    """`NAME.parts`: of how many pieces a file consists that is too large for one object."""

    parts: Annotated[int, Field(ge=0, le=100_000)]
    bytes: int | None = None


class KeptPiece(Form):
    """A file with some of the 4-bit weights."""

    name: Annotated[str, Field(pattern=r"^piece-[0-9]{5}\.safetensors$")]
    bytes: Annotated[int, Field(gt=0, le=1 << 40)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class KeptRecord(Record):
    """`quantised/manifest.json`: which pieces of 4-bit weights are there. Only the trainer knows what `key` means."""

    key: Mapping[str, Any]
    complete: bool
    pieces: Annotated[tuple[KeptPiece, ...], Field(max_length=1000)]
