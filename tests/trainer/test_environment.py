"""The trainer's environment: found by its key, built once, never half, with errors that say what to do."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloudtrain import backends
from cloudtrain.errors import CloudtrainError, Unavailable, UsageError
from cloudtrain.trainer import environment
from tests.patience import until
from tests.trainer_fixtures import trainer_python

__all__ = ["trainer_python"]

# Stands in for uv: notes its arguments, makes the folder, fails where it is told to.
FAKE_UV = """#!/bin/sh
echo "$*" >> "$FAKE_LOG"
case "$*" in
  *"$FAKE_FAIL"*) echo "$FAKE_SAYS" >&2; exit 2 ;;
  *" venv "*) while [ -e "$FAKE_HOLD" ]; do sleep 0.05; done; for last; do :; done; mkdir -p "$last/bin"; ln -s /bin/true "$last/bin/python" ;;
esac
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uv that only notes what it is asked; returns its log. The cache is empty."""
    program, log = tmp_path / "uv", tmp_path / "uv.log"
    program.write_text(FAKE_UV)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(environment, "uv_binary", lambda: str(program))
    for name, value in {"LOG": str(log), "FAIL": "nothing at all", "SAYS": "", "HOLD": str(tmp_path / "hold")}.items():
        monkeypatch.setenv(f"FAKE_{name}", value)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    return log


def fail(monkeypatch: pytest.MonkeyPatch, where: str, says: str) -> None:
    monkeypatch.setenv("FAKE_FAIL", where)
    monkeypatch.setenv("FAKE_SAYS", says)


def test_it_is_built_once_and_found_again(uv: Path) -> None:
    """The first call builds and says so; the second neither builds nor speaks."""
    said: list[str] = []
    assert environment.find("cpu") is None
    python = environment.ensure("cpu", said.append)
    calls = uv.read_text()
    assert said
    assert environment.ensure("cpu", said.append) == python == environment.find("cpu")
    assert uv.read_text() == calls


def test_packages_are_installed_by_their_hashes(uv: Path) -> None:
    """Everything but PyTorch's own build comes from the lock with its hash, and nothing beyond the lock."""
    environment.ensure("cpu")
    installs = [line for line in uv.read_text().splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert "--torch-backend cpu torch==" in installs[0]
    assert "--require-hashes" in installs[1]
    assert "requirements.lock" in installs[1]
    assert all("--no-deps" in line for line in installs)


def test_without_pytorchs_index_the_larger_build_is_taken_and_said(uv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPI's build replaces it for a CPU, by hash, with a sentence; for ROCm nothing can replace it."""
    fail(monkeypatch, "--torch-backend", "error: Failed to fetch: dns error")
    said: list[str] = []
    environment.ensure("cpu", said.append)
    assert any("larger build" in sentence for sentence in said)
    assert "--require-hashes --requirements" in uv.read_text()
    assert "torch.lock" in uv.read_text()
    with pytest.raises(Unavailable):
        environment.ensure("rocm")


@pytest.mark.parametrize(
    ("says", "kind", "part"),
    [
        ("error: Failed to fetch: `x`\n  Caused by: dns error", Unavailable, "could not be fetched"),
        ("error: failed to write: No space left on device", CloudtrainError, "the disk is full"),
        ("error: hash mismatch for `trl`", CloudtrainError, "hash mismatch for `trl`"),
    ],
)
def test_a_failed_build_says_why_and_leaves_nothing(
    uv: Path, monkeypatch: pytest.MonkeyPatch, says: str, kind: type[CloudtrainError], part: str
) -> None:
    """uv's last words are in the message, and no half environment is found or left lying about."""
    fail(monkeypatch, "requirements.lock", says)
    with pytest.raises(kind, match=part):
        environment.ensure("cpu")
    assert environment.find("cpu") is None
    assert [path.suffix for path in (uv.parent / "cache" / "environments").iterdir()] == [".lock"]


def test_a_half_built_one_is_never_used(uv: Path) -> None:
    """What a killed builder left is cleared and built anew."""
    python = environment.ensure("cpu")
    python.parent.parent.rename(python.parent.parent.with_suffix(".building"))
    assert environment.find("cpu") is None
    (python.parent.parent.with_suffix(".building") / "half").touch()
    assert environment.ensure("cpu") == python
    assert not (python.parent.parent / "half").exists()


def test_two_builders_make_one(uv: Path) -> None:
    """The second waits for the first, says so, and uses its work."""
    hold = uv.with_name("hold")
    hold.touch()
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        hold.unlink()

    first = threading.Thread(target=environment.ensure, args=("cpu",))
    first.start()
    until(uv.exists)
    assert environment.ensure("cpu", say) == environment.find("cpu")
    first.join()
    assert said == ["another process is making the trainer's environment; waiting for it"]
    assert uv.read_text().count(" venv ") == 1


def test_a_killed_builder_does_not_block_the_next(uv: Path) -> None:
    """The lock goes with the process that held it."""
    lock = environment.ensure("cpu").parent.parent.with_suffix(".lock")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl,time; f=open({str(lock)!r},'w'); fcntl.flock(f,2); print(1,flush=True); time.sleep(3600)",
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    lock.with_suffix("").rename(lock.with_suffix(".gone"))
    assert environment.ensure("cpu").exists()


def test_another_lock_file_is_another_environment(uv: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A changed lock is not served by the old environment; each flavour has its own."""
    before = environment.ensure("cpu")
    assert environment.find("longcat") is None
    torch = backends.of_flavour("cpu")
    shutil.copytree(torch.folder, tmp_path / "torch")
    (tmp_path / "torch" / "requirements.lock").write_text("trl==9.9.9 \\\n")
    monkeypatch.setattr(backends, "of_flavour", lambda flavour: torch._replace(folder=tmp_path / "torch"))
    assert environment.find("cpu") is None
    said: list[str] = []
    assert environment.ensure("cpu", said.append) != before
    assert said[0].startswith("making the trainer's environment"), "what the fake uv makes says nothing of its Python"


OWN = ".".join(map(str, sys.version_info[:2]))


@pytest.mark.parametrize(("pythons", "asked"), [(["3.1", "3.2"], "3.1"), (["3.1", OWN], sys.executable)])
def test_packages_that_want_another_python_get_it(
    uv: Path, monkeypatch: pytest.MonkeyPatch, pythons: list[str], asked: str
) -> None:
    """uv is asked for the first version that the flavour names where this Python is none of them; else it is this one."""
    torch = backends.of_flavour("cpu")
    about = torch.flavours["cpu"]
    wanting = torch._replace(flavours={"cpu": about._replace(packages={**about.packages, "pythons": pythons})})
    monkeypatch.setattr(backends, "of_flavour", lambda flavour: wanting)
    assert environment.ensure("cpu") == environment.find("cpu")
    (made,) = [line for line in uv.read_text().splitlines() if " venv " in line]
    assert f"--python {asked} " in made


def test_an_environment_of_an_older_description_is_named_once(uv: Path) -> None:
    """When the key of a flavour has changed, the folder that is not used any more is said; one of another Python is not."""
    older, other = (environment._folder("cpu").parent / f"cpu-{letter * 16}" for letter in "ab")
    for folder, version in ((older, ".".join(map(str, sys.version_info[:3]))), (other, "3.2.1")):
        folder.mkdir(parents=True)
        (folder / "pyvenv.cfg").write_text(f"home = /\nversion_info = {version}\n")
    said: list[str] = []
    environment.ensure("cpu", said.append)
    assert said[0] == f"the trainer's packages have changed; this version does not use {older} any more"
    assert str(other) not in " ".join(said)
    said.clear()
    environment.ensure("cpu", said.append)
    assert said == []


def test_an_unknown_flavour_gets_the_nearest_one() -> None:
    """A typing slip is answered with the name that was meant."""
    with pytest.raises(UsageError) as refused:
        environment.find("rcom")
    assert refused.value.hint == "did you mean `rocm`?"


def test_without_a_home_folder_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and no CLOUDTRAIN_CACHE is a usage error, not a traceback."""
    monkeypatch.delenv("CLOUDTRAIN_CACHE", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(UsageError) as refused:
        environment.ensure("cpu")
    assert "CLOUDTRAIN_CACHE" in refused.value.hint


def test_a_cache_that_cannot_be_written_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file in the way of the cache folder is told as such."""
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CloudtrainError, match="could not be written"):
        environment.ensure("cpu")


def test_uv_is_found_in_its_package_or_on_the_path() -> None:
    """The program that is found runs."""
    done = subprocess.run([environment.uv_binary(), "--version"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("uv ")


@pytest.mark.trainer
def test_the_real_one_imports_the_trainers_packages(trainer_python: Path) -> None:
    """The built environment is relocated and works: the packages of the lock import from it."""
    code = "import torch, peft, bitsandbytes; print(torch.__version__)"
    done = subprocess.run([trainer_python, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("2.13.0"), done.stderr
