"""What a schedule is asked to be, checked word by word, as one record; and the two commands that follow from it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from decimal import Decimal
from typing import Any, Final, Literal, get_args

from cloudtrain.errors import UsageError, nearest, visible
from cloudtrain.nights import calendar
from cloudtrain.units import parse_duration_s

Form = Literal["github", "gitlab", "cron", "systemd"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
BY_FORGE: Final = ("github", "gitlab")
TICK_MINUTES: Final = 30
MINUTE_S, DAY_S = 60, 86400
OFF_PEAK: Final = 7  # minutes past, for a night that is due on the full or the half hour

NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
# What is the same to YAML (in a block), a shell (in quotes), cron and systemd; letters of any language are letters too.
PLAIN: Final = frozenset(" ._/+@=,-")
BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# A commit or a file of the repository: the same tomorrow. Not a name: no package index has one of ours.
PINNED: Final = re.compile(
    r"(?:cloudtrain ?@ ?)?git\+(?:https|ssh)://[A-Za-z0-9._~:/@-]+@[0-9a-f]{40}"
    r"|(?:\./)?(?:[A-Za-z0-9_][A-Za-z0-9._+-]*/)*[A-Za-z0-9_][A-Za-z0-9._+-]*\.whl"
)
PLACE: Final = re.compile(r"[a-z][a-z0-9_-]*(?:/[A-Za-z0-9_-]+){0,2}")
HARDWARE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,60}(?::[0-9]{1,4})?")
FLAGS: Final = ("stop_above_cap", "experimental", "accept_risk", "accept_stale")
LONGEST_PATH: Final = 300
# Set by the file, the runner or the shell.
OURS: Final = frozenset(
    {"CLOUDTRAIN_STATE", "CLOUDTRAIN_INFRA", "CLOUDTRAIN_GOOGLE_WORKLOAD_PROVIDER", "CLOUDTRAIN_GOOGLE_SERVICE_ACCOUNT"}
    | {"CLOUDTRAIN_ID_TOKEN", "CLOUDTRAIN_PACKAGE", "AWS_ROLE_ARN", "GOOGLE_CLOUD_PROJECT", "PATH", "HOME"}
)
RESERVED: Final = ("GITHUB_", "ACTIONS_", "RUNNER_", "CI_")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule. `spec` is a path in the repository, with slashes; `latest_s` is how late a night may begin.

    `install` is what pip installs, "" for what the variable CLOUDTRAIN_PACKAGE says.
    """

    ci: Form
    spec: str
    name: str
    at: time
    timezone: str
    latest_s: float
    max_cost: Decimal | None = None
    budget_month: Decimal | None = None
    comment: str = ""  # issue | pr
    notify_from: str = ""
    branch: str = "main"
    repository: str = ""  # owner/name
    secrets: tuple[str, ...] = ()
    install: str = ""
    launch: tuple[str, ...] = ()  # options of `up` that a tick takes too, as words
    hub_token_from: str = ""

    @property
    def title(self) -> str:
        """What the file, its job and its group are called."""
        return f"cloudtrain-{self.name}"

    @property
    def when(self) -> list[str]:
        """The options that say when and how late, as both commands take them."""
        words = ["--at", f"{self.at:%H:%M}", "--timezone", self.timezone, "--latest", duration(self.latest_s)]
        words += [] if self.max_cost is None else ["--max-cost", plain(self.max_cost)]
        words += [] if self.budget_month is None else ["--budget-month", plain(self.budget_month)]
        words += self.launch
        words += ["--hub-token-from", self.hub_token_from] if self.hub_token_from else []
        words += ["--comment", self.comment] if self.comment else []
        return words + (["--notify-from", self.notify_from] if self.notify_from else [])

    @property
    def handed_over(self) -> list[str]:
        """The names of all secrets that a tick gets."""
        return sorted({*self.secrets, *filter(None, [self.notify_from, self.hub_token_from])})

    def tick(self, program: Sequence[str] = ("cloudtrain",)) -> str:
        """The one command that the file runs, for a shell. `program` is what starts cloudtrain."""
        return shlex.join([*program, "night", "tick", self.spec, "--name", self.name, *self.when])

    @property
    def again(self) -> str:
        """The command that writes this file, for a shell; the head of the file holds it."""
        words = ["cloudtrain", "schedule", self.spec, "--ci", self.ci, "--name", self.name, *self.when]
        words += ["--branch", self.branch]
        words += ["--repository", self.repository] if self.repository else []
        words += [word for name in self.secrets for word in ("--secret", name)]
        return shlex.join(words + (["--install", self.install] if self.install else []))


