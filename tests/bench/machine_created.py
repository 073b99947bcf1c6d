"""Seconds from the answered question to "machine created", on each fake cloud; the engine's own share is in it.

    python tests/bench/machine_created.py [rounds]

Aim: at most 6 s on a quiet machine. The last line of the plan stands for the question: with -y it is answered at once.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cloudtrain.simulator.clock import Clock

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.campaign.client import Client
from tests.campaign.clouds import TARGETS, Target


def once(target: Target) -> float:
    """Seconds between the plan's last line and the machine."""
    fake = target.fake(Clock())
    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder), fake)
        argv = [sys.executable, "-m", "cloudtrain", "up", *client.up_words(), *target.words, "--name", "bench"]
        with subprocess.Popen(
            argv, cwd=folder, env=client.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            asked = made = 0.0
            for line in process.stdout:
                asked = time.monotonic() if line.startswith("  kept") else asked
                made = time.monotonic() if line.startswith("machine created") else made
        assert made, "no machine was created"
        client.run("down", "bench")
    fake.stop()
    return made - asked


def main() -> None:
    """The median of each cloud."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for name, target in TARGETS.items():
        times = [once(target) for _ in range(rounds)]
        shown = ", ".join(f"{seconds:.1f}" for seconds in times)
        print(f"{name}: {statistics.median(times):.1f} s from the answer to the machine ({shown})")


if __name__ == "__main__":
    main()
