"""The soak's parts: everything once, each in an hour, and going on where they were broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import soak
from tests.patience import PATIENCE_S, until

ROOT = Path(__file__).parent.parent.parent
GREEN = soak.Item("green", 1.0, ("-c", "print('seed {seed}')"))
RED = soak.Item("red", 1.0, ("-c", "raise SystemExit('no')"))


@pytest.mark.parametrize("count", [12, 14])
def test_parts_hold_every_item_once_in_an_hour(count: int) -> None:
    """Of the list; the files of marked tests are spread among them likewise."""
    items = list(soak.ITEMS)
    parts = [soak.part(items, number, count) for number in range(1, count + 1)]
    assert sorted(item.name for each in parts for item in each) == sorted(item.name for item in items)
    assert max(sum(item.minutes for item in each) for each in parts) < 60


def test_what_is_green_is_not_done_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What failed is; both name their seed."""
    assert list(soak.played(soak.Soak(tmp_path), [GREEN, RED])) == [("green", "green"), ("failed", "red")]
    first = capfd.readouterr().out
    assert list(soak.played(soak.Soak(tmp_path), [GREEN, RED])) == [("done before", "green"), ("failed", "red")]
    seed = (tmp_path / "green.log").read_text().strip().removeprefix("seed ")
    assert f"green: CLOUDTRAIN_SEED={seed} python" in first
    assert f"CLOUDTRAIN_SEED={seed}: seed {seed}" in capfd.readouterr().out


def test_another_version_begins_anew(tmp_path: Path) -> None:
    """A record of other sources says nothing."""
    done = soak.Soak(tmp_path)
    done.run(GREEN)
    assert done.record(GREEN) is not None
    done.version = "another"
    assert done.record(GREEN) is None


def test_an_item_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    """124, as `timeout` says."""
    code = (
        f"import subprocess, time; print(subprocess.Popen(['sleep', '{PATIENCE_S}']).pid, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert soak.ended(process, 0.1) == 124  # type: ignore[arg-type]
    until(lambda: not running(child))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_part_that_is_broken_off_ends_its_item(tmp_path: Path, number: int) -> None:
    """Otherwise the item would run twice when the part goes on."""
    item = f"import os, time; open('{tmp_path}/new', 'w').write(str(os.getpid())); os.rename('{tmp_path}/new', '{tmp_path}/pid'); time.sleep({PATIENCE_S})"
    program = (
        f"from tests import soak; soak.provide_pulumi = int; "
        f"soak.found = lambda: [soak.Item('waits', 1.0, ('-c', {item!r}))]; "
        f"raise SystemExit(soak.main(['1/1', '{tmp_path}/records']))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        until((tmp_path / "pid").exists)
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "broken off" in said.splitlines()[-1]
    until(lambda: not running(int((tmp_path / "pid").read_text())))


def running(pid: int) -> bool:
    """Whether a process is alive."""
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
