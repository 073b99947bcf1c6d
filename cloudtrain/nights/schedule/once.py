"""What a person does once, so that a schedule's file does something: the state, an identity, where the file goes."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule import files, options
from cloudtrain.nights.schedule.options import BY_FORGE, Form, Schedule
from cloudtrain.nights.schedule.place import PATHS, Place
from cloudtrain.state import address

SCHEMES: Final = ("s3://", "gs://")
ROLE: Final = "cloudtrain-nights"
LONGEST_S: Final = 43_200
POOL: Final = f"projects/NUMBER/locations/global/workloadIdentityPools/{ROLE}/providers/forge"
NO_PACKAGE: Final = (
    "no package of cloudtrain is published yet: CLOUDTRAIN_PACKAGE is what pip installs, pinned, such as"
    " git+https://HOST/OWNER/cloudtrain@COMMIT or a .whl file of the repository (--install writes it into the file)"
)


def refuse_without_bucket(schedule: Schedule, state: str) -> None:
    """Raises UsageError when the runs are kept where the machines of a CI system cannot look."""
    if schedule.ci not in BY_FORGE:
        return
    if not state.startswith(SCHEMES):
        raise UsageError(
            f"the state is `{state}`, a folder of this machine, which the machines of {schedule.ci} do not see",
            "set CLOUDTRAIN_STATE to s3://bucket/prefix or gs://bucket/prefix; cron and systemd take a folder",
        )
    address.parse(state)


def steps(schedule: Schedule, place: Place, state: str, by_environment: bool) -> list[str]:
    """One text for each step, with its commands. `by_environment`: the state is known here by a variable alone."""
    make = WITH_FORGE.get(schedule.ci)
    if make is not None:
        return make(schedule, place, state)
    found = []
    if by_environment:
        found.append(
            f"the state is named by CLOUDTRAIN_STATE, which a timer does not see:\n"
            f"cloudtrain config set state {shlex.quote(state)}"
        )
    return found + LOCAL[schedule.ci](schedule, place)


def of_github(schedule: Schedule, place: Place, state: str) -> list[str]:
    """Role, variables, secrets, the default branch."""
    values = variables(state)
    asked = [f"gh variable set {name} --body {shlex.quote(value)}" for name, value in values]
    secrets = [f"gh secret set {name}" for name in schedule.handed_over]
    return [
        identity(schedule, "github", state),
        "\n".join(
            ["what the file reads (`gh` of the repository's admin):", *asked, *secrets, *without_package(schedule)]
        ),
        f"commit {paths(schedule)} to `{schedule.branch}`; GitHub runs schedules of the default branch only, not in a"
        " fork, and no more once a public repository was idle for 60 days",
    ]


def of_gitlab(schedule: Schedule, place: Place, state: str) -> list[str]:
    """Role, variables, the include, and the two calls that make the schedule."""
    host = place.host or "gitlab.com"
    project = quote(schedule.repository or "GROUP/PROJECT", safe="")
    api = f"https://{host}/api/v4/projects/{project}"
    call = 'curl --fail --header "PRIVATE-TOKEN: $TOKEN" --request POST'
    first, second = options.minutes(schedule.at)
    cron = f"{first},{second} {','.join(files.spelled(each, '-') for each in options.hours(schedule))} * * *"
    known = variables(state)
    known += [("CLOUDTRAIN_AUDIENCE", f"https://iam.googleapis.com/{POOL}")] if state.startswith("gs://") else []
    asked = [
        f"{call} {api}/variables --form key={name} --form {shlex.quote(f'value={value}')}" for name, value in known
    ]
    secrets = [
        f'{call} {api}/variables --form key={name} --form masked=true --form protected=true --form "value=$SECRET"'
        for name in sorted({*schedule.handed_over, *(["GITLAB_TOKEN"] if schedule.comment else [])})
    ]
    path = PATHS["gitlab"][0].format(schedule.title)
    return [
        identity(schedule, "gitlab", state),
        "\n".join(
            ["what the job reads (TOKEN: a maintainer's, scope api):", *asked, *secrets, *without_package(schedule)]
        ),
        f"in .gitlab-ci.yml of `{schedule.branch}`, with {path} committed beside it:\ninclude:\n  - local: {path}",
        "the schedule itself, two calls:\n"
        f"ID=$({call} {api}/pipeline_schedules --form description={schedule.title} --form ref={schedule.branch}"
        f" --form {shlex.quote(f'cron={cron}')} --form cron_timezone={schedule.timezone} | python3 -c"
        " 'import json, sys; print(json.load(sys.stdin)[\"id\"])')\n"
        f"{call} {api}/pipeline_schedules/$ID/variables --form key=CLOUDTRAIN_SCHEDULE --form value={schedule.name}",
    ]


def of_cron(schedule: Schedule, place: Place) -> list[str]:
    """The line goes into the user's table."""
    path = shlex.quote(str(place.root / PATHS["cron"][0].format(schedule.title)))
    return [
        "take the line into your crontab (the file holds paths of this machine: do not commit it):\n"
        f"(crontab -l 2>/dev/null | grep -v -e '--name {schedule.name} '; cat {path}) | crontab -"
    ]


