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


def test_there_are_four() -> None:
    """Tests for every change, a soak and prices every night, a release for a tag."""
    assert [path.name for path in WORKFLOWS] == ["prices.yml", "release.yml", "soak.yml", "test.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved; a commit cannot. The version stands beside it."""
    uses = re.findall(r"uses: (.+)", path.read_text())
    assert uses
    assert [line for line in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


WIDENED = {
    "release.yml": {"publish": {"id-token": "write"}},
    "prices.yml": {"refresh": {"contents": "read", "id-token": "write"}, "publish": {"contents": "write"}},
}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read(path: Path) -> None:
    """The token reads the repository and nothing else; jobs that publish get an identity or the right to, and no more."""
    document = parsed(path.name)
    assert document["permissions"] == {"contents": "read"}
    widened = {name: job["permissions"] for name, job in document["jobs"].items() if "permissions" in job}
    assert widened == WIDENED.get(path.name, {})
    assert ("secrets." in path.read_text()) == (path.name == "prices.yml")
    assert all(job["timeout-minutes"] <= 90 for job in document["jobs"].values())


@pytest.mark.parametrize("name", ["prices.yml", "soak.yml"])
def test_the_night_begins_at_an_odd_minute(name: str) -> None:
    """Schedules on the hour are late or dropped."""
    minute = int(parsed(name)[True]["schedule"][0]["cron"].split()[0])  # type: ignore[index]
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


def secrets_of(job: dict[str, Any]) -> set[str]:
    """Names of the secrets that a job's steps see."""
    return set(re.findall(r"secrets\.(\w+)", str(job)))


def test_no_job_has_signing_and_providers_keys() -> None:
    """Whoever talks to providers cannot sign, whoever signs talks to none; both only in the environment `prices`."""
    jobs = parsed("prices.yml")["jobs"]
    assert secrets_of(jobs["publish"]) == {"PRICES_KEY"}
    assert secrets_of(jobs["refresh"]) == {
        "PRICES_DIGITALOCEAN_TOKEN",
        "PRICES_GOOGLE_API_KEY",
        "PRICES_RUNPOD_API_KEY",
    }
    assert {job["environment"] for job in jobs.values()} == {"prices"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_script_has_an_expression(path: Path) -> None:
    """What comes from outside is a variable for a shell, never a part of its program; a matrix is ours."""
    scripts = [str(step["run"]) for job in parsed(path.name)["jobs"].values() for step in job["steps"] if "run" in step]
    assert [text for text in scripts if "${{" in text.replace("${{ matrix.part }}", "")] == []


def prices_step(job: str, name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step of the nightly prices with a `gh` and a `cloudtrain` that write down how they are called."""
    steps = parsed("prices.yml")["jobs"][job]["steps"]
    script = next(step["run"] for step in steps if step.get("name", "").startswith(name))
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(folder / "output"), **environment}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=given, capture_output=True, text=True, check=False
    )


@pytest.fixture
def called(tmp_path: Path) -> Path:
    """A folder with both programs; `calls` has a line for each call. What fails is in FAILS."""
    program = (
        '#!/bin/bash\necho "$(basename "$0") $*" >> calls\n'
        '[ -n "$FAILS" ] && [[ "$(basename "$0") $*" == *$FAILS* ]] && exit 2\n'
        '[[ "$*" == *publish* ]] && echo -e "out/prices-3.tar.gz\\nout/manifest.json.sig\\nout/manifest.json"\n'
        '[[ "$*" == *assets* ]] && for n in $(seq 10 30); do echo prices-$n.tar.gz; done && echo manifest.json\n'
        "exit 0\n"
    )
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for path in (tmp_path / "gh", tmp_path / ".venv" / "bin" / "cloudtrain"):
        path.write_text(program)
        path.chmod(0o700)
    return tmp_path


def test_the_manifest_is_uploaded_last(called: Path) -> None:
    """After what it names, after it was pulled in a trial; of older archives some stay for who has an older manifest."""
    done = prices_step("publish", "archive, sign", called)
    assert done.returncode == 0, done
    calls = (called / "calls").read_text().splitlines()
    uploaded = [Path(line.split()[4]).name for line in calls if "upload" in line]
    assert uploaded == ["prices-3.tar.gz", "manifest.json.sig", "manifest.json"]
    assert next(i for i, line in enumerate(calls) if "prices pull" in line) < calls.index(
        "gh release upload prices-latest out/prices-3.tar.gz --clobber"
    )
    removed = [line.split()[4] for line in calls if "delete-asset" in line]
    assert removed == [f"prices-{number}.tar.gz" for number in range(10, 17)]


@pytest.mark.parametrize("fails", ["prices pull", "prices-3.tar.gz"])
def test_nothing_counts_before_all_of_it_is_there(fails: str, called: Path) -> None:
    """What cannot be pulled, or not uploaded, leaves the manifest of last night."""
    assert prices_step("publish", "archive, sign", called, FAILS=fails).returncode != 0
    assert "upload prices-latest out/manifest.json " not in (called / "calls").read_text()


def test_one_provider_keeps_no_other_back(called: Path) -> None:
    """Each is asked by itself; that one failed is said at the end, after the others are published."""
    done = prices_step("refresh", "ask each", called, PROVIDERS="aws gcp runpod", FAILS="--provider gcp")
    assert (done.returncode, "gcp was not renewed" in done.stdout) == (0, True)
    asked = re.findall(r"--provider (\w+)", (called / "calls").read_text())
    assert asked == ["aws", "gcp", "runpod"]
    assert (called / "output").read_text() == "code=1\n"
    assert prices_step("publish", "a provider that was not", called, CODE="1").returncode == 1
    assert prices_step("publish", "a provider that was not", called, CODE="0").returncode == 0
