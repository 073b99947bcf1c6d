"""What a run has measured, kept in the state so that later quotes for the same machine are better."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cloudtrain.errors import DamagedRecord, RunNotFound, UsageError, nearest, visible
from cloudtrain.quote.lessons import measured
from cloudtrain.quote.lessons.measured import FILE

if TYPE_CHECKING:
    from cloudtrain.records import MeasurementRecord
    from cloudtrain.runs.record import Run
    from cloudtrain.state.protocol import Store

LEAST_TOKENS = 1000  # a shorter run measures its own start-up


def learn(run: Run) -> None:
    """Add what a run that is over has measured to the state's measurements, once. Too little adds nothing.

    Neither does a run that was begun not to, as the demo is.
    """
    from cloudtrain.records import MeasurementRecord
    from cloudtrain.runs.results import out_of_memory

    if not run.intent.teaches:
        return
    short, before = out_of_memory.is_short(run), run.document("measured.json", MeasurementRecord)
    if before is not None and before.out_of_memory == short:
        return
    found = out_of_memory.measurement(run) if short else speed(run)
    if found is None:
        return
    run.write("measured.json", found)
    run.store.append(FILE, found.as_line())
    refresh(run.store)


def speed(run: Run) -> MeasurementRecord | None:
    """Speed and peak of a finished run; None when it was too short."""
    from cloudtrain.records import MeasurementRecord
    from cloudtrain.runs.results import out_of_memory

    quote, done = run.quote, run.exit
    if quote is None or done is None or not done.tokens_per_second or not quote.flops_per_token:
        return None
    if (done.tokens or 0) < LEAST_TOKENS:
        return None
    line, estimate, spec = quote.line, out_of_memory.Estimate.of(run), out_of_memory.spec_of(run)
    recipe = line.recipe
    return MeasurementRecord(
        run=run.id,
        time=done.ended_at,
        model=None if estimate is None else estimate.request.spec.name,
        hardware=line.hardware,
        count=line.count,
        method=recipe.method if recipe else None,
        stack=recipe.stack if recipe else None,
        dtype=recipe.dtype if recipe else "bf16",
        provider=line.provider,
        tokens=done.tokens,
        steps=done.step,
        sequence_length=spec.sequence_length if spec else None,
        load=done.load,
        tokens_per_second=done.tokens_per_second,
        flops_per_s=done.tokens_per_second * quote.flops_per_token,
        peak_bytes=out_of_memory.measured_peak(run) or None,
        required_bytes=line.required_bytes or None,
    )


def known(store: Store) -> list[MeasurementRecord]:
    """What the state's runs have measured and nobody has taken back, oldest first. A damaged line is passed over."""
    from cloudtrain.records import MeasurementRecord, read

    found: list[MeasurementRecord] = []
    for line in (store.read(FILE) or b"").splitlines():
        try:
            record = read(MeasurementRecord, line, f"`{FILE}`")
        except DamagedRecord:
            continue
        if record.forgotten:
            found = [other for other in found if other.run != record.run]
        else:
            found.append(record)
    return found


def forget(store: Store, runs: Iterable[str] | None) -> int:
    """Take back what these runs, None for all, have measured; returns how many measurements that were.

    A line says so, because a state in a bucket has no line that can be removed without racing another client. Raises
    RunNotFound, before anything is forgotten, for a run that has measured nothing.
    """
    from cloudtrain.records import MeasurementRecord

    found = known(store)
    there = dict.fromkeys(each.run for each in found)
    wanted = list(there) if runs is None else list(dict.fromkeys(runs))
    for run in wanted:
        if run not in there:
            close = nearest(run, list(there))
            hint = f"did you mean `{close}`?" if close else "`cloudtrain measurements list` shows what there is"
            raise RunNotFound(f"nothing is known of a run `{visible(run)}`", hint)
    for run in wanted:
        taken_back = MeasurementRecord(hardware="", count=0, run=run, time=time.time(), forgotten=True)
        store.append(FILE, taken_back.as_line())
    refresh(store)
    return sum(each.run in wanted for each in found)


def refresh(store: Store) -> None:
    """Copy the measurements of a state in a bucket to where a quote, which asks no network for them, finds them."""
    path = measured.kept_here(store.url)
    if path is None:
        return
    with contextlib.suppress(UsageError, OSError):
        data = store.read(FILE)
        if data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
