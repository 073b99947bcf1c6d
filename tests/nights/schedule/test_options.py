"""What may stand in a schedule's file: texts that mean one thing to YAML, shells, cron and systemd, or a refusal."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule import files, head, options
from cloudtrain.nights.schedule.place import Place
from tests.nights.schedule import option_sets
from tests.nights.schedule.option_sets import SET

PLACE = Place(Path("/home/me/tunes"), True)
HOSTILE = st.text(
    st.sampled_from("aZ09 ._/+@=,-'\"`$\\{}()<>|&;:#%!?*~[]^\n\r\t\0\x1b\u2028é字") | st.characters(), max_size=40
)
NOW = datetime(2026, 11, 30, tzinfo=UTC).timestamp()


def refused(**changed: Any) -> str:
    """The message and the hint with which a set of options is refused."""
    with pytest.raises(UsageError) as caught:
        options.checked(**{**SET, **changed})
    return f"{caught.value.message}; {caught.value.hint}"


@given(st.sampled_from(options.FORMS), HOSTILE)
def test_a_path_arrives_as_it_is_or_is_refused(form: str, path: str) -> None:
    try:
        schedule = options.checked(**{**SET, "ci": form, "spec": path})
    except UsageError:
        return
    for name, text in files.texts(schedule, PLACE).items():
        for argv in ticks(name, text):
            assert argv[argv.index("tick") + 1] == path


@given(
    st.sampled_from(
        ["name", "branch", "repository", "notify_from", "hub_token_from", "install", "timezone", "at", "latest"]
    ),
    HOSTILE,
)
def test_any_text_keeps_the_shape_or_is_refused(key: str, text: str) -> None:
    try:
        schedule = options.checked(**{**SET, key: text})
    except UsageError:
        return
    ((name, written),) = files.texts(schedule, PLACE).items()
    document = yaml.safe_load(written)
    assert document.keys() == {"name", True, "permissions", "concurrency", "jobs"}
    assert document["jobs"].keys() == {"tick"}
    job = document["jobs"]["tick"]
    assert job.keys() - {"if"} == {"name", "runs-on", "timeout-minutes", "permissions", "steps"}
    assert len(job["steps"]) == 5
    (argv,) = ticks(name, written)
    assert argv[:4] == ["cloudtrain", "night", "tick", "cloudtrain.yaml"]
    assert len(argv) % 2 == 0  # options in pairs, for none of these is a flag
    assert all("${{" not in step.get("run", "") for step in job["steps"])


def ticks(name: str, text: str) -> list[list[str]]:
    """The command lines of a file, as its own reader would split them."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    if name.endswith(".yml"):
        document = yaml.safe_load(text)
        job = document["jobs"]["tick"] if "jobs" in document else next(iter(document.values()))
        runs = [step["run"] for step in job["steps"] if "run" in step] if "steps" in job else job["script"]
        return [shlex.split(run) for run in runs if "night tick" in run]
    if name.endswith(".crontab"):
        (line,) = lines
        assert "%" not in line
        return [shlex.split(line.split(None, 5)[5])]
    return [shlex.split(line.removeprefix("ExecStart=")) for line in lines if line.startswith("ExecStart=")]


@pytest.mark.parametrize("number", range(40))
def test_the_head_s_command_makes_the_same_schedule(number: int) -> None:
    schedule = option_sets.schedule(number)
    assert head.schedule_of(schedule.again) == schedule


