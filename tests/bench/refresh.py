"""`prices refresh` of every provider against fakes that answer at once: wall and CPU seconds, and peak memory.

    python tests/bench/refresh.py [rounds]

Aims: under 10 s and 200 MiB; `quote` on the renewed lists starts as fast as on the shipped ones (taken in turn).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = str(Path(sys.executable).parent / "cloudtrain")
REFRESH = [PROGRAM, "prices", "refresh", "-o", "json"]
QUOTE = [PROGRAM, "quote", "longcat-flash", "--method", "qlora"]
NOTHING = [sys.executable, "-c", "pass"]


class Used(NamedTuple):
    """What one process used: seconds and bytes."""

    wall: float
    cpu: float
    peak: int
    code: int
    out: bytes


def fakes() -> list[Any]:
    """One for each provider that can be asked, with pages as large as the providers' own."""
    from cloudtrain.prices import folder, table
    from cloudtrain.simulator.aws import AwsCloud, tables
    from cloudtrain.simulator.clock import Clock
    from cloudtrain.simulator.digitalocean import DigitaloceanCloud
    from cloudtrain.simulator.gcp.price_catalogue import BillingCatalogue
    from cloudtrain.simulator.gcp.price_skus import of_price_list, with_noise
    from cloudtrain.simulator.prices.azure import AzurePrices
    from cloudtrain.simulator.prices.hotaisle import HotaislePrices
    from cloudtrain.simulator.prices.vultr import VultrPrices
    from cloudtrain.simulator.runpod import RunpodCloud

    aws = AwsCloud(Clock(), regions=tables.regions())
    aws.prices.page = 1000
    rows = table.parse(folder.shipped_file("gcp").read_bytes(), "gcp").rows
    google = BillingCatalogue(with_noise(of_price_list(rows)), Clock(), page_size=5000)
    quote_only = [AzurePrices(Clock()), HotaislePrices(Clock()), VultrPrices(Clock())]
    return [aws, google, RunpodCloud(Clock()), DigitaloceanCloud(Clock()), *quote_only]


def serve() -> None:
    """Print the variables that lead to the fakes, and let these stand until the input ends."""
    standing = fakes()
    print(json.dumps({name: value for each in standing for name, value in each.environment().items()}), flush=True)
    sys.stdin.read()
    for each in standing:
        each.stop()


def used(argv: list[str], environment: Mapping[str, str]) -> Used:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        process = subprocess.Popen(argv, stdout=out, stderr=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        cpu = usage.ru_utime + usage.ru_stime
        return Used(wall, cpu, usage.ru_maxrss * 1024, process.returncode, out.read())


def refreshes(environment: Mapping[str, str], rounds: int) -> Path:
    """Refresh everything again and again, each time into a new folder; the last one."""
    found = []
    for _ in range(rounds):
        place = Path(tempfile.mkdtemp(dir=environment["HOME"]))
        found.append(used(REFRESH, {**environment, "CLOUDTRAIN_PRICES": str(place)}))
    states = ", ".join(f"{each['provider']} {each['state']}" for each in json.loads(found[-1].out))
    wall, cpu = (statistics.median(each[i] for each in found) for i in (0, 1))
    peak = max(each.peak for each in found)
    print(f"refresh: {wall:.1f} s, {cpu:.1f} s CPU, {peak / 2**20:.0f} MiB (n = {rounds}, exit {found[-1].code})")
    print(f"  {states}")
    return place


def start_up(environment: Mapping[str, str], renewed: Path, rounds: int) -> None:
    """`quote` on shipped and on renewed lists in turn, each against a Python that does nothing."""
    places = {"shipped": Path(environment["HOME"]) / "none", "renewed": renewed}
    ratios: dict[str, list[float]] = {name: [] for name in places}
    for _ in range(rounds + 1):
        for name, place in places.items():
            quote = used(QUOTE, {**environment, "CLOUDTRAIN_PRICES": str(place)})
            ratios[name].append(quote.cpu / used(NOTHING, environment).cpu)
    for name, each in ratios.items():  # the first round warms the caches
        print(f"quote on {name} lists: {statistics.median(each[1:]):.1f} x python -c pass (n = {rounds})")


def main() -> None:
    """Print what was measured."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    # In a process of their own: the peak of a child begins with what its parent holds when it is made.
    with subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout
        doors = json.loads(server.stdout.readline())
        with tempfile.TemporaryDirectory() as home:
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLOUDTRAIN_", "AWS_"))}
            kept.pop("PYTHONDONTWRITEBYTECODE", None)  # users run compiled modules
            own = {"HOME": home, "CLOUDTRAIN_CACHE": f"{home}/cache", "CLOUDTRAIN_STATE": f"{home}/state"}
            environment = {**kept, **own, **doors}
            start_up(environment, refreshes(environment, rounds), 3 * rounds)


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
