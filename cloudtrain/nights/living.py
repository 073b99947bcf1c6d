"""What is due for living runs and for what is left over at providers, by a client that comes and goes."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from cloudtrain import settings
from cloudtrain.errors import CloudtrainError, TeardownIncomplete, Unavailable
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
    """Delete what is left over at the providers that can be asked. What cannot be had away is a leak.

    So is a provider that refuses to be asked where a run may still stand; one that does not answer is asked by the next
    tick: until then what stands there has its guards.
    """
    listed: list[sweep.Listed] = []
    removed: list[sweep.Removed] = []

    def tell(event: sweep.Listed | sweep.Removed) -> None:
        if isinstance(event, sweep.Removed):
            return removed.append(event)
        listed.append(event)
        for each in event.due:
            emit(Message(f"left over: {each.provider} {each.owned.what} {each.owned.id}: {each.why}", detail=True))
        return None

    problem: CloudtrainError | None = None
    try:
        sweep.sweep(sweep.SweepOptions(), True, tell)
    except CloudtrainError as error:
        problem = error
    done = [f"{each.provider}: {each.gone} of {each.of} left over, gone now" for each in removed]
    if problem is None:
        return Looked(done, [])
    refused = any(
        answer.provider in each.meant and not isinstance(answer.error, Unavailable)
        for each in listed
        for answer in sweep.unasked(each.answers)
    )
    if isinstance(problem, TeardownIncomplete) and (refused or any(each.gone < each.of for each in removed)):
        return Looked(done, [problem.message])
    return Looked([*done, problem.message], [])
