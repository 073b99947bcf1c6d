"""Start-up against `python -c pass`, CPU time of whole processes taken in turn: median ratios, memory, forbidden imports.

    python tests/bench/start_up.py [rounds]

Aims: --version at most 6 x, quote at most 15 x and 40 MiB; a catalogue of 100,000 offers at most one second more.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

QUOTE = ["quote", "longcat-flash", "--method", "qlora"]
FORBIDDEN = ["boto3", "botocore", "grpc", "google", "pulumi", "requests", "pandas", "numpy", "torch", "pydantic"]


def cpu_seconds(argv: list[str], env: dict[str, str] | None = None) -> tuple[float, int]:
    """CPU seconds and peak bytes of one process."""
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})}
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def paired(one: list[str], other: list[str], rounds: int) -> tuple[float, float, int]:
    """Median ratio of `one` to `other`, median CPU seconds and largest peak bytes of `one`, taken in turn."""
    ratios, seconds, peak = [], [], 0
    for _ in range(rounds + 1):
        mine, size = cpu_seconds(one)
        theirs, _ = cpu_seconds(other)
        ratios.append(mine / theirs)
        seconds.append(mine)
        peak = max(peak, size)
    return statistics.median(ratios[1:]), statistics.median(seconds[1:]), peak  # the first round warms the caches


def large_catalogue(folder: Path, offers: int) -> None:
    """The shipped AWS snapshot repeated under other region names until it has so many offers (a row has one or two)."""
    shipped = import_module("cloudtrain.pricing").SNAPSHOTS / "aws.csv"
    with open(shipped, newline="") as file:
        header, *lines = list(csv.reader(file))
    region, spot = header.index("region"), header.index("spot_usd_h")
    rows = offers * len(lines) // sum(2 if line[spot] else 1 for line in lines)
    with open(folder / "aws.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number in range(rows):
            line = list(lines[number % len(lines)])
            line[region] = f"{line[region]}-{number // len(lines)}"
            writer.writerow(line)


def main() -> None:
    """Print what was measured."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users run compiled modules; the first round compiles them
    program, nothing = str(Path(sys.executable).parent / "cloudtrain"), [sys.executable, "-c", "pass"]
    for name, words in [("--version", ["--version"]), ("quote", QUOTE)]:
        ratio, seconds, peak = paired([program, *words], nothing, rounds)
        print(
            f"{name}: {ratio:.1f} x python -c pass, {seconds * 1000:.0f} ms CPU, {peak / 2**20:.0f} MiB (n = {rounds})"
        )
    with tempfile.TemporaryDirectory() as name:
        large_catalogue(Path(name), 100_000)
        plain = statistics.median(cpu_seconds([program, *QUOTE])[0] for _ in range(3))
        large = statistics.median(cpu_seconds([program, *QUOTE], {"CLOUDTRAIN_CATALOG": name})[0] for _ in range(3))
        print(
            f"catalogue of 100,000 offers: {large:.2f} s CPU, {large - plain:.2f} s more than the shipped one (n = 3)"
        )
    seen = "import sys; from cloudtrain.cli import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", seen, *QUOTE], capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in done.stderr.split()}
    print(f"forbidden modules imported by quote: {', '.join(sorted(loaded & set(FORBIDDEN))) or 'none'}")


if __name__ == "__main__":
    main()
