"""The write-ahead journal of calls to a cloud, which cleaning up reads: intents, answers, the `cancelled` marker.

Lines of `journal.jsonl`: `{time, boot, uptime_s, phase: intent|done|failed, call: create|delete, number, provider,
kind, inputs, id}`. A torn last line, left by a power cut, is skipped; its call was never sent, because the line comes
first. Nobody can know that it was a power cut, though: a journal with such a line proves nothing by what it lacks.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain.errors import Cancelled, DamagedRecord, UsageError
from cloudtrain.state.errors import BucketDenied, BucketUnreachable

if TYPE_CHECKING:
    from cloudtrain.records import JournalRecord
    from cloudtrain.state.protocol import Store

ERROR_TEXT_CHARACTERS = 600  # of a provider's message
EVERY = 10**9  # more attempts than any run has
LONGEST_LINE = 1 << 20
_NUMBER = re.compile(rb"[0-9]{1,8}")
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def uptime() -> tuple[str, float] | None:
    """(which boot of this machine, seconds since it): unaffected by changes of the clock. None where unknown."""
    try:
        with open(BOOT_ID) as file:
            return file.read().strip(), time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, AttributeError):
        return None


class Intent(NamedTuple):
    """A mutating call that was about to be sent, and what is known of its answer."""

    number: str
    call: str  # create | delete
    kind: str
    inputs: Mapping[str, Any]
    time: float
    answer: str  # "" (none known) | done | failed
    id: str
    boot: str = ""  # which boot of the writer's machine, and how long after it; "" when it was not known
    uptime_s: float = 0.0


@dataclass(frozen=True)
class Journal:
    """The records of one run that the crash protocol depends on."""

    store: Store
    run: str
    now: Callable[[], float] = time.time
    uptime: Callable[[], tuple[str, float] | None] | None = None  # None: this machine's, if `now` is its clock

    def since_boot(self) -> tuple[str, float] | None:
        """Boot and seconds since it; None on a clock that is not this machine's."""
        return self.uptime() if self.uptime else uptime() if self.now is time.time else None

    def age_s(self, intent: Intent) -> float:
        """Seconds since an intent was written, at the least: the smaller of what the clock and the uptime say.

        A clock that was moved forward must not make a call old that may still be in flight; neither must the clock of
        another machine, so that an intent of another boot has no age at all. Negative for one from the future.
        """
        age_s, boot = self.now() - intent.time, self.since_boot()
        if not boot or not intent.boot:
            return age_s
        return min(age_s, boot[1] - intent.uptime_s) if boot[0] == intent.boot else 0.0

    def key(self, name: str) -> str:
        """The state key of one of the run's documents."""
        return f"runs/{self.run}/{name}"

    def intend(self, call: str, provider: str, kind: str, inputs: Mapping[str, Any], id: str = "") -> str:  # noqa: A002
        """Write down that a call is about to be sent; returns its number. Raises UsageError when it cannot be kept."""
        number = uuid.uuid4().hex[:12]
        self._add(phase="intent", call=call, number=number, provider=provider, kind=kind, inputs=dict(inputs), id=id)
        return number

    def answered(self, number: str, id: str) -> None:  # noqa: A002
        """The call was performed on the thing `id`."""
        self._add(phase="done", number=number, id=id)

    def refused(self, number: str, error: Exception) -> None:
        """The call was surely not performed."""
        self._add(phase="failed", number=number, **error_record(error))

    def _add(self, **line: Any) -> None:
        from cloudtrain.records import JournalRecord

        boot = self.since_boot()
        steady: dict[str, Any] = {"boot": boot[0], "uptime_s": boot[1]} if boot else {}
        record = JournalRecord(time=self.now(), **steady, pid=os.getpid(), **line)
        self.store.append(self.key("journal.jsonl"), record.as_line())

    def lines(self) -> list[JournalRecord]:
        """Every whole line, oldest first."""
        return [line for line in self._read() or () if line is not None]

    @property
    def whole(self) -> bool:
        """Whether every line can be read and the first ones are there: only then no intent is missing in it.

        The run's start is written down before anything is asked for. A journal without it was lost, and what it holds
        was written by those who clean up.
        """
        lines = self._read() or [None]
        return None not in lines and any(
            line.phase == "intent" and line.call in ("start", "create") for line in lines if line
        )

    def _read(self) -> list[JournalRecord | None] | None:
        """Line by line, None for one that cannot be read; None when there is no journal.

        One that is there and cannot be read at all is one such line; a state that cannot be reached is raised.
        """
        try:
            text = self.store.read(self.key("journal.jsonl"))
        except (BucketDenied, BucketUnreachable):
            raise
        except UsageError:
            return [None]
        return None if text is None else [_record(line) for line in text.split(b"\n") if line.strip()]

    def intents(self) -> list[Intent]:
        """Every intended call with its answer, oldest first."""
        lines = self.lines()
        answers = {line.number: line for line in lines if line.phase in ("done", "failed")}
        intents = []
        for line in lines:
            if line.phase == "intent" and line.kind:
                answer = answers.get(line.number)
                phase, known = ("", "") if answer is None else (answer.phase, answer.id)
                intents.append(
                    Intent(
                        line.number, line.call, line.kind, line.inputs, line.time,
                        phase, known or line.id, line.boot, line.uptime_s,
                    )
                )  # fmt: skip
        return intents

    def last_refusal(self, attempt: int) -> tuple[str, str, str] | None:
        """Name, message and hint of the newest error that a create of this attempt met."""
        numbers = {i.number for i in self.intents() if i.call == "create" and i.inputs.get("attempt") == attempt}
        for line in reversed(self.lines()):
            if line.error and line.number in numbers:
                return line.error, line.message, line.hint
        return None

    def abandoned(self, number: str, error: Exception) -> None:
        """The create was sent, and failed later or with an unknown result: records the error."""
        self._add(phase="gave up", number=number, **error_record(error))

    def mark_cancelled(self, attempt: int) -> None:
        """From now on nothing of this or an earlier attempt may be made any more."""
        before = self.cancelled_attempt()
        self.store.write(self.key("tombstone"), str(attempt if before == EVERY else max(attempt, before)).encode())

    def cancelled_attempt(self) -> int:
        """The newest attempt that was ended; 0 when none was, EVERY when that cannot be read."""
        text = self.store.read(self.key("tombstone"))
        return 0 if text is None else int(text) if _NUMBER.fullmatch(text.strip()) else EVERY

    def check_cancelled(self, attempt: int) -> None:
        """Raises Cancelled when the attempt has been ended."""
        if attempt <= self.cancelled_attempt():
            raise Cancelled(f"attempt {attempt} of run `{self.run}` was ended")


def error_record(error: Exception) -> dict[str, str]:
    """An error as the journal keeps it: the client, another process, shows it."""
    return {
        "error": type(error).__name__,
        "message": str(error)[:ERROR_TEXT_CHARACTERS],
        "hint": str(getattr(error, "hint", ""))[:ERROR_TEXT_CHARACTERS],
    }


def _record(line: bytes) -> JournalRecord | None:
    """A line of the journal, or None when it is damaged."""
    from cloudtrain.records import JournalRecord, read

    if len(line) > LONGEST_LINE:
        return None
    try:
        found = read(JournalRecord, line, "`journal.jsonl`")
    except DamagedRecord:
        return None
    return found if is_usable(found.inputs) else None


def is_usable(inputs: Mapping[str, Any]) -> bool:
    """Whether what a driver, or a person, is told of a call has the shape that all of ours have."""
    place, attempt = inputs.get("place", {}), inputs.get("attempt", 0)
    flat = isinstance(place, dict) and all(isinstance(value, str) for value in place.values())
    names = all(isinstance(inputs.get(name, ""), str) for name in ("name", "role", "run"))
    return flat and names and isinstance(attempt, int) and isinstance(inputs.get("tags", {}), dict)
