"""A state of many runs: how long `ps -a` and `report` take on it, in wall-clock and CPU seconds, and their memory.

    python tests/bench/many_runs.py [runs] [folder]

Aims, for 5,000 runs: `ps -a` under 2 s, `report` under 3 s (a page reads each run twice, for the budget). A run is as a rented one leaves it: intent, quote, machine,
heartbeat, exit record, proof, events and a log; each tenth has a second attempt. A folder that holds such a state already is used as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from cloudtrain import settings
from cloudtrain.quote.document import frozen
from cloudtrain.records import AttemptRecord, ExitRecord, GoneRecord, Heartbeat, QuoteRecord
from cloudtrain.runs.quoting import QuoteOptions, quote
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine

BEGUN = 1_790_000_000.0
COMMANDS = (
    ["ps", "-a"],
    ["ps", "-a", "-o", "json"],
    ["report"],
    ["report", "-o", "json"],
    ["report", "--by", "week"],
    ["report", "--html", os.devnull],
)


def fill(root: Path, runs: int) -> None:
    """Make the runs."""
    store = LocalFolder(root)
    quoted = quote(QuoteOptions("llama-3.1-8b", infra=("aws", "gcp", "runpod")), settings.load())
    rows = [frozen(line) for line in quoted.lines if line.viable][:50]
    for number in range(runs):
        begun, name, row = BEGUN + 600.0 * number, f"llama-3.1-8b-qlora-{number:06d}", rows[number % len(rows)]
        begin(store, name, provider=row.provider, created=begun, deadline=begun + 7200, identity=f"{number:064d}")
        run = Run(store, name)
        run.write("quote.json", QuoteRecord(line=row, quoted_at=begun, flops_per_token=4.8e10))
        made = machine(id=f"i-{number:017x}", place=row.region, created=begun, usd_per_hour=Decimal("1.25"))
        run.write("machine.json", made)
        latest = {"step": 40, "of": 40, "tokens": 80_000, "tokens_per_second": 42.0, "loss": 0.5}
        run.write("hb.json", Heartbeat(time=begun + 3500, attempt=1, **latest))
        ended = ExitRecord(reason="done", ended_at=begun + 3600, **latest)
        gone = GoneRecord(time=begun + 3700, run=name, provider=row.provider, billed_s=3700.0)
        run.write("exit.json", ended)
        run.write("gone.json", gone)
        run.event("machine", id=made.id)
        store.write(run.key(f"log/{0:016d}"), b"{}\n" * 1000)
        if number % 10 == 0:
            attempt = AttemptRecord(machine=made, exit=ended.replace(reason="preempted"), gone=gone, line=row)
            run.write("attempts/001.json", attempt)


def measure(root: Path, words: list[str]) -> tuple[float, float, int]:
    """Wall-clock seconds, CPU seconds and peak bytes of one command."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudtrain", *words],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "CLOUDTRAIN_STATE": str(root)},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words}: {process.returncode}")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main() -> None:
    """Print a line for each command."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as made:
        root = Path(sys.argv[2] if len(sys.argv) > 2 else made)
        if not (root / "runs").exists():
            fill(root, runs)
        for words in COMMANDS:
            wall, cpu, peak = min(measure(root, words) for _ in range(3))
            print(f"{' '.join(words):<26} {wall:6.2f} s  {cpu:6.2f} s CPU  {peak >> 20:5d} MiB")


if __name__ == "__main__":
    main()
