"""One run's speed as a line that can be sent to us: model, machine, figures and versions, and nothing of the person's.

What is in the line is listed in `Shared`, and nothing else gets into it: no name of a run, file, account or place. A
model that is not in the registry is a private matter; of it there are its family and its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain import __version__
from cloudtrain.runs.results import out_of_memory
from cloudtrain.runs.results.measurements import LEAST_TOKENS

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.runs.record import Run

DIGITS = 4  # of a figure: what is measured is not known better, and more of them would tell runs apart


class Shared(NamedTuple):
    """The line. Rates are of all chips together; bytes are those of the device that had most."""

    model: str
    method: str
    quantisation: str
    targets: str
    rank: int | None
    hardware: str
    chips: int
    sequence_length: int
    batch: int | None
    packing: bool
    dtype: str
    tokens_per_s: float
    gflop_per_token: float | None
    peak_bytes: int | None
    steps: int | None
    stack: str
    software: str
    cloudtrain: str


def shared(run: Run) -> Shared | None:
    """The line of a run that trained long enough to have measured something; None of others, and of a demo."""
    quote, done, estimate = run.quote, run.exit, out_of_memory.Estimate.of(run)
    spec = out_of_memory.spec_of(run)
    if quote is None or done is None or spec is None or not run.intent.teaches:
        return None
    if not done.tokens_per_second or (done.tokens or 0) < LEAST_TOKENS:
        return None
    line, recipe = quote.line, quote.line.recipe
    return Shared(
        model=named(None if estimate is None else estimate.request.spec),
        method=spec.method,
        quantisation=recipe.quantisation if recipe else "",
        targets=str((recipe.targets if recipe else None) or ""),
        rank=recipe.rank if recipe else None,
        hardware=line.hardware,
        chips=line.count,
        sequence_length=spec.sequence_length,
        batch=recipe.batch if recipe else None,
        packing=spec.packing,
        dtype=recipe.dtype if recipe else "",
        tokens_per_s=rounded(done.tokens_per_second),
        gflop_per_token=rounded(quote.flops_per_token / 1e9) if quote.flops_per_token else None,
        peak_bytes=out_of_memory.measured_peak(run) or None,
        steps=None if done.step is None else int(done.step),
        stack=recipe.stack if recipe else "",
        software=line.stack,
        cloudtrain=__version__,
    )


def named(spec: ModelSpec | None) -> str:
    """The registry's name; of a model that is somebody's own what it is like."""
    if spec is None:
        return "unknown"
    from cloudtrain.models import registry

    if not spec.path and any(spec.name == known.name for known in registry.all_models()):
        return spec.name
    return f"{spec.family}, {spec.params_total / 1e9:.2g} B"


def rounded(value: float) -> float:
    """To the digits that are known."""
    return float(f"{value:.{DIGITS}g}")


def document(line: Shared) -> dict[str, Any]:
    """As JSON."""
    return line._asdict()
