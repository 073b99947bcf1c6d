"""A run that ended because memory was short: by how much the estimate was exceeded, and what would fit instead.

What is proposed is worked out by the estimator, corrected by what this run has shown, and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain import backends
from cloudtrain.errors import UsageError
from cloudtrain.estimate import memory
from cloudtrain.estimate.budget import FITS_UP_TO
from cloudtrain.models import registry
from cloudtrain.quote.chips import chips
from cloudtrain.quote.compatibility import loads
from cloudtrain.quote.recipes import recipe
from cloudtrain.quote.request import Request
from cloudtrain.runs.prepare import target_group
from cloudtrain.spec import schema as specs
from cloudtrain.units import gib

if TYPE_CHECKING:
    from cloudtrain.records import MeasurementRecord
    from cloudtrain.runs.record import Run
    from cloudtrain.spec.schema import Spec

REASON = "out_of_memory"
SHORTEST_SEQUENCE = 256


class Shortage(NamedTuple):
    """Bytes, per device. `needed`: at least this; `peak`: what was measured, 0 when nothing was."""

    estimated: int
    memory: int
    peak: int
    needed: int

    @property
    def factor(self) -> float:
        """How far the need is above the estimate, at least."""
        return max(1.0, self.needed / self.estimated)

    def describe(self) -> str:
        """By how much the estimate was exceeded, as far as that is known."""
        over = self.needed - self.estimated
        if over > 0:
            text = (
                f"it needed at least {gib(self.needed)}, {gib(over)} ({100 * over / self.estimated:.0f} %) more than "
                f"the estimated {gib(self.estimated)}"
            )
        else:
            text = f"the estimate of {gib(self.estimated)} was not reached: something else used the machine's memory"
        return f"{text}; its measured peak was {gib(self.peak)}" if self.peak else text


def is_short(run: Run) -> bool:
    """Whether the run ended for want of memory."""
    return run.exit is not None and run.exit.reason == REASON


def shortage(run: Run) -> Shortage | None:
    """What the run's records say; None when it has no quoted figures.

    A rented machine has nothing else to do, so that a run which did not get what it asked for needed more than that.
    """
    line = run.line
    if line is None or not line.required_bytes:
        return None
    peak = measured_peak(run)
    needed = max(peak, 0 if run.stack.direct else line.memory_bytes)
    return Shortage(line.required_bytes, line.memory_bytes, peak, needed)


def measured_peak(run: Run) -> int:
    """The highest use that was seen, in bytes. On an accelerator the exit record is the host's and does not count."""
    backend = backends.flavours().get(run.intent.flavour)  # None: of a back end that is no longer here
    on_host = backend is not None and backend.on_the_host(run.intent.flavour)
    found = [run.heartbeat, run.exit if on_host else None]
    return max(int(each.peak_bytes or 0) if each else 0 for each in found)


def advice(run: Run, short: Shortage) -> str:
    """The nearest settings and the next machine that fit, as text; "" when nothing is known to."""
    found = [change for change in (setting(run, short), larger_machine(run, short)) if change]
    return ", or ".join(found)


def setting(run: Run, short: Shortage) -> str:
    """The least change of the job with which it fits the same machine."""
    spec, estimate = spec_of(run), Estimate.of(run)
    if spec is None or estimate is None or not short.memory:
        return ""
    factor = short.needed / estimate.required(estimate.request)
    for arguments, request in smaller_jobs(spec, estimate.request):
        if estimate.loads(request) and max(1.0, factor) * estimate.required(request) <= FITS_UP_TO * short.memory:
            return f"`cloudtrain up {arguments}` fits by the estimate"
    return ""


def smaller_jobs(spec: Spec, request: Request) -> Iterator[tuple[str, Request]]:
    """Changes of the job as words of the command line, the least first: the batch of a step stays the same."""
    batch = request.batch
    while batch > 1:
        batch //= 2
        rest = "" if spec.batch_tokens else f" grad_accum={-(-spec.step_sequences // batch)}"
        yield f"micro_batch={batch}{rest}", request._replace(batch=batch)
    smallest = "micro_batch=1 " if request.batch > 1 else ""
    length = request.sequence_length // 2
    while length >= SHORTEST_SEQUENCE:
        yield f"{smallest}sequence_length={length}", request._replace(batch=1, sequence_length=length)
        length //= 2
    if request.method != "qlora":
        yield "method=qlora", request._replace(method="qlora")
        yield f"{smallest}method=qlora", request._replace(method="qlora", batch=1)


def larger_machine(run: Run, short: Shortage) -> str:
    """The cheapest machine of the run's own quote with more memory, which is enough."""
    lines = [
        line
        for line in run.places
        if line.memory_bytes > short.memory and short.factor * line.required_bytes <= FITS_UP_TO * line.memory_bytes
    ]
    if not lines:
        return ""
    best = min(lines, key=lambda line: line.total_usd.likely if line.total_usd else Decimal("Infinity"))
    arguments = f"--infra {best.provider}/{best.region} --hardware {best.hardware}:{best.count}"
    return f"`{arguments}` ({best.offer}) has {gib(best.memory_bytes)}"


class Estimate(NamedTuple):
    """The estimator for the run's job on the run's kind of machine."""

    request: Request
    hardware: str
    devices: int

    @classmethod
    def of(cls, run: Run) -> Estimate | None:
        """None when spec, model or machine are not known here."""
        spec, line = spec_of(run), run.line
        if spec is None or line is None or line.hardware not in chips():
            return None
        try:
            model = registry.find(spec.model)
        except UsageError:  # a folder of the machine that began the run
            return None
        request = Request(
            spec=model,
            method=spec.method,
            sequence_length=spec.sequence_length,
            batch=spec.micro_batch or (line.recipe and line.recipe.batch) or 1,
            rank=spec.lora.rank,
            targets=target_group(spec),
        )
        return cls(request, line.hardware, line.devices or 1)

    def required(self, request: Request) -> int:
        """Bytes per device, by the estimator alone."""
        ours = recipe(request, chips()[self.hardware].backend, self.devices, self.hardware)
        return 0 if ours is None else ours.required_bytes(memory.estimate(request.spec, ours.options))

    def loads(self, request: Request) -> bool:
        """Whether the trainer has the method for this architecture there."""
        chip = chips()[self.hardware]
        found = loads(request, chip.backend, chip.architecture)
        return found.verdict == "yes"


def spec_of(run: Run) -> Spec | None:
    """The run's spec; None when it cannot be read."""
    text = run.store.read(run.key("spec.yaml"))
    if text is None:
        return None
    try:
        return specs.parse(text.decode(), "spec.yaml", Path("/"))
    except (UsageError, ValueError):
        return None


def measurement(run: Run) -> MeasurementRecord | None:
    """What the run teaches later quotes, or None. The estimate in it is the bare one, without earlier lessons."""
    from cloudtrain.records import MeasurementRecord

    short, estimate, line = shortage(run), Estimate.of(run), run.line
    if short is None or estimate is None or line is None:
        return None
    return MeasurementRecord(
        run=run.id,
        time=run.exit.ended_at if run.exit else None,
        out_of_memory=True,
        model=estimate.request.spec.name,
        hardware=line.hardware,
        count=line.count,
        method=line.recipe.method if line.recipe else None,
        stack=line.recipe.stack if line.recipe else None,
        peak_bytes=short.needed,
        required_bytes=estimate.required(estimate.request),
    )
