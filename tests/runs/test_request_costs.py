"""What a day of a rented run costs in requests to the bucket, and how late a line of the log is, by the constants used.

Everything that both sides do by the clock is counted. Prices: Amazon S3 Standard, us-east-1, per 1,000 requests.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest

from cloudtrain.runs.remote import CHUNK_BYTES, Pace
from cloudtrain.state.lease import BEAT_S

DAY_S = 86400.0
WRITE_USD, READ_USD = 0.005 / 1000, 0.0004 / 1000  # POST, PUT and LIST; GET and HEAD
CEILING_USD = 0.10
CHECKPOINT_EVERY_S, CHECKPOINT_FILES = 300.0, 8  # the trainer's default, and what a LoRA checkpoint holds


@pytest.fixture(scope="module")
def machine() -> dict[str, Any]:
    """The constants of what runs on the machine."""
    folder = str(files("cloudtrain.templates").joinpath("machine"))
    code = f"import sys; sys.path.insert(0, {folder!r}); import shipping, json; print(json.dumps([shipping.CHUNK_BYTES, shipping.LONGEST_SILENCE_S, shipping.LOOK_S]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(("chunk_bytes", "silence_s", "look_s"), json.loads(done.stdout), strict=True))


def machine_usd(machine: dict[str, Any], pace: Pace, log_bytes_per_s: float) -> float:
    """The machine: log chunks, heartbeats and looks at the request to stop, checkpoints; events are few."""
    chunks = DAY_S * max(1 / machine["silence_s"], log_bytes_per_s / machine["chunk_bytes"])
    beats = DAY_S / pace.heartbeat_s
    saved = DAY_S / CHECKPOINT_EVERY_S * (CHECKPOINT_FILES + 1)  # and LATEST
    return (chunks + beats + saved) * WRITE_USD + beats * READ_USD


def reader_usd(machine: dict[str, Any], pace: Pace, log_bytes_per_s: float) -> float:
    """A client that watches all day: the next chunk (found and not found), the heartbeat, the exit record, its lease."""
    chunks = DAY_S * max(1 / machine["silence_s"], log_bytes_per_s / machine["chunk_bytes"])
    idle_s = min(pace.idle_s, machine["silence_s"])
    missed = DAY_S / machine["silence_s"] * math.ceil((machine["silence_s"] - idle_s) / pace.log_s)
    reads = chunks + missed + DAY_S / pace.heartbeat_s + DAY_S / pace.exit_s
    renewals = DAY_S / BEAT_S
    return reads * READ_USD + renewals * WRITE_USD


@pytest.mark.parametrize("log_bytes_per_s", [100.0, 6000.0])
def test_a_day_with_a_reader_costs_at_most_ten_cents(machine: dict[str, Any], log_bytes_per_s: float) -> None:
    """With a line a second in the log, and with half a gigabyte of it."""
    total = machine_usd(machine, Pace(), log_bytes_per_s) + reader_usd(machine, Pace(), log_bytes_per_s)
    assert total <= CEILING_USD, f"{total:.3f} dollars"


def test_a_quiet_log_costs_no_more_than_a_steady_one(machine: dict[str, Any]) -> None:
    """The other extreme: nothing is written all day, and the reader asks at its shortest interval."""
    pace = Pace()
    steady = machine_usd(machine, pace, 100.0) + reader_usd(machine, pace, 100.0)
    beats = DAY_S / pace.heartbeat_s
    quiet = beats * (WRITE_USD + 2 * READ_USD) + DAY_S * (1 / pace.log_s + 1 / pace.exit_s) * READ_USD
    assert quiet + DAY_S / BEAT_S * WRITE_USD < steady


def test_a_log_line_reaches_the_terminal_within_twelve_seconds(machine: dict[str, Any]) -> None:
    """The machine collects, then looks; the reader asks again after its pace. A third of a second is left to send it."""
    pace = Pace()
    assert machine["silence_s"] + machine["look_s"] + pace.log_s + 0.3 <= 12.0
    assert pace.idle_s + pace.log_s + machine["look_s"] + 0.3 <= 12.0
    assert pace.idle_s < machine["silence_s"], "else a chunk that is on time is met late"
    assert machine["chunk_bytes"] == CHUNK_BYTES
