"""A Python that has imported PyTorch already: programs of a trainer's environment begin in a fork of one warm process.

Importing what the trainer imports costs 10 seconds of a processor, and the tests start it some fifty times. `warm` gives
the path of a program that is called like the environment's interpreter and answers like it: arguments, variables, folder,
descriptors, resource limits, signals, exit code. What it cannot play truly it hands to the real interpreter (`client`).

One warm process a flavour serves all workers of a test run; it ends when the last of them has.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
# All that a training imports; what an environment lacks is left out.
TRAINING = [
    "torch",
    "torch.utils.data",
    "transformers",
    "datasets",
    "accelerate",
    "peft",
    "bitsandbytes",
    "trl.trainer.sft_trainer",
    "trl.trainer.sft_config",
    "transformers.models.llama.modeling_llama",
    "transformers.integrations.bitsandbytes",
    "peft.tuners.lora.bnb",
    "safetensors.torch",
    "tokenizers",
    "jinja2",
    "pandas",
]
# Read by the libraries when they are imported; the trainer and its helpers set the same before they import them.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
}
# No thread but the first: a fork has that one alone, and what the others were to do would wait for ever.
ALONE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class WarmPython:
    """A warm process of one environment, kept alive as long as this object is."""

    def __init__(
        self, python: Path, folder: Path, flavour: Mapping[str, str], modules: Sequence[str] = TRAINING
    ) -> None:
        """Join the warm process whose record lies in `folder`, or start it with the flavour's own variables."""
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        self.program = folder / "bin" / "python"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self.lease = self.join(folder)
            except (OSError, ValueError):
                self.start(python, folder, flavour, modules)
                self.lease = self.join(folder)

    def join(self, folder: Path) -> socket.socket:
        """A connection that keeps the warm process alive. Raises OSError or ValueError when there is none."""
        lease = socket.socket(socket.AF_UNIX)
        lease.connect(json.loads((folder / "warm.json").read_text())["address"])
        lease.sendall(b"L")
        return lease

    def start(self, python: Path, folder: Path, flavour: Mapping[str, str], modules: Sequence[str]) -> None:
        """Start it; requests wait at its socket while it imports."""
        address = str(Path(tempfile.mkdtemp(prefix="warm-")) / "socket")  # a socket's path may have 100 letters
        environment = {**os.environ, **QUIET, **ALONE, **flavour}
        environment.pop("PYTHONPATH", None)  # a fork gets its asker's
        record = {"address": address, "python": str(python), "variables": environment, "flavour": dict(flavour)}
        record["log"] = str(folder / "log")
        with socket.socket(socket.AF_UNIX) as listener, (folder / "log").open("wb") as log:
            listener.bind(address)
            listener.listen(128)
            subprocess.Popen(
                [str(python), str(HERE / "server.py"), str(listener.fileno()), address, *modules],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
        (folder / "warm.json").write_text(json.dumps(record))
        self.program.parent.mkdir(exist_ok=True)
        words = [sys.executable, "-SEs", str(HERE / "client.py"), str(folder / "warm.json")]
        self.program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        self.program.chmod(0o755)
