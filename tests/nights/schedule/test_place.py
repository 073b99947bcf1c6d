"""The repository around a spec: its root, its name at its forge, names that are taken."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule import files, options, place
from tests.nights.schedule.option_sets import SET


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with a spec."""
    subprocess.run(["git", "init", "-q", str(tmp_path / "tunes")], check=True)
    (tmp_path / "tunes" / "runs").mkdir()
    (tmp_path / "tunes" / "runs" / "a.yaml").write_text("model: x\n")
    return tmp_path / "tunes"


@pytest.mark.parametrize(
    ("address", "host", "name"),
    [
        ("git@github.com:acme/tunes.git", "github.com", "acme/tunes"),
        ("https://github.com/acme/tunes", "github.com", "acme/tunes"),
        ("https://me:secret@gitlab.example.org/group/sub/tunes.git", "gitlab.example.org", "group/sub/tunes"),
        ("ssh://git@git.example.org:2222/acme/tunes.git/", "git.example.org", "acme/tunes"),
        ("../elsewhere", "", ""),
        ("/srv/git/tunes.git", "", ""),
        ("https://github.com/acme/tu'nes", "", ""),
    ],
)
def test_the_remote_says_what_the_repository_is_called(repository: Path, address: str, host: str, name: str) -> None:
    subprocess.run(["git", "-C", str(repository), "remote", "add", "origin", address], check=True)
    assert place.here(repository / "runs") == (repository, True, host, name)


def test_without_git_the_folder_itself_counts(tmp_path: Path) -> None:
    assert place.here(tmp_path) == (tmp_path, False, "", "")


def test_a_spec_is_named_from_the_root(repository: Path) -> None:
    assert (
        place.inside(repository / "runs" / ".." / "runs" / "a.yaml", place.here(repository), "the spec")
        == "runs/a.yaml"
    )


def test_a_spec_outside_is_refused_also_behind_a_link(repository: Path) -> None:
    outside = repository.parent / "b.yaml"
    outside.write_text("model: x\n")
    (repository / "b.yaml").symlink_to(outside)
    for path in (outside, repository / "b.yaml"):
        with pytest.raises(UsageError, match="is outside the repository"):
            place.inside(path, place.here(repository), "the spec")
    with pytest.raises(UsageError, match="is no file"):
        place.inside(repository / "runs", place.here(repository), "the spec")


@pytest.mark.parametrize("form", options.FORMS)
def test_a_name_is_one_spec_s_in_all_forms(repository: Path, form: str) -> None:
    here = place.here(repository)
    files.write(options.checked(**{**SET, "ci": form, "name": "x"}), here)
    for other in options.FORMS:
        place.refuse_taken(options.checked(**{**SET, "ci": other, "name": "x"}), here)
        place.refuse_taken(options.checked(**{**SET, "ci": other, "name": "y", "spec": "other.yaml"}), here)
        with pytest.raises(UsageError, match=r"the name x is the schedule of `cloudtrain.yaml`"):
            place.refuse_taken(options.checked(**{**SET, "ci": other, "name": "x", "spec": "other.yaml"}), here)


def test_a_file_of_somebody_else_is_left(repository: Path) -> None:
    here, schedule = place.here(repository), options.checked(**SET)
    path = repository / ".github" / "workflows" / "cloudtrain-nightly.yml"
    path.parent.mkdir(parents=True)
    path.write_text("name: mine\n")
    with pytest.raises(UsageError, match="not written by `cloudtrain schedule`"):
        place.refuse_taken(schedule, here)


def test_a_head_of_another_form_is_none_of_ours(repository: Path) -> None:
    here, schedule = place.here(repository), options.checked(**SET)
    files.write(schedule, here)
    there = repository / ".gitlab" / "cloudtrain-nightly.yml"
    there.parent.mkdir()
    there.write_bytes((repository / ".github/workflows/cloudtrain-nightly.yml").read_bytes())
    assert dict(place.written(here)) == {
        ".github/workflows/cloudtrain-nightly.yml": schedule,
        ".gitlab/cloudtrain-nightly.yml": None,
    }
