"""Teardown: stop runs, prove that they are gone, write the proof down. Outputs are never deleted.

No record is needed for it: what cannot be read is passed over, and where nothing says which provider has the run,
every one that can be asked is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cloudtrain.errors import CloudtrainError, TeardownIncomplete, UsageError
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import DeletionProof, Stack, StopOptions, load, names
from cloudtrain.runs.listing import could_name, find
from cloudtrain.runs.record import Run
from cloudtrain.runs.transfer import hub_token, kept
from cloudtrain.state.protocol import Store

if TYPE_CHECKING:
    from cloudtrain.records import GoneRecord, JournalRecord

T = TypeVar("T")
SETTLED = {"finished", "stopped", "failed", "cancelled"}
TRACES = {"intent.json", "journal.jsonl", "machine.json", "gone.json", "tombstone", "attempts", "pulumi", "machine"}
LEAST_LEFT_S = 120.0  # with less time than this no further machine is started


class Ended(NamedTuple):
    """A run that is gone, the state in which it was found, and the proof as it is written down."""

    run: Run
    was: str
    proof: GoneRecord | None


def end_runs(store: Store, name: str | None, stopping: StopOptions, report: Callable[[Ended], None]) -> int:
    """End the run of that name, or without one every run that is not gone, and report each that is proven gone.

    One failure does not keep the others alive. Returns how many runs there were to end. Raises TeardownIncomplete when
    one could not be proven gone, UsageError when a record cannot be written.
    """
    runs = [named(store, name)] if name is not None else [run for run in begun(store) if not is_gone(run)]
    failures: list[CloudtrainError] = []
    for run in runs:
        was = readable(lambda run=run: run.state) or "unknown"  # type: ignore[misc]
        try:
            after = down(run, stopping)
            report(Ended(after, was, readable(lambda after=after: after.gone)))  # type: ignore[misc]
        except CloudtrainError as error:
            failures.append(error)
    if failures:
        message, hint = "; ".join(e.message for e in failures), "\n".join(dict.fromkeys(e.hint for e in failures))
        only_records = all(isinstance(error, UsageError) for error in failures)  # gone, all of them, but not written
        raise UsageError(message, hint) if only_records else TeardownIncomplete(message, hint)
    return len(runs)


def only_one(store: Store) -> str | None:
    """The name of the one run that is not gone; None when there is none. Raises UsageError with several's names."""
    left = [run.id for run in begun(store) if not is_gone(run)]
    if len(left) > 1:
        raise UsageError(
            f"say which run: {len(left)} are not gone, {', '.join(left[:5])}{' ...' if len(left) > 5 else ''}",
            "`cloudtrain down RUN` or `cloudtrain down --all`",
        )
    return left[0] if left else None


def readable(look: Callable[[], T]) -> T | None:
    """What is seen, or None when it cannot be read, whatever the reason."""
    try:
        return look()
    except Exception:  # a record of any shape; what is asked for here is never needed
        return None


def begun(store: Store) -> list[Run]:
    """Every run that has left anything, also one whose records cannot be read."""
    return [run for name in store.children("runs") if has_traces(run := Run(store, name))]


def has_traces(run: Run) -> bool:
    """Whether anything lies in its folder that is only there when it has begun."""
    return not TRACES.isdisjoint(run.store.children(f"runs/{run.id}"))


def is_gone(run: Run) -> bool:
    """Whether its certificate is there and can be read."""
    return readable(lambda: run.gone) is not None


def named(store: Store, name: str) -> Run:
    """The run of that name, also when its records cannot be read; else what `find` finds. Raises RunNotFound."""
    if could_name(name) and has_traces(run := Run(store, name)):
        return run
    return find(store, name)


def down(run: Run, stopping: StopOptions = StopOptions(GRACE_S), wanted: bool = True) -> Run:  # noqa: B008  # it cannot be changed
    """End whatever is left of the run and write gone.json. A run that is already gone is checked again.

    `wanted`: the user asked for it, so it counts as cancelled. Otherwise only an ended run is torn down.
    A state that cannot be written does not keep the run alive: it is ended first, and reported afterwards. Raises
    TeardownIncomplete (6) when something could not be proven gone, UsageError when only the written proof is missing.
    """
    if wanted:
        readable(lambda: ask_to_end(run, stopping))
    readable(lambda: run.journal("intent", "stop"))
    stacks, unasked = stacks_of(run)
    proofs = [prove(run, stack, stopping) for stack in stacks]
    if unasked:
        raise TeardownIncomplete(
            f"run `{run.id}` is not proven gone: `{run.store.place(run.key('intent.json'))}` cannot be read, no other "
            f"record says where it was, and without credentials {' and '.join(unasked)} cannot be asked",
            "set the credentials and repeat; `cloudtrain sweep` finds what it may have rented",
        )
    proof = proofs[0] if len(proofs) == 1 else together(proofs)
    after = Run(run.store, run.id)
    readable(lambda: after.journal("done", "stop", answer=proof.answer))
    try:
        after.store.delete(after.key("tickets"))  # they must not be used any more
        if not is_gone(after):
            after.store.delete(after.key("gone.json"))  # whatever lies in its place
            after.write("gone.json", deletion_record(after, ", ".join(stack.name for stack in stacks), proof))
            readable(lambda: after.event("gone", answer=proof.answer))
        if wanted or not readable(lambda: wants_another(Run(run.store, run.id))):
            hub_token.forget(after)
        if wanted or readable(lambda: after.exit is not None and after.exit.reason == "done"):
            readable(lambda: kept.forget(after))  # of a run that may go on they are what saves it hours
    except UsageError as error:
        raise UsageError(f"run `{run.id}` is gone ({proof.answer}), but {error.message}", error.hint) from error
    return Run(run.store, run.id)