@pytest.mark.parametrize(
    "line",
    [
        "",
        "cloudtrain",
        "cloudtrain schedule",
        "cloudtrain schedule x --at",
        "rm -rf / --ci github",
        "cloudtrain schedule 'x",
    ],
)
def test_another_command_makes_none(line: str) -> None:
    with pytest.raises(UsageError):
        head.schedule_of(line)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"timezone": "Europe/Berlni"}, "the nearest is Europe/Berlin"),
        ({"at": "25:00"}, "no time of day"),
        ({"latest": "29m"}, "shorter than the 30 minutes between two ticks"),
        ({"latest": "25h"}, "reaches into the next night"),
        ({"latest": "soon"}, "not a length of time"),
        ({"name": "Night ly"}, "letters a-z"),
        ({"name": "x" * 41}, "40 at most"),
        ({"branch": "a..b"}, "no name of a branch"),
        ({"branch": "main;x"}, "cannot stand in the file"),
        ({"repository": "group/sub/project"}, "none of GitHub's"),
        ({"repository": "acme"}, "owner/name"),
        ({"notify_from": "https://hooks.example/T0"}, "not its value"),
        ({"secrets": ["CLOUDTRAIN_STATE"]}, "a meaning of its own"),
        ({"secrets": ["GITHUB_TOKEN"]}, "a meaning of its own"),
        ({"install": "cloudtrain"}, "pin it"),
        ({"install": "cloudtrain==1.2"}, "no package is published"),
        ({"install": "git+https://example.org/acme/cloudtrain@main"}, "40 digits"),
        ({"infra": ["aws us"]}, "provider[/region[/zone]]"),
        ({"hardware": ["mi300x;x"]}, "KEY or KEY:COUNT"),
        ({"secrets": [""]}, "not its value"),
        ({"hub_token_from": "/home/me/token"}, "not its value"),
        ({"install": "../x.whl"}, "pin it"),
        ({"install": "-x.whl"}, "pin it"),
        ({"spec": "-x.yaml"}, "is not plain"),
        ({"spec": "a${{ github.token }}.yaml"}, "would stand in a file that a shell reads"),
        ({"spec": "a\nb.yaml"}, "holds '\\n'"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(changed: dict[str, Any], says: str) -> None:
    assert says in refused(**changed)


@pytest.mark.parametrize(
    ("at", "latest", "cron"),
    [
        ("01:17", "6h", "17,47 1-9 * * *"),
        ("01:47", "6h", "17,47 1-9 * * *"),
        ("02:00", "30m", "7,37 2-4 * * *"),
        ("22:17", "6h", "17,47 22-23,0-6 * * *"),
        ("23:59", "30m", "29,59 23,0-2 * * *"),
        ("00:30", "24h", "7,37 0-23 * * *"),
        ("05:01", "24h", "1,31 5-23,0-4 * * *"),
    ],
)
def test_ticks_cover_the_window_after_the_hour(at: str, latest: str, cron: str) -> None:
    schedule = options.checked(**{**SET, "at": at, "latest": latest})
    document = yaml.safe_load(files.texts(schedule, PLACE)[".github/workflows/cloudtrain-nightly.yml"])
    assert document[True]["schedule"] == [{"cron": cron, "timezone": "Europe/Berlin"}]


def test_github_s_own_zone_is_not_named() -> None:
    document = yaml.safe_load(next(iter(files.texts(options.checked(**{**SET, "timezone": "UTC"}), PLACE).values())))
    assert document[True]["schedule"] == [{"cron": "17,47 1-9 * * *"}]


@given(st.times(), st.sampled_from(["30m", "90m", "6h", "23h", "24h"]))
def test_ticks_avoid_the_half_hour_and_reach_the_night(at: time, latest: str) -> None:
    schedule = options.checked(**{**SET, "at": f"{at:%H:%M}", "latest": latest})
    first, second = options.minutes(schedule.at)
    assert 0 < first < 30 < second < 60
    day = sorted(60 * hour + minute for each in options.hours(schedule) for hour in each for minute in (first, second))
    due = 60 * at.hour + at.minute
    assert any((tick - due) % 1440 <= schedule.latest_s / 60 for tick in day)
    assert any((tick - due) % 1440 < 30 for tick in day)


def test_the_full_and_the_half_hour_are_warned_of() -> None:
    told = options.warnings(options.checked(**{**SET, "at": "03:30"}), NOW)
    assert told == ["--at 03:30: at the full and the half hour schedules are late or dropped; ticks are at :07 and :37"]
    assert options.warnings(options.checked(**SET), NOW) == []


def test_an_hour_that_is_not_every_day_is_told() -> None:
    (told,) = options.warnings(options.checked(**{**SET, "at": "02:17"}), NOW)
    assert "does not exist on 2027-03-28" in told
    assert "exists twice on 2027-10-31" in told


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("cloudtrain.yaml", "nightly"),
        ("runs/Big One/cloudtrain.yaml", "big-one"),
        ("runs/sft v2.yaml", "sft-v2"),
        ("字.yaml", "nightly"),
        (f"{'x' * 39}-y.yaml", "x" * 39),
    ],
)
def test_a_schedule_is_called_after_its_spec(spec: str, name: str) -> None:
    assert options.checked(**{**SET, "spec": spec}).name == name
