"""`cloudtrain schedule`: what it prints and writes, what it refuses before anything is written, and `--check`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.nights.schedule import option_sets

Command = Callable[..., Result]
BUCKET = "s3://acme-runs/nights?region=eu-west-1"
FILE = ".github/workflows/cloudtrain-nightly.yml"
WHEN = ("--at", "01:17", "--timezone", "Europe/Berlin")
GITHUB = ("schedule", "cloudtrain.yaml", "--ci", "github", *WHEN)
ROW = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


@pytest.fixture
def tunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a spec and its data; the state is a bucket, which nobody asks."""
    root = tmp_path / "tunes"
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "remote", "add", "origin", "git@github.com:acme/tunes.git"], check=True)
    spec(root / "cloudtrain.yaml")
    monkeypatch.chdir(root)
    monkeypatch.setenv("CLOUDTRAIN_STATE", BUCKET)
    monkeypatch.setenv("CLOUDTRAIN_NOW", "2026-11-30T12:00:00Z")
    return root


def spec(path: Path, model: str = "qwen3-0.6b", data: str = "data.jsonl") -> None:
    """A spec with two rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"model: {model}\ndata: {data}\n")
    (path.parent / data).write_text(ROW * 2)


def files_of(root: Path) -> set[str]:
    """Everything that is no part of git, nor of the spec."""
    kept = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return {path for path in kept if not path.startswith(".git/")} - {"cloudtrain.yaml", "data.jsonl"}


def test_it_prints_the_file_and_what_a_person_does(tunes: Path, cloudtrain: Command) -> None:
    done = cloudtrain(*GITHUB, "--comment", "issue")
    assert done.code == 0
    assert done.out.startswith("# Written by the command below")
    assert "    if: github.repository == 'acme/tunes'\n" in done.out
    for word in (
        "cloudtrain doctor aws --setup --forge github --repository acme/tunes --branch main",
        "aws iam update-role --role-name cloudtrain-nights --max-session-duration 43200",
        f"gh variable set CLOUDTRAIN_STATE --body '{BUCKET}'",
        "no package of cloudtrain is published yet",
        "commit .github/workflows/cloudtrain-nightly.yml to `main`",
    ):
        assert word in done.err
    assert files_of(tunes) == set()


def test_written_twice_it_is_the_same_and_check_is_green(tunes: Path, cloudtrain: Command) -> None:
    printed = cloudtrain(*GITHUB).out
    assert cloudtrain(*GITHUB, "--write").code == 0
    assert (tunes / FILE).read_text() == printed
    assert f"{FILE} is as it would be written" in cloudtrain(*GITHUB, "--write").err
    assert (tunes / FILE).read_text() == printed
    assert files_of(tunes) == {FILE}
    for words in (GITHUB, ("schedule",), ("schedule", "cloudtrain.yaml"), ("schedule", "--name", "nightly")):
        assert cloudtrain(*words, "--check").code == 0


def test_check_is_red_with_a_short_diff_after_an_edit(tunes: Path, cloudtrain: Command) -> None:
    cloudtrain(*GITHUB, "--write")
    text = (tunes / FILE).read_text()
    (tunes / FILE).write_text(text.replace("timeout-minutes: 20", "timeout-minutes: 90"))
    for words in (GITHUB, ("schedule",)):
        done = cloudtrain(*words, "--check")
        assert done.code == 1
        assert "-    timeout-minutes: 90\n+    timeout-minutes: 20\n" in done.out
        assert "--write` writes it" in done.err
    (tunes / FILE).write_text(text)
    assert cloudtrain("schedule", "--check").code == 0
    (tunes / FILE).write_text(text.replace("--branch main", "--branch maim"))
    assert cloudtrain("schedule", "--check").code == 1
    (tunes / FILE).write_text("name: mine\n")
    assert "its head is not one" in cloudtrain("schedule", "--check").err


def test_check_with_other_options_is_red(tunes: Path, cloudtrain: Command) -> None:
    cloudtrain(*GITHUB, "--write")
    assert cloudtrain(*GITHUB, "--check", "--max-cost", "12").code == 1
    assert cloudtrain(*GITHUB, "--check", "--name", "other").code == 1
    assert cloudtrain("schedule", "--check", "--name", "other").code == 2
    assert "are needed" in cloudtrain("schedule", "--check", "--max-cost", "12").err


def test_check_tells_a_spec_that_is_gone(tunes: Path, cloudtrain: Command) -> None:
    cloudtrain(*GITHUB, "--write")
    (tunes / "cloudtrain.yaml").unlink()
    done = cloudtrain("schedule", "--check")
    assert (done.code, "its spec `cloudtrain.yaml` is not there" in done.err) == (1, True)


def test_check_asks_no_state(tunes: Path, cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    cloudtrain(*GITHUB, "--write")
    monkeypatch.delenv("CLOUDTRAIN_STATE")
    assert cloudtrain("schedule", "--check").code == 0


@pytest.mark.parametrize("number", range(20))
def test_random_options_are_written_and_checked(number: int, tunes: Path, cloudtrain: Command) -> None:
    line = option_sets.argv(number)
    if line[0] != "cloudtrain.yaml":
        spec(tunes / line[0])
    (tunes / "vendor").mkdir()
    (tunes / "vendor" / "cloudtrain-1.2-py3-none-any.whl").touch()
    assert cloudtrain("schedule", *line, "--write").code == 0
    assert cloudtrain("schedule", *line, "--check").code == 0
    assert cloudtrain("schedule", "--check").code == 0


def test_the_schedule_is_made_from_a_folder_below_the_root(
    tunes: Path, cloudtrain: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec(tunes / "runs" / "a.yaml")
    monkeypatch.chdir(tunes / "runs")
    done = cloudtrain("schedule", "a.yaml", "--ci", "github", *WHEN)
    assert "cloudtrain night tick runs/a.yaml --name a " in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--timezone", "Europe/Berlni"), "the nearest is Europe/Berlin"),
        (("--latest", "10m"), "shorter than the 30 minutes between two ticks"),
        (("--name", "a b"), "letters a-z"),
        (("--at", "noon"), "HH:MM"),
        (("--ci", "gitlub"), "did you mean `gitlab`?"),
        (("--write", "--check"), "--check writes nothing"),
    ],
)
def test_bad_options_write_nothing(tunes: Path, cloudtrain: Command, words: tuple[str, ...], says: str) -> None:
    done = cloudtrain(*GITHUB, "--write", *words)
    assert (done.code, says in done.err) == (2, True), done.err
    assert files_of(tunes) == set()


@pytest.mark.parametrize("missing", ["--ci", "--at", "--timezone"])
def test_what_has_to_be_said_is_asked_for(tunes: Path, cloudtrain: Command, missing: str) -> None:
    words = list(GITHUB)
    del words[words.index(missing) : words.index(missing) + 2]
    done = cloudtrain(*words, "--write")
    assert (done.code, "are needed" in done.err) == (2, True)


def test_a_state_of_this_machine_is_refused_for_ci_only(
    tunes: Path, cloudtrain: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(tunes.parent / "state"))
    for form in ("github", "gitlab"):
        done = cloudtrain("schedule", "cloudtrain.yaml", "--ci", form, *WHEN, "--write")
        assert (done.code, "a folder of this machine" in done.err) == (2, True)
    assert files_of(tunes) == set()
    for form in ("cron", "systemd"):
        done = cloudtrain("schedule", "cloudtrain.yaml", "--ci", form, *WHEN)
        assert (done.code, f"cloudtrain config set state {tunes.parent / 'state'}" in done.err) == (0, True)


def test_a_spec_or_data_outside_the_repository_is_refused(tunes: Path, cloudtrain: Command) -> None:
    spec(tunes.parent / "away" / "a.yaml")
    done = cloudtrain("schedule", "../away/a.yaml", "--ci", "github", *WHEN, "--write")
    assert (done.code, "the spec `../away/a.yaml` is outside the repository" in done.err) == (2, True)
    (tunes / "cloudtrain.yaml").write_text("model: qwen3-0.6b\ndata: ../away/data.jsonl\n")
    done = cloudtrain(*GITHUB, "--write")
    assert (done.code, "is outside the repository" in done.err) == (2, True)
    assert cloudtrain("schedule", "cloudtrain.yaml", "--ci", "cron", *WHEN).code == 0
    assert files_of(tunes) == set()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: qwen3-0.6b\ndata: data.jsonl\nlernrate: 1\n", "cloudtrain.yaml:3"),
        ("model: qwen3-0.7b\ndata: data.jsonl\n", "cloudtrain.yaml:1"),
        ("model: qwen3-0.6b\ndata: nothing.jsonl\n", "nothing.jsonl"),
        ("{", "cloudtrain.yaml"),
    ],
)
def test_a_spec_that_up_would_refuse_is_refused(tunes: Path, cloudtrain: Command, text: str, says: str) -> None:
    (tunes / "cloudtrain.yaml").write_text(text)
    done = cloudtrain(*GITHUB, "--write")
    assert (done.code, says in done.err) == (2, True), done.err
    assert files_of(tunes) == set()


def test_a_model_that_only_the_hub_knows_is_warned_of(tunes: Path, cloudtrain: Command) -> None:
    spec(tunes / "cloudtrain.yaml", model="acme/new-model")
    done = cloudtrain(*GITHUB)
    assert (done.code, "the first tick asks the hub" in done.err) == (0, True), done.err


def test_what_git_does_not_know_is_warned_of(tunes: Path, cloudtrain: Command) -> None:
    subprocess.run(["git", "add", "cloudtrain.yaml"], check=True)
    told = cloudtrain(*GITHUB).err
    assert "warning: `data.jsonl` is not known to git: commit it" in told
    assert "`cloudtrain.yaml` is not known" not in told
    subprocess.run(["git", "add", "."], check=True)
    assert "warning" not in cloudtrain(*GITHUB).err


def test_hours_that_are_odd_are_warned_of_and_written(tunes: Path, cloudtrain: Command) -> None:
    words = ("schedule", "cloudtrain.yaml", "--ci", "github", "--timezone", "Europe/Berlin", "--at", "02:30", "--write")
    done = cloudtrain(*words)
    assert done.code == 0
    assert "warning: --at 02:30: at the full and the half hour" in done.err
    assert "warning: 02:30 does not exist on 2027-03-28" in done.err
    assert files_of(tunes) == {FILE}


def test_a_wheel_that_is_not_in_the_repository_is_refused(tunes: Path, cloudtrain: Command) -> None:
    done = cloudtrain(*GITHUB, "--install", "vendor/x.whl", "--write")
    assert (done.code, "--install `" in done.err, files_of(tunes)) == (2, True, set())


def test_two_schedules_of_one_name_are_refused(tunes: Path, cloudtrain: Command) -> None:
    cloudtrain(*GITHUB, "--write")
    spec(tunes / "other.yaml")
    done = cloudtrain("schedule", "other.yaml", "--ci", "gitlab", *WHEN, "--name", "nightly", "--write")
    assert (done.code, "the name nightly is the schedule of `cloudtrain.yaml`" in done.err) == (2, True)


def test_gitlab_s_two_calls_make_the_schedule(tunes: Path, cloudtrain: Command) -> None:
    subprocess.run(["git", "remote", "set-url", "origin", "git@gitlab.example.org:group/sub/tunes.git"], check=True)
    told = cloudtrain("schedule", "cloudtrain.yaml", "--ci", "gitlab", *WHEN).err
    api = "https://gitlab.example.org/api/v4/projects/group%2Fsub%2Ftunes"
    assert f"{api}/pipeline_schedules --form description=cloudtrain-nightly --form ref=main" in told
    assert "--form 'cron=17,47 1-9 * * *' --form cron_timezone=Europe/Berlin" in told
    assert f"{api}/pipeline_schedules/$ID/variables --form key=CLOUDTRAIN_SCHEDULE --form value=nightly" in told
    assert "- local: .gitlab/cloudtrain-nightly.yml" in told


def test_systemd_s_pair_is_printed_as_two_files(tunes: Path, cloudtrain: Command) -> None:
    done = cloudtrain("schedule", "cloudtrain.yaml", "--ci", "systemd", *WHEN)
    assert [line for line in done.out.splitlines() if line.startswith("# .cloudtrain/")] == [
        "# .cloudtrain/cloudtrain-nightly.service",
        "# .cloudtrain/cloudtrain-nightly.timer",
    ]
    assert "loginctl enable-linger" in done.err
