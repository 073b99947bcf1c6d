"""Written files before the judges that their makers have: actionlint, zizmor, the schemas, systemd; and played by act.

The tools are made once into the cache (`tests/ci_tools/provide.py`), which takes minutes; so all of it is the soak's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.nights.schedule import files, options, place
from cloudtrain.nights.schedule.options import Schedule
from cloudtrain.nights.schedule.place import Place
from tests.ci_tools import provide
from tests.nights.schedule import option_sets, runners
from tests.nights.schedule.option_sets import SET

pytestmark = pytest.mark.soak
SETS = range(20)
OWNER = "acme/tunes"


@pytest.fixture(scope="session")
def tools() -> Path:
    """The folder with the programs."""
    return provide.provide() / "bin"


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A repository with a commit, as act and gitlab-ci-local want one."""
    root = tmp_path / "tunes"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    git(root, "remote", "add", "origin", f"https://github.com/{OWNER}.git")
    (root / "cloudtrain.yaml").write_text("model: qwen3-0.6b\ndata: data.jsonl\n")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "first")
    return place.here(root)


def git(root: Path, *words: str) -> None:
    """A command of git."""
    subprocess.run(["git", "-C", str(root), *words], check=True)


def written(number: int, form: str, here: Place) -> list[Path]:
    """The files of a random set of options."""
    schedule = option_sets.schedule(number, form)
    files.write(schedule, here)
    return [here.root / path for path in files.texts(schedule, here)]


def judged(here: Place, *words: str | Path) -> None:
    """A program that finds nothing."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(here.root.parent)}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=here.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("number", SETS)
def test_github_s_file_is_clean_for_every_judge(number: int, here: Place, tools: Path) -> None:
    (path,) = written(number, "github", here)
    judged(here, tools / "actionlint", "-no-color", path)
    judged(here, tools / "zizmor", "--offline", "--no-progress", "--persona", "pedantic", path)
    judged(here, tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path)


@pytest.mark.parametrize("number", SETS)
def test_gitlab_s_file_is_of_its_schema(number: int, here: Place, tools: Path) -> None:
    (path,) = written(number, "gitlab", here)
    judged(here, tools / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", path)
    (here.root / ".gitlab-ci.yml").write_text(f"include:\n  - local: {path.relative_to(here.root)}\n")
    judged(here, tools / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", here.root / ".gitlab-ci.yml")


@pytest.mark.parametrize("number", SETS)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="a machine without systemd")
def test_systemd_reads_the_timer_as_it_is_meant(number: int, here: Place) -> None:
    service, timer = written(number, "systemd", here)
    judged(here, "systemd-analyze", "verify", "--user", "--man=no", service, timer)
    when = next(line for line in timer.read_text().splitlines() if line.startswith("OnCalendar="))
    judged(here, "systemd-analyze", "calendar", "--iterations=3", when.removeprefix("OnCalendar="))


def test_the_judges_see_what_is_wrong(here: Place, tools: Path) -> None:
    (name,) = files.write(options.checked(**SET), here)
    path = here.root / name
    text = path.read_text()
    for before, after, words in (
        ("timezone: ", "timezone: Nowhere/", (tools / "actionlint",)),
        (text[text.index("@") : text.index(" # v")], "@v5", (tools / "zizmor", "--offline")),
        ("jobs:\n", "job:\n", (tools / "check-jsonschema", "--builtin-schema", "vendor.github-workflows")),
    ):
        assert before in text
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(AssertionError):
            judged(here, *words, path)


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A folder with a `cloudtrain` that notes how it is called, and what it is told."""
    folder = tmp_path / "stub"
    folder.mkdir()
    script = folder / "cloudtrain"
    script.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"with open({str(tmp_path / 'called')!r}, 'a') as log:\n"
        "    log.write(json.dumps([sys.argv[1:], dict(os.environ), os.listdir()]) + '\\n')\n"
        "if sys.argv[1:3] == ['night', 'tick']:\n"
        "    for name in ('GITHUB_OUTPUT', 'GITHUB_STEP_SUMMARY'):\n"
        "        if os.environ.get(name):\n"
        "            open(os.environ[name], 'a').write('outcome=started\\n')\n"
        "    sys.exit(int(os.environ.get('STUB_EXIT', '0')))\n"
    )
    script.chmod(0o755)
    return folder


