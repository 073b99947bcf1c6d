"""Attached to a run: its log over all its machines, then its result; or detached, and the run continues alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloudtrain.errors import CloudtrainError, Interrupted, MissingCredentials, NoCapacity, NotFinished
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import StopOptions
from cloudtrain.runs import follow, reconcile, remote, teardown
from cloudtrain.runs.chunks import log_size
from cloudtrain.runs.events import (
    Ask,
    Detached,
    Emit,
    Finished,
    Following,
    FollowingEnded,
    LogBytes,
    MachineCreated,
    MachinePhase,
    Requoted,
    Stopping,
    StopQuestion,
    progress,
)
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements, outcome, pull
from cloudtrain.runs.results.remaining import Watch
from cloudtrain.state.errors import BucketUnreachable
from cloudtrain.state.protocol import AlreadyThere, Store

if TYPE_CHECKING:
    from cloudtrain.runs.client.machinery import Machinery
    from cloudtrain.runs.client.options import UpOptions
    from cloudtrain.runs.remote import MachineEvent, Monitor

TAIL_LINES = 20  # of the log that who attaches sees again


class Attachment:
    """A client that follows runs as its options say."""

    def __init__(self, options: UpOptions, machinery: Machinery, emit: Emit, ask: Ask) -> None:
        self.options, self.machinery, self.emit, self.ask = options, machinery, emit, ask

    def attach(self, run: Run) -> Run:
        """Follow a living run to its end, unless detached. Raises NotFinished while another client is on it."""
        if run.intent.idle:
            self.emit(Detached(run, "idle"))
            return run
        if self.options.detach:
            self.emit(Detached(run, "attached"))
            return run
        guard = contextlib.nullcontext() if run.stack.direct else outcome.teardown_guard(run.id)
        with guard, held(run.store, run.id, f"`cloudtrain logs -f {run.id}` follows it"):
            return self.follow(run, follow.tail_offset(run, TAIL_LINES))

    def follow_or_detach(self, run: Run, offset: int | None = None) -> Run:
        """After the start: follow to the end from byte `offset` of the log on, unless detached.

        Without an offset it is where the log of the newest machine begins. The caller holds the run's lease.
        """
        if self.options.detach:
            self.emit(Detached(run, "started"))
            return run
        if offset is None:
            with outcome.teardown_guard(run.id):
                offset = log_begin(run)
        return self.follow(run, offset)

    def follow(self, run: Run, offset: int) -> Run:
        """Read the log over all machines to the end, then finish. The caller holds the run's lease.

        Raises by how the run ended, and after Ctrl-C by whether it is left running.
        """
        direct = run.stack.direct
        try:
            with contextlib.nullcontext() if direct else outcome.teardown_guard(run.id):
                while True:
                    run, event = self.read_log(run, offset)
                    if direct:
                        break
                    run = reconcile.reconcile(run, event, self.emit)
                    if run.gone is not None:
                        break
                    self.emit(MachineCreated(run, restart=True))
                    offset = log_begin(run)
        except KeyboardInterrupt:
            raise self.on_detach(run) from None
        except NoCapacity as error:
            raise NotFinished(f"run `{run.id}` lost its machine: {error.message}", error.hint) from None
        except MissingCredentials as error:
            if not Run(run.store, run.id).addresses_ended:
                raise
            raise NotFinished(error.message, error.hint) from None
        return self.finish(teardown.certify(run)) if direct else self.download_result(run)

    def read_log(self, run: Run, offset: int) -> tuple[Run, MachineEvent]:
        """Emit the log from a byte on until nothing follows on this machine; returns the run, and why it is over."""
        monitor = None if run.stack.direct else remote.Monitor(run)
        phase, watch = "", Watch(run)
        self.emit(Following(run))
        try:
            for data in follow.stream(run, offset, monitor=monitor):
                if monitor is not None and (now := phase_of(monitor)) != phase:
                    phase = now
                    fetches = monitor.heartbeat.fetch_bytes if monitor.heartbeat else None
                    self.emit(MachinePhase(phase, monitor.waited_s, fetches))
                self.emit(LogBytes(data))
                if rest := watch.look() if monitor is None else watch.news(run, monitor.heartbeat):
                    self.emit(Requoted(run, rest))
        finally:
            self.emit(FollowingEnded())
        run = Run(run.store, run.id)
        if outcome.is_above_cap(run) and (rest := watch.news(run, run.figures)):
            self.emit(Requoted(run, rest))
        return run, "ended" if monitor is None else monitor.last_event

    def finish(self, run: Run) -> Run:
        """Bring the result of a finished run home. Raises by how another one ended; a rented machine is ended first."""
        if not run.stack.direct and run.gone is None and run.exit is not None:
            run = teardown.down(run, wanted=False)
        if run.state not in ("cancelled", "stopped", "died"):
            measurements.learn(run)
        if run.state != "finished":
            raise outcome.unfinished(run)
        self.emit(Finished(run, pull.pull(run, self.options.destination(run.id))))
        return run

    def download_result(self, run: Run) -> Run:
        """Finish a run whose machine is proven gone: a state that fails now costs only time."""
        try:
            return self.finish(run)
        except BucketUnreachable as error:
            raise NotFinished(
                f"run `{run.id}` has ended and its machine is gone, but {error.message}",
                f"`cloudtrain attach {run.id}` downloads the result when it can be reached",
            ) from error

    def on_detach(self, run: Run) -> CloudtrainError:
        """After Ctrl-C: leave it running or end it; the error says which."""
        if self.machinery.ends_with_client:
            return Interrupted(f"stopped `{run.id}`")
        run = Run(run.store, run.id)
        if run.machine is None and not run.stack.direct:  # while the next machine was being made
            return outcome.interrupted_launch(run)
        if self.options.yes or not self.ask(StopQuestion(run)):
            return outcome.left_running(run)
        self.emit(Stopping(run))
        teardown.down(run, StopOptions(GRACE_S, log=progress(self.emit)))
        return outcome.stopped(run)


@contextlib.contextmanager
def held(store: Store, run: str, hint: str) -> Iterator[None]:
    """Hold the run's lease. Raises NotFinished while another client does."""
    try:
        with store.hold(f"runs/{run}/client.lock"):
            yield
    except AlreadyThere as other:
        raise NotFinished(f"another client holds run `{run}`: {other.message}", hint) from None


def log_begin(run: Run) -> int:
    """The byte at which the log of the newest attempt begins: what there was before its machine."""
    from cloudtrain.records import TicketRecord

    ticket = run.document(f"tickets/{run.intent.attempt}.json", TicketRecord)
    return log_size(run) if ticket is None else ticket.log_bytes


def phase_of(monitor: Monitor) -> str:
    """What the machine says that it does; "" before its first heartbeat."""
    return (monitor.heartbeat.phase or "boot") if monitor.heartbeat else ""
