"""Probes of this machine, kept in the state: the trainer's own measurement of products, run apart from a training."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

from cloudtrain import backends, settings
from cloudtrain.errors import CloudtrainError, NothingViable, UsageError
from cloudtrain.providers import Context, PriceSource, load, names
from cloudtrain.quote import probed
from cloudtrain.quote.chips import chips

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudtrain.offer import Offer
    from cloudtrain.records import ProbeRecord
    from cloudtrain.records.lines import StepCostsRecord
    from cloudtrain.state.protocol import Store

PATIENCE_S = 600  # importing PyTorch on a busy machine included


def take(context: Context, seconds: float, log: Callable[[str], None]) -> ProbeRecord:
    """Measure this machine's processor in the trainer's environment, which is made when there is none.

    Raises NothingViable where no trainer computes on it, CloudtrainError when the measurement fails.
    """
    from cloudtrain.records import ProbeRecord
    from cloudtrain.trainer import environment

    here = own_processor(context)
    flavour, program = measuring()
    python = environment.ensure(flavour, log)
    log(f"measuring products for about {seconds:g} s, then steps of small models: half a minute on an idle machine")
    found = run(python, program, seconds)
    return ProbeRecord(
        machine=probed.this_machine(),
        time=time.time(),
        hardware=here.hardware,
        cores=here.count,
        **{name: found[name] for name in ("bf16_flops_per_s", "fp32_flops_per_s", "load", "threads", "torch")},
        bf16_costs=_costs(found.get("bf16_costs")),
        fp32_costs=_costs(found.get("fp32_costs")),
    )


def _costs(found: Any) -> StepCostsRecord | None:
    from cloudtrain.records.lines import StepCostsRecord

    return StepCostsRecord(**found) if isinstance(found, dict) else None


def own_processor(context: Context) -> Offer:
    """This machine's processor as it is quoted. Raises NothingViable where no trainer of ours computes on one."""
    for name in names("pricing"):
        source = load("pricing", name, PriceSource)
        for offer in source.offers(context) if source.terms.sees_client_files else ():
            chip = chips().get(offer.hardware)
            if chip is not None and chip.trains and chip.peak_unit == "per vCPU":
                return offer
    raise NothingViable(
        "no trainer computes on this machine's processor", "`cloudtrain quote MODEL` shows where it does"
    )


def measuring() -> tuple[str, Path]:
    """The flavour whose environment measures a processor, and the program that does."""
    for backend in backends.all_backends():
        flavour, program = backend.flavour_on("cpu"), backend.program("measure")
        if flavour is not None and program is not None:
            return flavour, program
    raise NothingViable("no trainer of this version can measure a processor")


def run(python: Path, program: Path, seconds: float) -> dict[str, Any]:
    """The program's document. Raises CloudtrainError when it has none."""
    from cloudtrain.trainer.keyless import without_keys

    try:
        done = subprocess.run(
            [str(python), str(program), f"{seconds:g}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env=without_keys(os.environ),
        )
        document: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise CloudtrainError(
            f"the measurement took more than {PATIENCE_S} s", "repeat when the machine is idle"
        ) from None
    except (ValueError, IndexError):
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise CloudtrainError(f"nothing could be measured: {last[0]}", "repeat with CLOUDTRAIN_DEBUG=1") from None
    return document


def keep(store: Store, record: ProbeRecord) -> None:
    """Add it to the state, and to what a quote finds here of a state in a bucket."""
    store.append(probed.FILE, record.as_line())
    path = settings.copied_here(store.url, "probes")
    if path is not None:
        with contextlib.suppress(UsageError, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(record.as_line() + b"\n")