def of_systemd(schedule: Schedule, place: Place) -> list[str]:
    """Linked as the user's own units, which run without a session only when they may linger."""
    service, timer = (shlex.quote(str(place.root / path.format(schedule.title))) for path in PATHS["systemd"])
    return [
        "link both files as your own units (they hold paths of this machine: do not commit them):\n"
        f"systemctl --user link {service} {timer}\n"
        f"systemctl --user enable --now {schedule.title}.timer",
        "let them run while you are logged out:\nloginctl enable-linger",
    ]


WITH_FORGE: Final[dict[Form, Callable[[Schedule, Place, str], list[str]]]] = {"github": of_github, "gitlab": of_gitlab}
LOCAL: Final[dict[Form, Callable[[Schedule, Place], list[str]]]] = {"cron": of_cron, "systemd": of_systemd}


def identity(schedule: Schedule, forge: str, state: str) -> str:
    """The role that the schedule's branch alone may take, and for how long."""
    repository = schedule.repository or "OWNER/NAME"
    provider = "aws" if state.startswith("s3://") else "gcp"
    lines = [
        f"an identity that only branch `{schedule.branch}` of {repository} can take, with the least rights:",
        f"cloudtrain doctor {provider} --setup --forge {forge} --repository {repository} --branch {schedule.branch}",
        f"sh cloudtrain-setup/{provider}-commands.sh    # after reading it",
    ]
    if provider == "aws":
        lines.append(
            f"aws iam update-role --role-name {ROLE} --max-session-duration {LONGEST_S}    # 12 h instead of one"
        )
    return "\n".join(lines)


def variables(state: str) -> list[tuple[str, str]]:
    """What the file needs to know and anybody may read."""
    kept = address.parse(state)
    region = f"?region={kept.region}" if kept.region else ""  # of this machine's environment, perhaps
    common = [("CLOUDTRAIN_STATE", kept.base + region)]
    if state.startswith("s3://"):
        return [*common, ("AWS_ROLE_ARN", f"arn:aws:iam::ACCOUNT:role/{ROLE}")]
    return [
        *common,
        ("CLOUDTRAIN_GOOGLE_WORKLOAD_PROVIDER", POOL),
        ("CLOUDTRAIN_GOOGLE_SERVICE_ACCOUNT", f"{ROLE}@PROJECT.iam.gserviceaccount.com"),
        ("GOOGLE_CLOUD_PROJECT", "PROJECT"),
    ]


def without_package(schedule: Schedule) -> list[str]:
    """What to say while nothing is published."""
    return [] if schedule.install else [f"# {NO_PACKAGE}"]


def paths(schedule: Schedule) -> str:
    """The files, for a sentence."""
    return ", ".join(pattern.format(schedule.title) for pattern in PATHS[schedule.ci])
