"""The product as a person uses it, in a world of its own: processes, a state folder, one fake cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from cloudtrain.simulator.http_server import Fake
from tests.patience import PATIENCE_S

SPEC = "model: HuggingFaceTB/SmolLM2-135M-Instruct\ndata: {path: data.jsonl}\n"
ROW = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]})
ROOT = Path(__file__).parent.parent.parent


def timing(slow_s: float = 0.0) -> str:
    """Request, horizon, consistency and poll in seconds, where a mutating call takes so long.

    A call may wait long for its answer, because a busy machine is no broken network: what a fake drops, it drops at
    once. The horizon is waited for whenever an answer is missing, so it is short.
    """
    return f"{30 + slow_s},{3 + 2 * slow_s},0.3,0.05"


def installed_engine(cache: Path) -> str:
    """The engine of these tests as `doctor --install-pulumi` would leave it in a new cache; its folder."""
    command = import_module("cloudtrain.stacks._pulumi.command")
    root = cache / "pulumi" / f"v{command.VERSION}"
    root.parent.mkdir(parents=True)
    root.symlink_to(command.find())
    return str(root)


class Ended(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


class Client:
    """Commands of the product in one folder, against one fake."""

    def __init__(self, folder: Path, fake: Fake, **more: str) -> None:
        self.folder, self.fake = folder, fake
        self.state = folder / "state"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLOUDTRAIN_")},
            **{n: os.environ[n] for n in ("CLOUDTRAIN_CACHE", "CLOUDTRAIN_PULUMI_ROOT") if n in os.environ},
            **fake.environment(),
            "CLOUDTRAIN_STATE": str(self.state),
            "CLOUDTRAIN_CONFIG": str(folder / "config.toml"),
            "CLOUDTRAIN_SIMULATOR_TIMING": timing(fake.slow_s),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "HF_HUB_OFFLINE": "1",
            **more,
        }
        (folder / "cloudtrain.yaml").write_text(SPEC)
        (folder / "data.jsonl").write_text((ROW + "\n") * 10)

    def up(self, *words: str) -> Ended:
        """Rent a machine and leave it idle."""
        return self.run("up", *self.up_words(), *words)

    @staticmethod
    def up_words() -> tuple[str, ...]:
        """What every `up` here is told."""
        return ("--machine-only", "-y", "--accept-stale", "--experimental", "--max-hours", "1h")

    def run(self, *words: str) -> Ended:
        """One command, to its end; one that hangs is killed and counts as -9."""
        process = subprocess.Popen(
            [sys.executable, "-m", "cloudtrain", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        return Ended(process.returncode, out, err)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """A command whose end is not waited for; what it says goes into output.txt."""
        return self.start("-m", "cloudtrain", *words)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a Python of ours; what it says goes into output.txt."""
        with open(self.folder / "output.txt", "ab") as output:
            return subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def document(self, run: str, name: str) -> Path:
        """Where a document of a run is kept."""
        return self.state / "runs" / run / name