def checked(**given: Any) -> Schedule:
    """A Schedule from texts as they stand on the command line (None and "": not given). Raises UsageError."""
    spec = plain_path(given["spec"])
    at = calendar.parse_at(given["at"])
    return Schedule(
        ci=given["ci"],
        spec=spec,
        name=matching(
            NAME, given.get("name") or name_for(spec), "--name", "letters a-z, digits and dashes, 40 at most"
        ),
        at=at,
        timezone=calendar.zone(given["timezone"]).key,
        latest_s=latest(given.get("latest") or "6h"),
        max_cost=given.get("max_cost"),
        budget_month=given.get("budget_month"),
        comment=given.get("comment") or "",
        notify_from=variable(given.get("notify_from"), "--notify-from"),
        branch=branch(given.get("branch") or "main"),
        repository=repository(given.get("repository"), given["ci"]),
        secrets=tuple(sorted({variable(name or " ", "--secret") for name in given.get("secrets") or ()})),
        launch=tuple(launch(given)),
        hub_token_from=variable(given.get("hub_token_from"), "--hub-token-from"),
        install=optional(PINNED, given.get("install"), "--install", INSTALL_HINT),
    )


INSTALL_HINT: Final = (
    "pin it: git+https://HOST/OWNER/cloudtrain@COMMIT with all 40 digits, or a .whl file of the repository;"
    " no package is published"
)


def plain_path(text: str) -> str:
    """A spec's path in the repository when it is plain enough to stand in a file that a shell reads."""
    odd = sorted({letter for letter in text if not (letter.isalnum() or letter in PLAIN)})
    if odd or not text or len(text) > LONGEST_PATH or any(part.startswith(("-", "~")) for part in text.split("/")):
        what = f"holds {', '.join(visible(repr(letter)) for letter in odd[:3])}" if odd else "is not plain"
        hint = "rename it: letters, digits, spaces and `._/+@=,-`, no part that begins with a dash, 300 in all"
        raise UsageError(f"the path `{visible(text)}` {what}, and would stand in a file that a shell reads", hint)
    return text


def matching(pattern: re.Pattern[str], text: str, option: str, hint: str) -> str:
    """`text` when it is of that shape. Raises UsageError."""
    if pattern.fullmatch(text) is None:
        raise UsageError(f"{option} `{visible(text)}` cannot stand in the file", f"write {hint}")
    return text


def optional(pattern: re.Pattern[str], text: str | None, option: str, hint: str) -> str:
    """The same; "" when there is none."""
    return matching(pattern, text, option, hint) if text else ""


def variable(name: str | None, option: str) -> str:
    """The name of a variable that nobody else sets; "" when there is none. Raises UsageError."""
    if name and (name in OURS or name.upper().startswith(RESERVED)):
        raise UsageError(f"{option} `{visible(name)}` is the name of a variable with a meaning of its own", "rename it")
    return optional(VARIABLE, name, option, "the name of a variable, not its value")


def branch(name: str) -> str:
    """A branch whose name git and a trust policy both take. Raises UsageError."""
    matching(BRANCH, name, "--branch", "letters, digits and `._/-`")
    if ".." in name or "//" in name or name.endswith(("/", ".", ".lock")):
        raise UsageError(f"--branch `{visible(name)}` is no name of a branch", "main, as a rule")
    return name


