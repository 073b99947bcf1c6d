"""The product as a person uses it, its commands forked by the fork server and its machines made by the fake engine."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cloudtrain.simulator.http_server import Fake
from tests.campaign.client import Client, Ended
from tests.campaign.fork_server import MACHINE, Forked, ForkServer, kill
from tests.patience import PATIENCE_S


class ForkedClient(Client):
    """As `Client`, and as quick as a fork."""

    def __init__(self, server: ForkServer, folder: Path, fake: Fake, **more: str) -> None:
        super().__init__(folder, fake, **{MACHINE: "here", **more})
        self.server = server
        self.begun: list[Forked] = []

    def run(self, *words: str) -> Ended:
        """One command, to its end; one that hangs is killed and counts as -9."""
        output, errors = (self.folder / f"{len(self.begun)}-{name}.txt" for name in ("output", "errors"))
        process = self.begin_in(output, errors, *words)
        try:
            code = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        shown = [path.read_text() for path in (output, errors)]
        for path in (output, errors):
            path.unlink()
        return Ended(code, *shown)

    def begin(self, *words: str) -> Forked:
        """A command whose end is not waited for; what it says goes into output.txt."""
        output = self.folder / "output.txt"
        output.touch()
        return self.begin_in(output, output, *words)

    def begin_in(self, output: Path, errors: Path, *words: str) -> Forked:
        """A command that writes into these files."""
        process = self.server.start(words, self.folder, self.environment, output, errors)
        self.begun.append(process)
        return process

    def engines(self) -> list[int]:
        """The engines that work for this client."""
        cache = Path(self.environment["CLOUDTRAIN_CACHE"])
        return [int(path.name) for path in (cache / "engine").glob("*/plugins/*")]

    def kill_all(self) -> None:
        """The machine loses its power: commands and engines at once."""
        for process in self.begun:
            process.kill()
        for pid in self.engines():
            kill(pid)
