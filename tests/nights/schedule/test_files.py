"""A schedule's file: what is in it, that it is the same every time, and that `--check` sees a change of any byte."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule import files, options, place
from cloudtrain.nights.schedule.options import Schedule
from cloudtrain.nights.schedule.place import Place
from tests.nights.schedule import option_sets
from tests.nights.schedule.option_sets import SET

GITHUB, GITLAB = ".github/workflows/cloudtrain-nightly.yml", ".gitlab/cloudtrain-nightly.yml"
CREDENTIALS = re.compile(r"secrets\.|github\.token")


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """An empty repository."""
    (tmp_path / ".git").mkdir()
    return place.here(tmp_path)


def made(here: Place, **changed: Any) -> dict[str, Any]:
    """GitHub's file, parsed; the key `on` is True to YAML 1.1."""
    schedule = options.checked(**{**SET, **changed})
    return dict(yaml.safe_load(files.texts(schedule, here)[GITHUB]))


@pytest.mark.parametrize("number", range(20))
def test_the_same_options_give_the_same_bytes(number: int, here: Place) -> None:
    schedule = option_sets.schedule(number)
    assert files.write(schedule, here) == list(files.texts(schedule, here))
    before = {path: (here.root / path).read_bytes() for path in files.texts(schedule, here)}
    assert files.write(schedule, here) == []
    assert files.differences(schedule, here) == []
    assert {path: text.encode() for path, text in files.texts(option_sets.schedule(number), here).items()} == before


