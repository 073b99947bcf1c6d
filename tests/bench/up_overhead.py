"""What `up --infra local` spends of its own: its wall time minus the trainer process's, environment ready.

    python tests/bench/up_overhead.py [rounds]

Aim: at most 5 s. A two-step run of the demo's model; the trainer's time is that between its start and its exit record.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

TEMPLATES = Path(str(files("cloudtrain.templates")))


def once(model: str) -> tuple[float, float]:
    """(wall seconds of the command, seconds of the trainer process)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "d.jsonl").write_text((TEMPLATES / "demo" / "capitals.jsonl").read_text())
        (folder / "cloudtrain.yaml").write_text(f"model: {model}\ndata: d.jsonl\nsequence_length: 256\nmax_steps: 2\n")
        env = {**os.environ, "CLOUDTRAIN_STATE": str(folder / "state")}
        program = str(Path(sys.executable).parent / "cloudtrain")
        began = time.monotonic()
        subprocess.run([program, "up", "-y", "--infra", "local"], cwd=folder, env=env, check=True, capture_output=True)
        wall = time.monotonic() - began
        (record,) = (folder / "state" / "runs").glob("*/machine/exit.json")
        ended = json.loads(record.read_text())
        return wall, ended["ended_at"] - ended["started_at"]


def main() -> None:
    """Print the median over some rounds."""
    from cloudtrain.trainer import environment

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    words = [str(environment.ensure("cpu", print)), str(TEMPLATES / "demo" / "prepare_model.py")]
    words += ["--uv", environment.uv_binary()]
    model = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1]
    runs = [once(model) for _ in range(rounds)]
    own = [wall - trainer for wall, trainer in runs]
    print(f"up: {statistics.median(own):.1f} s of its own ({', '.join(f'{s:.1f}' for s in own)}; n = {rounds})")


if __name__ == "__main__":
    main()
