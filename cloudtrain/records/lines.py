"""Lines of `.jsonl` documents: events, the journal of calls to a provider, measurements, probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict

from cloudtrain.records.form import Form, Instant, Number, Record


class EventRecord(Record):
    """A line of `events.jsonl`: what happened, when (epoch seconds), who did it; and whatever belongs to it."""

    model_config = ConfigDict(extra="allow")

    time: Instant
    actor: str = ""
    event: str = ""

    @property
    def more(self) -> Mapping[str, Any]:
        """What belongs to it."""
        return self.model_extra or {}


class JournalRecord(Record):
    """A line of `journal.jsonl`, written before and after each mutating call; see `stacks/_lifecycle/journal.py`."""

    time: Instant
    phase: str  # intent | done | failed | gave up
    call: str = ""  # create | delete of a driver, start | stop of a run
    number: str = ""
    provider: str = ""
    kind: str = ""
    inputs: Mapping[str, Any] = {}
    id: str = ""
    boot: str = ""
    uptime_s: float = 0.0
    pid: int | None = None
    error: str = ""
    message: str = ""
    hint: str = ""
    attempt: int | None = None
    answer: str = ""


class StepCostsRecord(Form):
    """What a training step costs beside its products, as the trainer's own small steps have shown."""

    step_s: Number
    layer_s: Number
    element_s: Number
    head_s: Number
    unpack_s: Number
    attention_flops_per_s: Number


class ProbeRecord(Record):
    """A line of `probes.jsonl`: products on all cores of a machine in operations a second; `quote/probed.py`.

    `machine` tells machines apart and names none. `load` is the share of the processors that others had, 0 to 1.
    """

    machine: str
    time: Instant
    hardware: str
    cores: int
    bf16_flops_per_s: Number
    fp32_flops_per_s: Number
    load: Number | None = None
    threads: int | None = None
    torch: str = ""
    bf16_costs: StepCostsRecord | None = None
    fp32_costs: StepCostsRecord | None = None


class MeasurementRecord(Record):
    """A line of `measurements.jsonl`, and `measured.json` of the run that it is of: what later quotes learn from it.

    A quote reads them by `quote/lessons/measured.py`, which is held to the same fields by a test, and weighs them by
    length and load: `load` is the share of the machine's processors that others had, 0 to 1. One that is `forgotten`
    takes back all earlier ones of its run.
    """

    hardware: str
    count: int
    run: str = ""
    time: Instant | None = None
    out_of_memory: bool = False
    model: str | None = None
    method: str | None = None
    stack: str | None = None
    dtype: str = "bf16"
    provider: str | None = None
    forgotten: bool = False
    tokens: Number | None = None
    steps: Number | None = None
    sequence_length: Number | None = None
    load: Number | None = None
    tokens_per_second: Number | None = None
    flops_per_s: Number | None = None
    peak_bytes: Number | None = None
    required_bytes: Number | None = None