def launch(given: Mapping[str, Any]) -> Iterator[str]:
    """Where and how a night may run, as `up` takes it. Raises UsageError."""
    for name, pattern, hint in (
        ("infra", PLACE, "provider[/region[/zone]]"),
        ("hardware", HARDWARE, "KEY or KEY:COUNT"),
    ):
        for text in given.get(name) or ():
            yield from (f"--{name}", matching(pattern, text, f"--{name}", hint))
    if given.get("spot") is not None:
        yield "--spot" if given["spot"] else "--on-demand"
    if given.get("max_hours") is not None:
        yield from ("--max-hours", duration(max(given["max_hours"], MINUTE_S)))
    for flag in FLAGS:
        if given.get(flag):
            yield f"--{flag.replace('_', '-')}"


def repository(name: str | None, ci: Form) -> str:
    """owner/name, with groups between at GitLab; "" when it is not known. Raises UsageError."""
    found = optional(REPOSITORY, name, "--repository", "owner/name as the forge spells it")
    if ci == "github" and found.count("/") > 1:
        raise UsageError(f"--repository `{found}` is none of GitHub's", "write owner/name")
    return found


def latest(text: str) -> float:
    """How late a night may begin, in whole minutes. Raises UsageError."""
    seconds = float(round(parse_duration_s(text) / MINUTE_S) * MINUTE_S)
    if seconds < TICK_MINUTES * MINUTE_S:
        raise UsageError(
            f"--latest {visible(text)} is shorter than the {TICK_MINUTES} minutes between two ticks",
            "a tick may be hours late at GitHub: 6h is the default",
        )
    if seconds > DAY_S:
        raise UsageError(f"--latest {visible(text)} reaches into the next night", "24h at the most; 6h is the default")
    return seconds


def name_for(spec: str) -> str:
    """What a schedule is called when nobody says: after its spec, or the folder of one called cloudtrain.yaml."""
    folder, _, file = spec.rpartition("/")
    stem = file.rsplit(".", 1)[0]
    word = (folder.rpartition("/")[2] or "nightly") if stem == "cloudtrain" else stem
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:40].strip("-") or "nightly"


def duration(seconds: float) -> str:
    """`6h`, `90m`."""
    minutes = int(seconds // MINUTE_S)
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def plain(amount: Decimal) -> str:
    """Dollars as a command line takes them: `12`, `0.5`."""
    return f"{amount.normalize():f}"


def minutes(at: time) -> tuple[int, int]:
    """The two minutes of an hour at which ticks are: off the full and the half hour, when services are busiest."""
    first = (at.minute + OFF_PEAK if at.minute % TICK_MINUTES == 0 else at.minute) % TICK_MINUTES
    return first, first + TICK_MINUTES


def hours(schedule: Schedule) -> list[range]:
    """The hours with ticks: from the night's own until two after the latest start; two ranges when past midnight."""
    first = schedule.at.hour
    last = first + min(int((schedule.at.minute * MINUTE_S + schedule.latest_s) // 3600) + 2, 23)
    return [range(first, last + 1)] if last < 24 else [range(first, 24), range(last - 23)]


def warnings(schedule: Schedule, now: float) -> list[str]:
    """What is allowed and yet worth a sentence."""
    found = []
    if schedule.at.minute % TICK_MINUTES == 0:
        first, second = minutes(schedule.at)
        found.append(
            f"--at {schedule.at:%H:%M}: at the full and the half hour schedules are late or dropped;"
            f" ticks are at :{first:02d} and :{second:02d}"
        )
    if odd := calendar.oddity(schedule.at, calendar.zone(schedule.timezone), now):
        found.append(odd)
    return found


def form(word: str) -> Form:
    """One of the four forms. Raises UsageError with the nearest."""
    for known in FORMS:
        if known == word:
            return known
    close = nearest(word, FORMS)
    raise UsageError(f"`{visible(word)}` is no form", f"did you mean `{close}`?" if close else ", ".join(FORMS))