def calls(stub: Path) -> Iterator[tuple[list[str], dict[str, str], list[str]]]:
    """What the stub noted."""
    log = stub.parent / "called"
    for line in log.read_text().splitlines() if log.exists() else ():
        yield tuple(json.loads(line))


def play_on_github(
    here: Place, tools: Path, stub: Path, schedule: Schedule, **more: str
) -> subprocess.CompletedProcess[str]:
    """One scheduled run with the stub on PATH, and what a repository would have set."""
    (path,) = files.write(schedule, here)
    variables = {"CLOUDTRAIN_STATE": "s3://acme-runs/nights", "AWS_ROLE_ARN": "arn:aws:iam::1:role/nights"}
    secrets = {"TEAM_HOOK": "https://hooks.example/T", "GITHUB_TOKEN": "ghs_fake"}
    more["PATH"] = f"{stub}:{os.environ['PATH']}"
    return runners.github(tools, here.root, path, runners.Given(more, variables, secrets), stub.parent)


def test_act_runs_one_tick_with_what_the_file_grants(here: Place, tools: Path, stub: Path) -> None:
    schedule = options.checked(
        **{**SET, "repository": OWNER, "comment": "issue", "notify_from": "TEAM_HOOK", "latest": "6h"}
    )
    tokens = {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://127.0.0.1:1/", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "fake"}
    done = play_on_github(here, tools, stub, schedule, **tokens)
    assert done.returncode == 0, done.stdout + done.stderr
    installed, ticked = calls(stub)
    assert installed[0] == ["doctor", "--install-pulumi", "--no-checks"]
    assert ticked[0] == schedule.tick().split()[1:]
    assert "cloudtrain.yaml" in ticked[2]
    told = ticked[1]
    assert told["CLOUDTRAIN_STATE"] == "s3://acme-runs/nights"
    assert told["AWS_ROLE_ARN"] == "arn:aws:iam::1:role/nights"
    assert told["TEAM_HOOK"] == "https://hooks.example/T"
    assert told["GITHUB_TOKEN"] == "ghs_fake"
    assert told["ACTIONS_ID_TOKEN_REQUEST_URL"] == tokens["ACTIONS_ID_TOKEN_REQUEST_URL"]
    assert {"TEAM_HOOK", "AWS_ROLE_ARN"} & installed[1].keys() == set()
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        assert told[name]


@pytest.mark.parametrize("code", [100, 6, 7])
def test_act_is_red_when_a_tick_is(code: int, here: Place, tools: Path, stub: Path) -> None:
    done = play_on_github(here, tools, stub, options.checked(**{**SET, "repository": OWNER}), STUB_EXIT=str(code))
    assert done.returncode != 0
    assert [argv[:2] for argv, *_ in calls(stub)] == [["doctor", "--install-pulumi"], ["night", "tick"]]


def test_act_runs_nothing_in_a_fork(here: Place, tools: Path, stub: Path) -> None:
    git(here.root, "remote", "set-url", "origin", "https://github.com/somebody/tunes.git")
    play_on_github(here, tools, stub, options.checked(**{**SET, "repository": OWNER}))
    assert list(calls(stub)) == []


@pytest.mark.parametrize(
    ("more", "ticks"), [({}, 1), ({"CLOUDTRAIN_SCHEDULE": "nightly"}, 1), ({"CLOUDTRAIN_SCHEDULE": "b"}, 0)]
)
def test_gitlab_s_job_runs_for_its_own_schedule(
    more: dict[str, str], ticks: int, here: Place, tools: Path, stub: Path
) -> None:
    if shutil.which("rsync") is None:
        pytest.fail("gitlab-ci-local calls `rsync`, which this machine lacks: apt-get install rsync")
    schedule = options.checked(**{**SET, "ci": "gitlab"})
    files.write(schedule, here)
    (here.root / ".gitlab-ci.yml").write_text(f"include:\n  - local: {next(iter(files.texts(schedule, here)))}\n")
    git(here.root, "add", ".")  # only what git knows is included
    path = {"PATH": f"{stub}:{os.environ['PATH']}"}
    done = runners.gitlab(tools, here.root, runners.Given(path, more), stub.parent)
    assert [argv for argv, *_ in calls(stub) if argv[0] == "night"] == [schedule.tick().split()[1:]] * ticks, (
        done.stdout + done.stderr
    )
    assert done.returncode == 0 or not ticks, done.stdout + done.stderr
