"""`night rehearse`: a whole night on a fake cloud, from the tick that begins it to the one that finds no change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign.client import ROW
from tests.engine.test_simulate import Newcomer
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.engine
SPEC = "model: HuggingFaceTB/SmolLM2-135M-Instruct\nmethod: lora\ndata: data.jsonl\nmax_steps: 20\n"


def test_a_night_is_rehearsed_from_start_to_no_change(tmp_path: Path) -> None:
    """Every tick, the summary, the empty ledger; nothing of it is kept but the result."""
    person = Newcomer(tmp_path)
    (person.folder / "cloudtrain.yaml").write_text(SPEC)
    (person.folder / "data.jsonl").write_text((ROW + "\n") * 4)
    words = [sys.executable, "-m", "cloudtrain", "night", "rehearse", "cloudtrain.yaml", "--on", "runpod"]
    ended = subprocess.run(
        [*words, "--hardware", "mi300x", "--name", "nightly"],
        cwd=person.folder,
        env=person.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    outcomes = [line.split(": ")[1] for line in ended.stderr.splitlines() if line.startswith("tick ")]
    assert outcomes[0] == "started", said
    assert set(outcomes[1:-2]) <= {"going on"}, said
    assert outcomes[-2:] == ["finished", "unchanged"], said
    assert "the fake cloud's ledger is empty" in ended.stderr
    assert "### `nightly`: `finished`" in ended.stdout
    assert "REAL" not in said
    assert sorted(path.name for path in person.folder.iterdir())[:2] == ["cloudtrain.yaml", "data.jsonl"]
    assert person.litter() == []
