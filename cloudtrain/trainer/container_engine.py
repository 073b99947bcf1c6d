"""The program that builds, keeps and pushes container images on this machine: podman or docker, whichever answers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from cloudtrain.errors import CloudtrainError, MissingCredentials, Permission, Unavailable, UsageError

PROGRAMS = ("podman", "docker")
ANSWER_PATIENCE_S = 20
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

Log = Callable[[str], None]


class Engine:
    """One of PROGRAMS. Every method raises CloudtrainError, or a subclass of it, with what the program said."""

    def __init__(self, program: str) -> None:
        self.program = program

    def run(self, arguments: Sequence[str], log: Log) -> None:
        """Run to the end, each line of output to `log` as it comes."""
        command = [self.program, *arguments]
        last: list[str] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                log(line.rstrip())
                last = [*last[-199:], line.strip()]
        if process.returncode:
            raise failure(self.program, arguments[0], last)

    def ask(self, *arguments: str) -> str | None:
        """The standard output, or None when the program says no."""
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """The engine's documents (Id, RepoTags, Created, Size, Config.Labels) of images; [] when one is not there."""
        shown = self.ask("image", "inspect", *names) if names else None
        documents: list[dict[str, Any]] = json.loads(shown) if shown else []
        return documents

    def without_tls(self, registry: str) -> list[str]:
        """The flag that podman needs for a registry on this machine; docker knows by itself."""
        host = registry.partition("/")[0].rsplit(":", 1)[0]
        return ["--tls-verify=false"] if self.program == "podman" and host in LOOPBACK else []

    def is_in_registry(self, name: str) -> bool:
        """Whether the registry has an image of this name. False also when it cannot be asked: then a push decides."""
        if self.program == "docker":
            return self.ask("manifest", "inspect", name) is not None
        repository, _, tag = name.rpartition(":")  # podman 4 cannot inspect a manifest without TLS, but list tags
        all_tags = ("--list-tags", "--limit", "1000000", "--format", "{{.Tag}}")
        listed = self.ask("search", *all_tags, *self.without_tls(name), repository)
        return tag in (listed or "").split()


def find(wanted: str | None = None) -> Engine:
    """The first program that answers, or `wanted`. Raises UsageError when none does.

    A docker without its daemon is no help: `version` asks the daemon, and podman answers it too.
    """
    for program in (wanted,) if wanted else PROGRAMS:
        if shutil.which(program) and answers(program):
            return Engine(program)
    names = f"`{wanted}`" if wanted else "podman or docker"
    raise UsageError(
        f"there is no container engine here: {names} does not answer",
        "install podman (`apt-get install podman`, `dnf install podman`) or start docker; a run does not need an image",
    )


def answers(program: str) -> bool:
    """Whether the program and what it depends on are there."""
    try:
        done = subprocess.run([program, "version"], capture_output=True, timeout=ANSWER_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def failure(program: str, verb: str, lines: list[str]) -> CloudtrainError:
    """What the program said, as an error of ours: our own build step's message first, else the last lines."""
    own = [line for line in lines if line.startswith("error: ")]
    said = own[-1].removeprefix("error: ") if own else " ".join(line for line in lines[-3:] if line)[-400:]
    low = " ".join(lines).lower()
    if "no space left" in low:
        return CloudtrainError(f"{program}: the disk is full", f"free some space, for example `{program} image prune`")
    if own:
        return Unavailable(f"the image was not built: {said}", "see the lines above")
    if "unauthorized" in low or "authentication required" in low:
        return MissingCredentials(f"the registry refuses: {said}", f"log in: `{program} login HOST`")
    if "denied" in low and verb == "push":
        return Permission(f"the registry refuses: {said}", "your account there may not write to this path")
    if any(word in low for word in ("no such host", "i/o timeout", "connection refused", "dial tcp")):
        return Unavailable(f"{program} {verb}: {said}", "check the network; another base image: --base IMAGE")
    return CloudtrainError(f"{program} {verb} failed: {said or 'it printed nothing'}", "see the lines above")
