"""What is due for living runs and for what is left over at providers, by a client that comes and goes."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from cloudtrain import settings
from cloudtrain.errors import CloudtrainError, TeardownIncomplete
from cloudtrain.runs import poll, sweep, teardown
from cloudtrain.runs.events import Emit, Message
from cloudtrain.runs.poll import Polled, PollOptions
from cloudtrain.runs.record import Run
from cloudtrain.state.protocol import Store

SILENT_S: Final = (
    3600.0  # an engine that has written nothing for so long is dead: no operation of it takes half an hour
)


class Looked(NamedTuple):
    """What was done, in sentences; and what may still cost money and should not."""

    done: list[str]
    leaks: list[str]


def look_after(store: Store, emit: Emit) -> Looked:
    """Every rented run that is not over: torn down, restarted, brought home. One that cannot be read stops no other."""
    report = poll.poll(store, None, True, PollOptions(finish=True), emit)
    polled = [unlocked(each, emit) for each in report.polled]
    leaks = [each.error.message for each in polled if isinstance(each.error, TeardownIncomplete)]
    return Looked([f"run `{each.run.id}`: {each.done}" for each in polled] + report.damaged, leaks)


def unlocked(polled: Polled, emit: Emit) -> Polled:
    """The same run again without the lock of an engine that died with its machine, if that was in the way.

    The machine of a CI job is gone with it, and another one cannot see that its engine is dead. What it had sent is
    waited for by the crash protocol, which also keeps it from asking for more.
    """
    unlock = polled.run.stack.unlock
    if not isinstance(polled.error, TeardownIncomplete) or unlock is None:
        return polled
    run = Run(polled.run.store, polled.run.id)
    if run.store.is_held(run.key("client.lock")) or settings.now() - last_call(run) < SILENT_S:
        return polled
    removed, _ = unlock(run.id, run.store, True)
    if not removed:
        return polled
    emit(Message(f"run `{run.id}`: the lock of a dead engine is removed ({', '.join(removed)})", detail=True))
    return poll.look_guarded(run, PollOptions(finish=True), emit)


def last_call(run: Run) -> float:
    """When an engine of the run, or who began one, last wrote to its journal; now, when nobody has."""
    lines = (line.time for line in teardown.journal_lines(run) if line.call in ("start", "create", "delete"))
    return max(lines, default=time.time())


def sweep_up(emit: Emit) -> Looked:
    """Delete what is left over at the providers that can be asked; what cannot be had away is a leak."""
    done: list[str] = []

    def tell(event: sweep.Listed | sweep.Removed) -> None:
        if isinstance(event, sweep.Removed):
            done.append(f"{event.provider}: {event.gone} of {event.of} left over, gone now")
        else:
            for thing in event.due:
                emit(
                    Message(
                        f"left over: {thing.provider} {thing.owned.what} {thing.owned.id}: {thing.why}", detail=True
                    )
                )

    try:
        sweep.sweep(sweep.SweepOptions(), True, tell)
    except TeardownIncomplete as error:
        return Looked(done, [error.message])
    except CloudtrainError as error:
        return Looked([*done, error.message], [])
    return Looked(done, [])
