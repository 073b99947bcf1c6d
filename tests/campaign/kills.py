"""Kill trials on the real engine: real processes of client, CLI and plugin, SIGKILLed at random moments."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Fake
from tests.campaign.client import Client
from tests.campaign.clouds import Target
from tests.campaign.in_process import HOUR, Outcome
from tests.patience import PATIENCE_S

ENGINE_TAKES_S = 3.0  # a kill falls somewhere into this, counted from the run's first record
CALL_TAKES_S = 0.4  # of every mutating call, so that a kill can fall into one
VICTIMS = ("client", "cli", "plugin", "all")


def trial(target: Target, seed: int, protocol: bool = True, slow_s: float = CALL_TAKES_S) -> Outcome:
    """up, a kill at a random moment, down (again while it says 6), the deadline passes, sweep."""
    fake = target.fake(Clock())
    fake.slow_s = slow_s
    try:
        with tempfile.TemporaryDirectory() as folder:
            return KillTrial(target, Random(seed), fake, Path(folder), f"kill-{seed}").run(protocol)
    finally:
        fake.stop()


class KillTrial:
    """The pieces of one trial."""

    def __init__(self, target: Target, random: Random, fake: Fake, folder: Path, run: str) -> None:
        self.target, self.random, self.fake, self.folder, self.name = target, random, fake, folder, run
        self.leaks: list[str] = []
        self.lies: list[str] = []
        self.story: list[str] = []
        self.client = Client(folder, fake)

    def run(self, protocol: bool) -> Outcome:
        """The whole trial."""
        if self.random.random() < 0.5:
            self.fake.faults.scatter(self.random, self.fake.fault_table, self.random.randint(1, 3), 2.5, 0.2)
        self.story.append(f"faults {[(f.call, f.kind, f.times) for f in self.fake.faults.waiting]}")
        if protocol:
            words = ("up", *self.client.up_words(), "--name", self.name, *self.target.words)
            self.kill_somebody(self.client.start("-m", "cloudtrain", *words), told=True)
        else:
            self.kill_somebody(
                self.client.start("-m", "tests.campaign.plain_up", self.target.name, self.name), told=False
            )
        if protocol:
            self.down()
        else:
            self.plain_down()
        self.fake.clock.advance(2 * HOUR)
        self.fake.faults.clear()
        if protocol:
            code = self.command("sweep", "--yes", "--provider", self.target.provider)
            if code != 0:
                self.lies.append(f"sweep ended with {code}")
            self.check("swept")
        if self.leaks or self.lies:
            self.story.append((self.folder / "output.txt").read_text())
        return Outcome(self.leaks, self.lies, self.story)

    def kill_somebody(self, process: subprocess.Popen[bytes], told: bool) -> None:
        """Kill one or all of its processes at a random moment; `told`: its exit code must tell the truth."""
        victim, in_call = self.random.choice(VICTIMS), self.random.random() < 0.6
        longest_s = 1.2 * self.fake.slow_s if in_call else ENGINE_TAKES_S + 2 * self.fake.slow_s
        moment_s = self.random.uniform(0.0, longest_s)
        self.until_written(process, *(("journal.jsonl", b'"role": "machine"') if in_call else ("intent.json", b"")))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment_s)
        killed: list[str] = []
        while not killed and process.poll() is None:
            killed = self.kill(victim)
            time.sleep(0.01)
        self.story.append(
            f"killed {victim} {moment_s:.2f} s after {'asking for the machine' if in_call else 'the first record'}: {killed}"
        )
        if victim in ("client", "all"):
            process.wait()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        code = process.poll()
        self.story.append(f"up ended with {code}")
        if code is None:
            self.lies.append("up did not end")
        elif told and code not in (0, 6):
            self.check(f"up ended with {code}, which says that nothing is left")

    def until_written(self, process: subprocess.Popen[bytes], name: str, text: bytes) -> None:
        """Wait for a document of the run: its first record, or the journal's line before the machine is asked for."""
        path = self.client.document(self.name, name)
        while process.poll() is None and not (path.exists() and text in path.read_bytes()):
            time.sleep(0.01)

    def kill(self, victim: str) -> list[str]:
        """SIGKILL to the processes of this trial that are the victim."""
        killed = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                mine = str(self.client.state).encode() in (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            kind = "plugin" if "pulumi-resource-cloudtrain" in command else "cli" if "pulumi" in command else "client"
            if mine and victim in (kind, "all"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
                    killed.append(kind)
        return killed

    def down(self) -> None:
        """`down` until it does not say 6, at most three times; 0 must be true."""
        if not self.client.document(self.name, "intent.json").exists():
            self.story.append("nothing was begun")
            self.check("nothing was begun")
            return
        for number in range(3):
            code = self.command("down", self.name)
            if code == 0:
                self.check("said to be gone")
                return
            if code != 6:
                self.lies.append(f"down ended with {code}")
            if number == 0:
                self.fake.faults.clear()
        self.lies.append("down says 6 for ever")

    def plain_down(self) -> None:
        """Plain cancel and destroy, then time for what it asked for, before any guard fires."""
        code = self.wait(self.client.start("-m", "tests.campaign.plain_down", self.name))
        self.story.append(f"cancel and destroy ended with {code}")
        time.sleep(self.fake.slow_s)
        self.fake.clock.advance(HOUR / 6)
        self.check("destroyed")

    def check(self, when: str) -> None:
        """Nothing may be there now."""
        self.leaks += [f"{when}: {words}" for words in self.fake.leftovers()]

    def command(self, *words: str) -> int:
        """One command of the product, to its end."""
        code = self.wait(self.client.start("-m", "cloudtrain", *words))
        self.story.append(f"{words[0]} ended with {code}")
        return code

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code; a command that hangs is killed and counts as -9."""
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
