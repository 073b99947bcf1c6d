"""Seconds from a machine's boot to its first heartbeat in the bucket, begun by the user data alone.

    python tests/bench/first_heartbeat.py [rounds]

Aim: at most 3 s. The machine is a sandbox of the fake clouds, the bucket a plain server, the bundle that of a small run.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from cloudtrain.providers import Stack, load
from cloudtrain.simulator.sandbox import Sandbox
from tests.templates.machine.agent_world import Machine, Mailbox
from tests.templates.machine.test_boot import script


def once(folder: Path) -> float:
    """One machine."""
    box = Mailbox()
    box.server.handle_error = lambda *about: None  # type: ignore[method-assign]  # a machine that is cut off
    machine = Machine(folder, box)
    machine.make_environment()
    text = script("aws", machine)
    arrived: list[float] = []
    box.arrived = lambda name: arrived.append(time.monotonic()) if name == "hb.json" else None
    sandbox = Sandbox(
        folder / "machine", "http://127.0.0.1:9", {"CLOUDTRAIN_CACHE": str(machine.cache), "PATH": os.environ["PATH"]}
    )
    began = time.monotonic()
    sandbox.boot(text.encode())
    while not arrived and time.monotonic() - began < 60:
        time.sleep(0.005)
    sandbox.cut()
    box.server.shutdown()
    assert arrived, sandbox.console()
    return arrived[0] - began


def main() -> None:
    """The median."""
    load("stacks", "aws", Stack)
    times = []
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        with tempfile.TemporaryDirectory() as folder:
            times.append(once(Path(folder)))
    print(f"{statistics.median(times):.2f} s to the first heartbeat ({', '.join(f'{each:.2f}' for each in times)})")


if __name__ == "__main__":
    main()
