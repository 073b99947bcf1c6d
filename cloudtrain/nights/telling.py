"""Tell what a tick did: a summary for people, the CI system's outputs, the forge's issue, an address to be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.nights import book, ci, notices
from cloudtrain.nights.options import TickOptions
from cloudtrain.report import markdown

if TYPE_CHECKING:
    from cloudtrain.nights.tick import Ticked
    from cloudtrain.state.protocol import Store


class Told(NamedTuple):
    """The summary, what was told to whom in sentences, and what deserves a warning though nothing is wrong."""

    summary: str
    done: list[str]
    warnings: list[str]


def tell(store: Store, options: TickOptions, ticked: Ticked, environment: Mapping[str, str]) -> Told:
    """Summary and outputs, then the notices. A forge that does not answer is a sentence; the tick's word stays.

    Raises UsageError for a file of the CI system that cannot be written.
    """
    tick = ticked.tick
    summary = markdown.night_summary(store, **tick._asdict(), nights=ticked.nights)
    ci.write_summary(summary, environment)
    ci.write_outputs(tick, environment)
    done = []
    for event in ticked.events or [tick]:
        if options.comment is not None:
            body = markdown.night_summary(store, **event._asdict(), nights=ticked.nights)
            done.append(notices.tell(store, event, body, options.comment, environment))
        if options.notify_from is not None and event.outcome not in ("not due", "going on"):
            done.append(notices.notify(address(options.notify_from, environment), event))
    if any(each.outcome in book.DECIDED for each in ticked.events):
        book.write_told(store, options.name, ticked.nights)
    warnings = [each.message for each in ticked.events if each.outcome == "skipped: budget"]
    if disabled := notices.workflow_warning(environment, store, options.name):
        warnings.append(disabled)
    return Told(summary, [each for each in done if each], warnings)


def address(variable: str, environment: Mapping[str, str]) -> str:
    """What the variable of `--notify-from` holds. Raises UsageError, which shows none of it."""
    found = environment.get(variable, "").strip()
    if not found:
        raise UsageError(
            f"--notify-from names the variable `{variable}`, which is not set",
            "set it from a secret of the CI system; an address itself does not belong on a command line",
        )
    return found
