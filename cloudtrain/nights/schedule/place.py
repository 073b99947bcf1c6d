"""The repository that a schedule's file is written into: its root, its name at its forge, what is there already."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cloudtrain.errors import UsageError, visible
from cloudtrain.nights.schedule import head as heads
from cloudtrain.nights.schedule import options
from cloudtrain.nights.schedule.options import Form, Schedule

# Where the file of each form is, by the schedule's title. Local forms hold paths of this machine.
PATHS: Final[dict[Form, tuple[str, ...]]] = {
    "github": (".github/workflows/{}.yml",),
    "gitlab": (".gitlab/{}.yml",),
    "cron": (".cloudtrain/{}.crontab",),
    "systemd": (".cloudtrain/{}.service", ".cloudtrain/{}.timer"),
}
HEAD: Final = "# cloudtrain schedule "
ADDRESS: Final = re.compile(r"(?:[a-z+]+://)?(?:[^@/]*@)?(?P<host>[A-Za-z0-9.-]+)(?::[0-9]+/|[:/])(?P<path>[^:]+)")


class Place(NamedTuple):
    """`root` is absolute, without links. `host` and `repository` are the remote's called origin, "" when unknown."""

    root: Path
    in_git: bool
    host: str = ""
    repository: str = ""


def here(folder: Path) -> Place:
    """The git repository that `folder` lies in; where there is none, the folder itself counts as one."""
    folder = folder.resolve()
    root = next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
    return Place(folder, False) if root is None else Place(root, True, *remote(root))


def remote(root: Path) -> tuple[str, str]:
    """Host and owner/name of the remote `origin`; both "" when git has none or its address is of another kind."""
    try:
        words = ["git", "-C", str(root), "config", "--get", "remote.origin.url"]
        said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "", ""
    found = ADDRESS.fullmatch(said)
    path = found["path"].strip("/").removesuffix(".git") if found else ""
    if found is None or options.REPOSITORY.fullmatch(path) is None:
        return "", ""
    return found["host"], path


def inside(path: Path, place: Place, what: str) -> str:
    """A file's path from the repository's root, with slashes. Raises UsageError when it is none, or elsewhere."""
    full = path.resolve()
    if not full.is_file():
        raise UsageError(f"{what} `{visible(str(path))}` is no file", "it is read by every tick, from the repository")
    if not full.is_relative_to(place.root):
        raise UsageError(
            f"{what} `{visible(str(path))}` is outside the repository {place.root}",
            "a tick sees what is in the repository, and nothing else",
        )
    return full.relative_to(place.root).as_posix()


def uncommitted(paths: Sequence[str], place: Place) -> list[str]:
    """Those of the repository's files that git does not know: a checkout elsewhere has none of them."""
    if not place.in_git:
        return []
    words = ["git", "-C", str(place.root), "ls-files", "-z", "--", *paths]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [path for path in paths if path not in said.split("\0")]


def program() -> list[str]:
    """What starts this cloudtrain from anywhere: its script, else this Python with the module."""
    script = Path(sys.executable).parent / "cloudtrain"
    return [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "cloudtrain"]


def written(place: Place) -> Iterator[tuple[str, Schedule | None]]:
    """The files of schedules that are there, with what their heads say; None for one that we did not write."""
    for form, patterns in PATHS.items():
        for pattern in patterns:
            for path in sorted(place.root.glob(pattern.format("cloudtrain-*"))):
                found = head(path)
                yield path.relative_to(place.root).as_posix(), found if found and found.ci == form else None


def head(path: Path) -> Schedule | None:
    """The schedule whose command stands in a file's head; None when there is none that we would write."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[:3]
        command = next(line for line in lines if line.startswith(HEAD))
        return heads.schedule_of(command.removeprefix("# "))
    except (OSError, UnicodeDecodeError, StopIteration, UsageError):
        return None


def refuse_taken(schedule: Schedule, place: Place) -> None:
    """Raises UsageError when the name is another spec's, or the file somebody else's."""
    mine = {pattern.format(schedule.title) for pattern in PATHS[schedule.ci]}
    for path, other in written(place):
        if other is None and path in mine:
            raise UsageError(
                f"{path} is there, and not written by `cloudtrain schedule`", "move it away, or choose another --name"
            )
        if other is not None and other.name == schedule.name and other.spec != schedule.spec:
            raise UsageError(
                f"the name {schedule.name} is the schedule of `{other.spec}` ({path})", "choose another --name"
            )
