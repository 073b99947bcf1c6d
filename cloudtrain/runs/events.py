"""What a session reports while it works, and what it asks: typed events to one callback, questions to another.

A session never prints. Who started it shows what it likes of the events; `ignore` shows nothing. Questions are answered
with a bool; `refuse` starts nothing and leaves running what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cloudtrain.errors import UsageError

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.quote.row import QuoteRow
    from cloudtrain.runs.live_price import Checked
    from cloudtrain.runs.record import Run
    from cloudtrain.runs.results.remaining import Remaining


@dataclass(frozen=True, slots=True)
class Message:
    """A message about what is done; `detail`: about a step of it, from the component that does it."""

    text: str
    detail: bool = False


@dataclass(frozen=True, slots=True)
class RunFound:
    """There is a run of this spec already: it is attached to, or it is finished."""

    run: Run
    action: Literal["attach", "finished"]


@dataclass(frozen=True, slots=True)
class TokensEstimated:
    """The tokens to process could not be counted here; `basis` says how the number was come by."""

    tokens: int
    basis: str


@dataclass(frozen=True, slots=True)
class DataCounted:
    """What the model's own tokenizer made of the data; `counted` is the document of `check_data.py`."""

    counted: Mapping[str, Any]
    sequence_length: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanReady:
    """What would be started. Nothing is made yet.

    On a rented machine `price` is the checked one, `worst_usd` what the run costs at the most, `makes` what would be
    made and `kept` what stays at the provider. On this machine `price` is None.
    """

    plan: Plan
    row: QuoteRow
    model: str
    home: Path  # where the result is brought
    resumes: bool
    likely_unfinished: bool  # the likely time is longer than the deadline allows
    price: Checked | None = None
    worst_usd: Decimal = Decimal(0)
    makes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    weights: str = ""  # where the machine gets the model's, in words; "" without a job
    data: str = ""  # how it was checked


@dataclass(frozen=True, slots=True)
class PlaceFull:
    """A place has no machine just now; the next one is tried."""

    offer: str
    place: str
    answer: str


@dataclass(frozen=True, slots=True)
class Started:
    """A run on this machine has begun."""

    run: Run


@dataclass(frozen=True, slots=True)
class MachineCreated:
    """A rented machine of the run exists; `restart`: it follows one that was reclaimed."""

    run: Run
    restart: bool


@dataclass(frozen=True, slots=True)
class Detached:
    """The run continues, and this client does not follow it."""

    run: Run
    why: Literal["started", "attached", "idle"]


@dataclass(frozen=True, slots=True)
class Following:
    """From here on the log of this run is read, on its newest machine."""

    run: Run


@dataclass(frozen=True, slots=True)
class MachinePhase:
    """The machine's heartbeat shows another phase; `waited_s` is how long its first one took."""

    phase: str
    waited_s: float
    fetch_bytes: float | None  # of what it fetches in this phase


@dataclass(frozen=True, slots=True)
class LogBytes:
    """The next bytes of the log, as they are; empty when nothing is new."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Requoted:
    """The rest of the run, quoted from its own rate: the first time, out of its range, or with a warning."""

    run: Run
    remaining: Remaining


@dataclass(frozen=True, slots=True)
class FollowingEnded:
    """The log is not read any more."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """Somebody wants the run to end: it writes a checkpoint first."""

    run: Run


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is done, nothing of it is left running, and its result is in `home`."""

    run: Run
    home: Path


Event = (
    Message
    | RunFound
    | TokensEstimated
    | DataCounted
    | PlanReady
    | PlaceFull
    | Started
    | MachineCreated
    | Detached
    | Following
    | MachinePhase
    | LogBytes
    | Requoted
    | FollowingEnded
    | Stopping
    | Finished
)
Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class StartQuestion:
    """Shall the plan be started? `default` is no above the limit of the settings, or when time is too short."""

    plan: Plan
    default: bool


@dataclass(frozen=True, slots=True)
class StopQuestion:
    """Somebody pressed Ctrl-C: shall the run be stopped? No: it continues without this client."""

    run: Run


Question = StartQuestion | StopQuestion
Ask = Callable[[Question], bool]


def ignore(event: Event) -> None:
    """Show nothing."""


def refuse(question: Question) -> bool:
    """Leave a run running. Raises UsageError for what may be started only with consent."""
    if isinstance(question, StartQuestion):
        raise UsageError("there is no terminal to ask on", "-y starts it without asking")
    return False


def progress(emit: Emit) -> Callable[[str], None]:
    """A logger for text that emits each line as a detail message."""
    return lambda text: emit(Message(text, detail=True))
