"""The text of a schedule's file in each form: a template of `templates/ci`, filled in; written, or compared."""

from __future__ import annotations

import csv
import hashlib
import re
import shlex
from collections.abc import Callable, Mapping
from difflib import unified_diff
from importlib.resources import files as resources
from pathlib import Path
from typing import Final

from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule import options
from cloudtrain.nights.schedule.options import Form, Schedule
from cloudtrain.nights.schedule.place import PATHS, Place, program

SAID: Final = (
    "# Written by the command below: change that, not this file. `cloudtrain schedule --check` says when they differ."
)
MARK: Final = re.compile(r"@([A-Z_]+)@")
PACKAGE: Final = '"${CLOUDTRAIN_PACKAGE:?set this variable to what pip shall install as cloudtrain}"'
UTC: Final = "UTC"  # GitHub's own, and the one name that actionlint does not take
DIFF_LINES: Final = 12


def texts(schedule: Schedule, place: Place) -> dict[str, str]:
    """The files of a schedule: path in the repository -> text. One, or a pair for systemd."""
    marks = {"TITLE": schedule.title, "NAME": schedule.name, **FILLED[schedule.ci](schedule, place)}
    paths = [pattern.format(schedule.title) for pattern in PATHS[schedule.ci]]
    return {
        path: with_head(schedule, filled(template(name), {**marks, "PATH": path}))
        for path, name in zip(paths, TEMPLATES[schedule.ci], strict=True)
    }


def with_head(schedule: Schedule, body: str) -> str:
    """The text with its three lines of head; by the last one it shows when somebody has changed any byte of it."""
    text = f"# {schedule.again}\n{body}"
    return f"{SAID}\n# {hashlib.sha256(text.encode()).hexdigest()[:16]}\n{text}"


def template(name: str) -> str:
    """A template's text."""
    return resources("cloudtrain.templates").joinpath("ci", name).read_text(encoding="utf-8")


def filled(text: str, marks: Mapping[str, str]) -> str:
    """`text` with its marks replaced, once. A mark alone on a line indents its value; without one the line goes."""
    lines = []
    for line in text.splitlines():
        alone = MARK.fullmatch(line.strip())
        if alone is None:
            lines.append(MARK.sub(lambda mark: marks[mark[1]], line))
        elif value := marks[alone[1]]:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [f"{indent}{part}" for part in value.splitlines()]
    return "\n".join(lines) + "\n"


def action(name: str) -> str:
    """An action of GitHub as a file names it: by commit, with the version beside it."""
    rows = {row["action"]: row for row in csv.DictReader(template("actions.csv").splitlines())}
    return f"{name}@{rows[name]['commit']} # {rows[name]['version']}"


def of_github(schedule: Schedule, place: Place) -> dict[str, str]:
    """Least rights: the job reads the repository, gets an identity, and writes what comments need."""
    asks = "actions: read # whether GitHub has switched this file off\n"
    rights = {"issue": f"{asks}issues: write # --comment issue", "pr": f"{asks}pull-requests: write # --comment pr"}
    environment = [f"{name}: ${{{{ secrets.{name} }}}}" for name in schedule.handed_over]
    environment += ["GITHUB_TOKEN: ${{ github.token }}"] if schedule.comment else []
    first, second = options.minutes(schedule.at)
    return {
        "CRON": f"{first},{second} {','.join(spelled(each, '-') for each in options.hours(schedule))} * * *",
        "TIMEZONE": "" if schedule.timezone == UTC else f"timezone: {schedule.timezone}",
        "GUARD": f"if: github.repository == '{schedule.repository}'" if schedule.repository else "",
        "MORE_RIGHTS": rights.get(schedule.comment, ""),
        "CHECKOUT": action("actions/checkout"),
        "PYTHON": action("actions/setup-python"),
        "CACHE": action("actions/cache"),
        "INSTALL_ENV": "" if schedule.install else "env:\n  CLOUDTRAIN_PACKAGE: ${{ vars.CLOUDTRAIN_PACKAGE }}",
        "PACKAGE": package(schedule),
        "MORE_ENV": "\n".join(environment),
        "TICK": schedule.tick(),
    }


