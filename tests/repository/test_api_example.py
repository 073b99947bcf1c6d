"""The example of the Python interface in the documents runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from cloudtrain import api
from tests.fakes import desk_with_fake_trainer

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "api.py"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote, a whole run on this machine, its account, and nothing left."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    desk = desk_with_fake_trainer(tmp_path)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], cwd=desk, env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "plan: smollm2-135m-lora-" in done.stdout
    assert '"event": "step", ' in done.stdout
    assert "is finished: 20 steps for $" in done.stdout
    assert "no process carries" in done.stdout
    assert (desk / "result" / "adapter_config.json").exists()


def test_the_page_about_it_names_everything_there_is() -> None:
    """Every public function and record, every event and every question; and nothing that is not there."""
    page = (ROOT / "docs" / "api.md").read_text()
    told = set(get_args(api.events.Event)) | set(get_args(api.events.Question))
    there = {*api.__all__, *(kind.__name__ for kind in told)}
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)", row)} == there
