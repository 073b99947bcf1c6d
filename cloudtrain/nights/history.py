"""What a schedule's nights came to, and when its last tick was: for a person at another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cloudtrain.errors import UsageError, nearest
from cloudtrain.nights import book, notices
from cloudtrain.state.protocol import Store
from cloudtrain.units import hours, rfc3339

if TYPE_CHECKING:
    from cloudtrain.records import NightRecord

OVERDUE_S: Final = 26 * 3600.0  # a schedule ticks once a day at the least


class Row(NamedTuple):
    """One night of one schedule."""

    schedule: str
    night: NightRecord

    def document(self) -> dict[str, Any]:
        """For JSON; see `cloudtrain schema night`."""
        night = self.night
        return {
            "schedule": self.schedule,
            "date": night.date,
            "due_at": rfc3339(night.due),
            "begun_at": rfc3339(night.begun),
            "outcome": night.outcome or None,
            "run": night.run or None,
            "message": night.message,
        }


def rows(store: Store, name: str | None, most: int) -> tuple[list[Row], list[str]]:
    """The newest nights of that schedule, or of each, newest first; and a sentence about every one that cannot be read.

    Raises UsageError for a schedule that has never ticked in this state.
    """
    known = book.schedules(store)
    if name is not None and name not in known:
        close = nearest(name, known)
        hint = f"did you mean `{close}`?" if close else "`cloudtrain schedule SPEC` makes one"
        raise UsageError(f"no schedule `{name}` has ticked in `{store.url}`", hint)
    found: list[Row] = []
    damaged: list[str] = []
    for each in [name] if name is not None else known:
        nights, unread = book.nights(store, each, book.dates(store, each)[-most:])
        found += [Row(each, night) for night in nights]
        damaged += unread
    return sorted(found, key=lambda row: row.night.due, reverse=True), damaged


def last_ticks(store: Store, now: float) -> list[str]:
    """A sentence about each schedule of the state: when its last tick was and what it did. Empty without schedules."""
    return [sentence(store, name, now) for name in book.schedules(store)]


def sentence(store: Store, name: str, now: float) -> str:
    """The same of one of them."""
    try:
        last = book.last_tick(store, name)
    except UsageError as error:
        return f"schedule `{name}`: {error.message}"
    if last is None:
        return f"schedule `{name}`: no tick of it has come to its end yet"
    ago = max(0.0, now - last.time)
    told = f"schedule `{name}`: the last tick was {since(ago)} ago: {last.outcome}"
    if last.message and last.outcome not in book.QUIET:
        told += f", {last.message[:160]}"
    if ago > OVERDUE_S:
        told += " (overdue: is its workflow or timer switched off, or its machine asleep?)"
    return "; ".join(filter(None, (told, switched_off(store, name))))


def switched_off(store: Store, name: str) -> str:
    """That its forge has switched the schedule's file off, as far as the last tick knows; else ""."""
    try:
        return notices.kept_warning(store, name)
    except UsageError as error:
        return error.message


def since(seconds: float) -> str:
    """A length of time for a person, in whole hours where that says enough."""
    return f"{seconds / 3600:.0f} h" if seconds >= 2 * 3600 else hours(seconds)