@pytest.mark.parametrize("number", range(20))
def test_any_changed_byte_is_seen(number: int, here: Place) -> None:
    schedule, chance = option_sets.schedule(number), Random(number)
    files.write(schedule, here)
    for path, text in files.texts(schedule, here).items():
        whole = text.encode()
        for _ in range(25):
            at = chance.randrange(len(whole))
            (here.root / path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert files.differences(schedule, here)
            assert drift(here)
        (here.root / path).write_bytes(whole.replace(b"\n", b"\r\n"))
        assert files.differences(schedule, here) == [f"{path} differs in its line ends"]
        (here.root / path).write_bytes(whole)
    assert not drift(here)


def drift(here: Place) -> bool:
    """Whether `--check` without options would be red: by the heads of the files alone."""
    found = [schedule for _, schedule in place.written(here)]
    return None in found or any(files.differences(each, here) for each in found if each is not None)


def test_a_file_that_is_missing_differs(here: Place) -> None:
    schedule = option_sets.schedule(1, "systemd")
    files.write(schedule, here)
    (here.root / f".cloudtrain/{schedule.title}.timer").unlink()
    assert files.differences(schedule, here) == [f".cloudtrain/{schedule.title}.timer is not there"]


@pytest.mark.parametrize("number", range(20))
def test_github_s_file_has_least_rights_and_pinned_actions(number: int, here: Place) -> None:
    schedule = option_sets.schedule(number, "github")
    ((path, text),) = files.texts(schedule, here).items()
    document = yaml.safe_load(text)
    assert set(document[True]) == {"schedule", "workflow_dispatch"}
    assert document["permissions"] == {}
    assert document["concurrency"] == {"group": schedule.title, "cancel-in-progress": False}
    job = document["jobs"]["tick"]
    more = {"issue": {"issues": "write"}, "pr": {"pull-requests": "write"}}.get(schedule.comment, {})
    more |= {"actions": "read"} if schedule.comment else {}
    assert job["permissions"] == {"contents": "read", "id-token": "write", **more}
    assert job["timeout-minutes"] == 20
    assert job.get("if") == (f"github.repository == '{schedule.repository}'" if schedule.repository else None)
    uses = re.findall(r"uses: (.+)", text)
    assert [line for line in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    assert job["steps"][0]["with"] == {"persist-credentials": False}
    assert path == f".github/workflows/{schedule.title}.yml"


@pytest.mark.parametrize("number", range(20))
def test_secrets_reach_the_tick_alone_and_only_those_named(number: int, here: Place) -> None:
    schedule = option_sets.schedule(number, "github")
    steps = yaml.safe_load(next(iter(files.texts(schedule, here).values())))["jobs"]["tick"]["steps"]
    named = {*schedule.secrets, schedule.notify_from, schedule.hub_token_from} - {""}
    for step in steps:
        values = {name for name, value in step.get("env", {}).items() if CREDENTIALS.search(value)}
        assert values == (
            named | ({"GITHUB_TOKEN"} if schedule.comment else set()) if step.get("id") == "tick" else set()
        )
        assert "${{" not in step.get("run", "")


def test_the_file_s_last_step_is_one_call(here: Place) -> None:
    steps = made(here, max_cost=None, comment="issue")["jobs"]["tick"]["steps"]
    assert steps[-1]["run"] == (
        "cloudtrain night tick cloudtrain.yaml --name nightly --at 01:17 --timezone Europe/Berlin --latest 6h"
        " --comment issue\n"
    )


def test_what_is_installed_is_pinned_or_named_by_a_variable(here: Place) -> None:
    step = next(step for step in made(here)["jobs"]["tick"]["steps"] if step.get("name") == "install")
    assert step["env"] == {"CLOUDTRAIN_PACKAGE": "${{ vars.CLOUDTRAIN_PACKAGE }}"}
    assert '"${CLOUDTRAIN_PACKAGE:?' in step["run"]
    package = f"git+https://example.org/acme/cloudtrain@{option_sets.COMMIT}"
    steps = made(here, install=package)["jobs"]["tick"]["steps"]
    step = next(step for step in steps if step.get("name") == "install")
    assert "env" not in step
    assert f"pip install --quiet {package}\n" in step["run"]


def test_gitlab_s_job_runs_for_its_schedule_with_an_identity(here: Place) -> None:
    document = yaml.safe_load(files.texts(options.checked(**{**SET, "ci": "gitlab"}), here)[GITLAB])
    job = document["cloudtrain-nightly"]
    assert document.keys() == {"cloudtrain-nightly"}
    assert job["timeout"] == "20 minutes"
    assert job["resource_group"] == "cloudtrain-nightly"
    assert job["id_tokens"] == {"CLOUDTRAIN_ID_TOKEN": {"aud": "$CLOUDTRAIN_AUDIENCE"}}
    assert job["variables"]["CLOUDTRAIN_AUDIENCE"] == "sts.amazonaws.com"
    assert [rule["if"] for rule in job["rules"]] == [
        '$CI_PIPELINE_SOURCE == "schedule" && ($CLOUDTRAIN_SCHEDULE == null || $CLOUDTRAIN_SCHEDULE == "nightly")'
    ]
    assert len(job["script"]) == 1


def test_cron_and_systemd_start_this_program_in_the_repository(here: Place) -> None:
    (line,) = [
        line
        for text in files.texts(options.checked(**{**SET, "ci": "cron"}), here).values()
        for line in text.splitlines()
        if not line.startswith("#")
    ]
    assert line.startswith(f"17,47 * * * * cd {here.root} && {' '.join(place.program())} night tick cloudtrain.yaml ")
    service, timer = files.texts(options.checked(**{**SET, "ci": "systemd", "at": "22:30"}), here).values()
    assert (
        f"\nWorkingDirectory={here.root}\nExecStart={' '.join(place.program())} night tick cloudtrain.yaml " in service
    )
    assert "\nKillMode=process\n" in service
    assert "\nOnCalendar=*-*-* 22..23,00..06:07,37:00 Europe/Berlin\n" in timer
    assert "\nPersistent=true\n" in timer


def test_a_folder_that_a_timer_would_misread_is_refused() -> None:
    odd = Place(Path("/home/me/50% off"), True)
    for form in ("cron", "systemd"):
        with pytest.raises(UsageError, match="holds '%'"):
            files.texts(options.checked(**{**SET, "ci": form}), odd)


def test_a_template_s_mark_is_filled_once() -> None:
    assert files.filled("a: @X@\n  @Y@\n  @Z@\n", {"X": "@Y@", "Y": "1\n2", "Z": ""}) == "a: @Y@\n  1\n  2\n"


def test_half_a_file_is_never_there(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = option_sets.schedule(3, "github")
    files.write(schedule, here)
    (path,) = files.texts(schedule, here)
    target = here.root / path
    target.write_text("before")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="No space left"):
        files.write(schedule, here)
    assert target.read_text() == "before"
    assert list(target.parent.iterdir()) == [target]


def test_every_form_s_file_is_known_to_check(here: Place) -> None:
    kept: list[Schedule] = [option_sets.schedule(number, form) for number, form in enumerate(options.FORMS)]
    for schedule in kept:
        files.write(schedule, here)
    assert {schedule for _, schedule in place.written(here)} == set(kept)