def wants_another(run: Run) -> bool:
    """Whether the run's machine was preempted, or its addresses have ended, and another one may go on."""
    if run.intent.idle or run.wanted == "down" or run.gone is None or run.machine is None:
        return False
    if run.ends - time.time() <= LEAST_LEFT_S:
        return False
    if run.addresses_ended:
        return True
    if run.exit is not None and run.exit.reason != "preempted":
        return False
    lost = sum(1 for attempt in run.attempts if attempt.machine and not attempt.addresses_ended)
    return lost < run.intent.max_restarts


def ask_to_end(run: Run, stopping: StopOptions) -> None:
    """Write down that it is to end, and give its job the time to save, unless it has ended by its provider's word."""
    preempted = run.exit is not None and run.exit.reason == "preempted"
    follows = preempted or run.addresses_ended  # another machine would
    if run.state in SETTLED and not follows:
        return
    run.write("intent.json", run.intent.replace(wanted="down"))
    run.store.write(run.key("kill"), b"down\n")
    if not stopping.force:
        await_checkpoint(run, stopping)


def stacks_of(run: Run) -> tuple[list[Stack], list[str]]:
    """Who may have something of the run: whom its intent names, else whom its other records name, else everybody.

    The second list names those of everybody who cannot be asked from here.
    """
    from cloudtrain.runs.sweep import credentials_set

    meant, known = readable(lambda: run.stack), names("stacks")
    if meant is not None:
        return [meant], []
    said = {readable(lambda: run.machine.provider if run.machine else None)}
    said |= {readable(lambda: run.line.provider if run.line else None)}
    said |= {line.provider for line in readable(lambda: journal_lines(run)) or ()}
    unasked: list[str] = []
    if said.isdisjoint(known):
        said = {name for name in known if load("stacks", name, Stack).direct or credentials_set(name)}
        unasked = [name for name in known if name not in said]
    return [load("stacks", name, Stack) for name in known if name in said], unasked


def journal_lines(run: Run) -> list[JournalRecord]:
    """The lines of its journal that can be read."""
    from cloudtrain.records import JournalRecord, read

    lines = (run.store.read(run.key("journal.jsonl")) or b"").splitlines()
    found = (readable(lambda line=line: read(JournalRecord, line, "`journal.jsonl`")) for line in lines)  # type: ignore[misc]
    return [line for line in found if line is not None]


def prove(run: Run, stack: Stack, stopping: StopOptions) -> DeletionProof:
    """Have one provider's part ended and proven. Raises TeardownIncomplete, whatever went wrong."""
    again = f"cloudtrain down {run.id}"
    not_proven = f"run `{run.id}` is not proven gone from {stack.name}"
    try:
        return stack.stop(run.id, run.store, stopping)
    except TeardownIncomplete:
        readable(lambda: run.journal("failed", "stop"))
        readable(lambda: run.event("teardown incomplete"))
        raise
    except CloudtrainError as error:  # a record that cannot be read proves nothing, whatever it would have said
        hint = f"{again} (before: {error.hint})" if error.hint else again
        raise TeardownIncomplete(f"{not_proven}: {error.message}", hint) from error
    except Exception as error:  # a defect, or a record of a shape that nobody foresaw: the machine may stand
        raise TeardownIncomplete(f"{not_proven}: {type(error).__name__}: {error}", again) from error


def together(proofs: list[DeletionProof]) -> DeletionProof:
    """Several providers' word as one."""
    said_by, answer = (", ".join(dict.fromkeys(each[part] for each in proofs)) for part in (0, 1))  # type: ignore[misc]
    return DeletionProof(said_by, answer, max(each.time for each in proofs))


def await_checkpoint(run: Run, stopping: StopOptions) -> None:
    """Give a job on a rented machine with a heartbeat the time to read the request, save and write its exit record."""
    if run.stack.direct or run.intent.idle or not run.heartbeat:
        return
    from cloudtrain.runs import remote

    monitor = remote.Monitor(run)
    give_up = time.monotonic() + stopping.grace_s + 2 * monitor.pace.heartbeat_s
    stopping.log("waiting for its last checkpoint")
    while time.monotonic() < give_up and not monitor.poll():
        time.sleep(monitor.pace.log_s)


def deletion_record(run: Run, provider: str, proof: DeletionProof) -> GoneRecord:
    """What is written down of the proof: whose word, in which words, when, and what was billed, if that is known."""
    from cloudtrain.records import GoneRecord

    return GoneRecord(
        run=run.id,
        provider=provider,
        said_by=proof.said_by,
        answer=proof.answer,
        time=proof.time,
        billed_s=readable(run.metered_s),
    )


def certify(run: Run, patience_s: float = 10.0) -> Run:
    """Wait until a run that has left its exit record is really gone, then have it proven and written down."""
    give_up = time.monotonic() + patience_s
    while run.alive and time.monotonic() < give_up:
        time.sleep(0.1)
        run = Run(run.store, run.id)
    return down(Run(run.store, run.id))
