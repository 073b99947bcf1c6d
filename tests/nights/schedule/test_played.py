"""One night per cloud: the written GitHub file, run by act against a fake cloud; the same by GitLab's on one of them.

Real commands, the real engine, machines that run; the trainer is a fake one. So the file, the verb and the clouds fit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloudtrain.nights.schedule import files, options, place
from tests.ci_tools import provide
from tests.engine.rented_world import World, wait_for, world
from tests.nights.schedule import runners
from tests.nights.schedule.option_sets import SET
from tests.nights.schedule.runners import Given

pytestmark = [pytest.mark.soak, pytest.mark.engine]
# What a repository keeps as variables and secrets; the rest is the runner's environment.
VARIABLES = ("CLOUDTRAIN_STATE", "GOOGLE_CLOUD_PROJECT")
SECRETS = ("RUNPOD_API_KEY",)


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with the programs."""
    return provide.provide() / "bin"


@pytest.fixture
def rented(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A cloud whose machines run, with a fake trainer."""
    with world(request.param, tmp_path) as made:
        made.use_fake_trainer()
        yield made


def repository(made: World, form: str) -> tuple[place.Place, options.Schedule, Given]:
    """A repository with a spec that is due, its schedule's file, and what its jobs are given."""
    client = made.client("here")
    root = client.folder
    for words in (("init", "-q", "-b", "main"), ("remote", "add", "origin", "https://github.com/acme/tunes.git")):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    words = made.cloud.words
    due = datetime.now(UTC) - timedelta(minutes=2)
    schedule = options.checked(
        **SET | {"ci": form, "at": f"{due:%H:%M}", "timezone": "UTC", "max_hours": 3600.0, "experimental": True},
        infra=[words[words.index("--infra") + 1]],
        hardware=[words[words.index("--hardware") + 1]],
        accept_risk="--accept-risk" in words,
        accept_stale=True,  # the catalogue's dates do not move with the calendar
        secrets=[name for name in SECRETS if name in client.environment],
    )
    here = place.here(root)
    files.write(schedule, here)
    (root / ".gitlab-ci.yml").write_text("include:\n  - local: .gitlab/cloudtrain-nightly.yml\n")
    subprocess.run(["git", "-C", str(root), "add", "cloudtrain.yaml", "data.jsonl", ".git*"], check=True)
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(root), *author, "commit", "-q", "-m", "first"], check=True)
    kept = {**client.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    variables = {name: kept.pop(name) for name in VARIABLES if name in kept}
    return here, schedule, Given(kept, variables, {name: kept.pop(name) for name in SECRETS if name in kept})


def tick(made: World, tools: Path, here: place.Place, given: Given, form: str) -> str:
    """One run of the file; what was said, when it was green."""
    if form == "github":
        done = runners.github(tools, here.root, ".github/workflows/cloudtrain-nightly.yml", given, made.folder)
    else:
        done = runners.gitlab(tools, here.root, given, made.folder)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def night(made: World, tools: Path, form: str) -> None:
    """Begun by the first tick, finished by one after its machine, and then there is nothing to do."""
    here, _, given = repository(made, form)
    assert "started" in tick(made, tools, here, given, form)
    wait_for(
        lambda: bool([name for name in made.both.objects("bucket-state") if name.endswith("machine/exit.json")]),
        "the end of the job",
    )
    assert "finished" in tick(made, tools, here, given, form)
    assert made.both.leftovers() == []
    before = len(made.boxes())
    tick(made, tools, here, given, form)
    assert len(made.boxes()) == before == 1
    assert [name for name in made.both.objects("bucket-state") if "/nights/nightly/nights/" in name] != []
    assert made.objects_with_a_secret() == []


@pytest.mark.parametrize("rented", ["aws", "gcp", "runpod"], indirect=True)
def test_a_night_runs_from_github_s_file_on_every_cloud(rented: World, tools: Path) -> None:
    night(rented, tools, "github")


@pytest.mark.parametrize("rented", ["aws"], indirect=True)
def test_a_night_runs_from_gitlab_s_file(rented: World, tools: Path) -> None:
    night(rented, tools, "gitlab")