def of_gitlab(schedule: Schedule, place: Place) -> dict[str, str]:
    """When it ticks is no part of the file: a schedule is made in GitLab itself."""
    return {"PACKAGE": package(schedule), "TICK": schedule.tick()}


def of_cron(schedule: Schedule, place: Place) -> dict[str, str]:
    """Ticks all day: not every cron knows time zones, and a tick that is not due costs nothing here."""
    first, second = options.minutes(schedule.at)
    return {"MINUTES": f"{first},{second}", "FOLDER": shlex.quote(local(place)), "TICK": schedule.tick(runnable())}


def of_systemd(schedule: Schedule, place: Place) -> dict[str, str]:
    """A timer with the schedule's own time zone."""
    first, second = options.minutes(schedule.at)
    return {
        "HOURS": ",".join(spelled(each, "..") for each in options.hours(schedule)),
        "MINUTES": f"{first:02d},{second:02d}",
        "TIMEZONE": schedule.timezone,
        "FOLDER": local(place),
        "TICK": schedule.tick(runnable()),
    }


FILLED: Final[dict[Form, Callable[[Schedule, Place], dict[str, str]]]] = {
    "github": of_github,
    "gitlab": of_gitlab,
    "cron": of_cron,
    "systemd": of_systemd,
}
TEMPLATES: Final[dict[Form, tuple[str, ...]]] = {
    "github": ("github.yml",),
    "gitlab": ("gitlab.yml",),
    "cron": ("crontab",),
    "systemd": ("unit.service", "unit.timer"),
}


def package(schedule: Schedule) -> str:
    """What pip installs, for a shell."""
    return shlex.quote(schedule.install) if schedule.install else PACKAGE


def spelled(hours: range, between: str) -> str:
    """Hours of the day as cron (`1-9`) or systemd (`01..09`) write them."""
    ends = [f"{hour:02d}" if between == ".." else str(hour) for hour in (hours[0], hours[-1])]
    return ends[0] if len(hours) == 1 else between.join(ends)


def local(place: Place) -> str:
    """The repository's folder on this machine. Raises UsageError when it cannot stand in a file of cron or systemd."""
    return options.plain_path(str(place.root))


def runnable() -> list[str]:
    """What starts cloudtrain here. Raises UsageError, likewise."""
    return [options.plain_path(word) if "/" in word else word for word in program()]


def differences(schedule: Schedule, place: Place) -> list[str]:
    """What in the repository is not what would be written, a few lines for each file; none when all of it is."""
    found: list[str] = []
    for path, text in texts(schedule, place).items():
        there = current(place.root / path)
        if there is None:
            found.append(f"{path} is not there")
        elif there != text.encode():
            lines = unified_diff(
                there.decode(errors="replace").splitlines(),
                text.splitlines(),
                path,
                "as it would be written",
                lineterm="",
                n=0,
            )
            kept = list(lines)
            more = [f"... {len(kept) - DIFF_LINES} more lines"] if len(kept) > DIFF_LINES else []
            found += kept[:DIFF_LINES] + more or [f"{path} differs in its line ends"]
    return found


def write(schedule: Schedule, place: Place) -> list[str]:
    """Write the files; the paths of those that were not there or were different. Raises UsageError."""
    changed = []
    for path, text in texts(schedule, place).items():
        target = place.root / path
        if current(target) == text.encode():
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            replaced(target, text)
        except OSError as error:
            raise UsageError(f"`{path}` cannot be written: {error.strerror}") from None
        changed.append(path)
    return changed


def replaced(target: Path, text: str) -> None:
    """The file in one step: there is never half of one. Raises OSError."""
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.write_bytes(text.encode())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def current(path: Path) -> bytes | None:
    """The bytes of a file; None when there is none that can be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None
