"""The workflows: pinned actions, least rights, targets that exist, and a release that refuses until it can be done."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudtrain import __version__

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def parsed(name: str) -> dict[str, Any]:
    """A workflow; the key `on` is read as True by YAML 1.1."""
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text()))


def test_there_are_three() -> None:
    """Tests for every change, a soak every night, a release for a tag."""
    assert [path.name for path in WORKFLOWS] == ["release.yml", "soak.yml", "test.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved; a commit cannot. The version stands beside it."""
    uses = re.findall(r"uses: (.+)", path.read_text())
    assert uses
    assert [line for line in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read(path: Path) -> None:
    """The token reads the repository and nothing else; the one job that publishes gets an identity, and no more."""
    document = parsed(path.name)
    assert document["permissions"] == {"contents": "read"}
    widened = {name: job["permissions"] for name, job in document["jobs"].items() if "permissions" in job}
    assert widened == ({"publish": {"id-token": "write"}} if path.name == "release.yml" else {})
    assert "secrets." not in path.read_text()
    assert all(job["timeout-minutes"] <= 90 for job in document["jobs"].values())


def test_the_night_begins_at_an_odd_minute() -> None:
    """Schedules on the hour are late or dropped."""
    minute = int(parsed("soak.yml")[True]["schedule"][0]["cron"].split()[0])  # type: ignore[index]
    assert minute % 2 == 1
    assert minute % 15


def test_the_soak_runs_every_part() -> None:
    """Parts 1 to N of N."""
    job = parsed("soak.yml")["jobs"]["soak"]
    parts = job["strategy"]["matrix"]["part"]
    assert parts == list(range(1, len(parts) + 1))
    assert job["steps"][-1]["run"].endswith(f"/{len(parts)}")


@pytest.mark.parametrize(
    ("project", "tag", "says"),
    [
        ("", f"v{__version__}", "PROJECT in .github/workflows/release.yml is empty"),
        ("other", f"v{__version__}", "make them the same"),
        ("cloudtrain", "v0.0.0", f"tag v{__version__}"),
        ("cloudtrain", f"v{__version__}", ""),
    ],
)
def test_a_release_refuses_until_it_can_be_done(project: str, tag: str, says: str) -> None:
    """Without a registered project, with another name or another version it ends with a sentence; else it goes ahead."""
    steps = parsed("release.yml")["jobs"]["build"]["steps"]
    script = next(step["run"] for step in steps if step.get("name") == "refuse what cannot be published")
    environment = {"PATH": os.environ["PATH"], "PROJECT": project, "GITHUB_REF_NAME": tag}
    argv = ["bash", "-e", "-c", script]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, says in done.stdout) == (1 if says else 0, True)


def test_no_project_is_set_before_one_is_registered() -> None:
    """What is tested and uploaded comes after the refusal, and the constant is empty as long as no address exists."""
    document = parsed("release.yml")
    order = [str(step.get("run") or step["uses"]) for step in document["jobs"]["build"]["steps"]]
    assert order.index(".ci/run") > next(i for i, step in enumerate(order) if "PROJECT" in step)
    assert document["env"] == {"PROJECT": ""}
    assert "[project.urls]" not in (ROOT / "pyproject.toml").read_text()


def test_one_table_says_which_commits_are_pinned() -> None:
    """The files that `cloudtrain schedule` writes, and the workflows here, take actions from it alone."""
    import csv

    table = csv.DictReader((ROOT / "templates" / "ci" / "actions.csv").read_text().splitlines())
    known = {f"{row['action']}@{row['commit']} # {row['version']}" for row in table}
    used = {line for path in WORKFLOWS for line in re.findall(r"uses: (.+)", path.read_text())}
    assert used == known
