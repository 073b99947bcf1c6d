"""A written file, played on this machine by act and gitlab-ci-local as GitHub and GitLab would run it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cloudtrain.nights.schedule import files

PATIENCE_S = 900
INPUTS = ("persist-credentials", "python-version", "path", "key")
USED = ("actions/checkout", "actions/setup-python", "actions/cache")


class Given(NamedTuple):
    """What a job finds: its machine's environment, the repository's variables and secrets."""

    environment: Mapping[str, str]
    variables: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}


def github(tools: Path, root: Path, path: str, given: Given, home: Path) -> subprocess.CompletedProcess[str]:
    """One run by the schedule. Actions are empty ones: act has put the repository where the job works."""
    nothing = home / "nothing"
    nothing.mkdir(exist_ok=True)
    inputs = "\n".join(f"  {name}: {{}}" for name in INPUTS)
    (nothing / "action.yml").write_text(
        f"name: nothing\ndescription: nothing\ninputs:\n{inputs}\nruns:\n  using: composite\n"
        "  steps:\n    - run: 'true'\n      shell: sh\n"
    )
    words = [str(tools / "act"), "schedule", "-W", path, "-P", "ubuntu-latest=-self-hosted", "--no-cache-server"]
    words += [f"--local-repository={files.action(name).partition(' ')[0]}={nothing}" for name in USED]
    words += [f"--env={name}={value}" for name, value in given.environment.items()]
    words += [f"--var={name}={value}" for name, value in given.variables.items()]
    words += [f"--secret={name}={value}" for name, value in given.secrets.items()]
    return played(words, root, {"XDG_CACHE_HOME": str(home / "cache"), "HOME": str(home)})


def gitlab(tools: Path, root: Path, given: Given, home: Path) -> subprocess.CompletedProcess[str]:
    """One scheduled pipeline of what `.gitlab-ci.yml` includes and git knows."""
    words = [str(tools / "gitlab-ci-local"), "--force-shell-executor", "--variable", "CI_PIPELINE_SOURCE=schedule"]
    words += [word for name, value in given.variables.items() for word in ("--variable", f"{name}={value}")]
    return played(words, root, {**given.environment, "HOME": str(home)})


def played(words: list[str], root: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """A program to its end, in the repository."""
    return subprocess.run(
        words,
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
