"""How fast this processor trains in bf16 and in float32: `python measure.py [SECONDS]` prints one line of JSON.

The same race as at the start of a training, over layers of a small, a middling and a large model, for at most about
SECONDS (default 8); then steps of small models, which show what a step costs beside its products (`trial.py`).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "supervisor"))
sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import machine
from devices import ACCELERATORS, computes_in_bf16
from events import claim_stdout
from number_type import measured
from products import TYPES, shapes
from supervisor import busy_s, others_share

TOKENS = 1024
LAYERS = ((576, 1536), (1024, 3072), (4096, 14336))  # hidden and feed-forward: SmolLM2 135M, Qwen3 0.6B, Llama 8B
STEPS = 4  # of each kind of small model, fewer where hardly any time is given
REPEATS = 50  # of a product, as long as there is time


def main(arguments: list[str]) -> None:
    """Measure, and print the document."""
    seconds = float(arguments[0]) if arguments else 8.0
    machine.start_again_with_environment(ACCELERATORS["cpu"])
    threads = machine.set_threads()
    events = claim_stdout()  # libraries print
    events.write(document(seconds, threads))


def document(seconds: float, threads: int) -> dict[str, Any]:
    """Operations per second of all threads together; `load` is the share of the processors that others had."""
    import torch

    began, busy, own = time.monotonic(), busy_s(), _own_s()
    found = [measured(shapes(TOKENS, *layer), repeats=REPEATS, limit_s=seconds / len(LAYERS)) for layer in LAYERS]
    took, now = time.monotonic() - began, busy_s()
    load = None if busy is None or now is None else others_share(now - busy, _own_s() - own, took)
    # The harmonic mean: what a program reaches that spends as many operations on each.
    rates = {name: len(found) / sum(1 / each[name] for each in found) for name in TYPES}
    return {
        **{f"{name}_flops_per_s": rate for name, rate in rates.items()},
        **{f"{name}_costs": each for name, each in steps(rates, STEPS if seconds >= 1 else 2).items()},
        "bf16_kernels": computes_in_bf16("cpu"),
        "threads": threads,
        "seconds": round(took, 1),
        "load": load,
        "torch": torch.__version__,
    }


def steps(rates: dict[str, float], each: int) -> dict[str, dict[str, float] | None]:
    """What steps cost beside products, in the types that are worth training in; None for the others and on failure."""
    import trial

    within = {name: rate for name, rate in rates.items() if 2 * rate > max(rates.values())}
    try:
        found = trial.costs(within, steps=each)
    except Exception as error:
        print(f"no training step could be measured: {error}", file=sys.stderr)
        found = {}
    return {name: found[name]._asdict() if name in found else None for name in TYPES}


def _own_s() -> float:
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    main(sys.argv[1:])
