"""What the trainer's programs on this machine get of the environment: no keys, but for the model hub's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloudtrain import backends
from cloudtrain.trainer import tokens
from cloudtrain.trainer.keyless import without_keys

KEPT = {"HF_TOKEN": "1", "TOKENIZERS_PARALLELISM": "1", "PATH": "1", "OMP_NUM_THREADS": "1", "HTTPS_PROXY": "1"}
LOST = {"GITHUB_TOKEN": "1", "DB_PASSWORD": "1", "OPENAI_API_KEY": "1", "ACTIONS_ID_TOKEN_REQUEST_URL": "1"}


def test_a_trainer_keeps_what_is_no_key() -> None:
    """It works with it."""
    assert without_keys({**KEPT, **LOST, "AWS_PROFILE": "1", "google_application_credentials": "1"}) == KEPT


def test_the_check_of_the_data_sees_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs before anybody has agreed to anything."""
    script = tmp_path / "check.py"
    script.write_text("import json, os\nprint(json.dumps({'seen': sorted(os.environ)}))\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "PLANTED-SECRET")
    monkeypatch.setattr(tokens, "python_for", lambda flavour: Path(sys.executable))
    monkeypatch.setattr(backends, "of_flavour", lambda flavour: SimpleNamespace(program=lambda name: script))
    found = tokens.counted({"data": {"path": "x"}}, "cpu", tmp_path)
    assert found is not None
    assert "AWS_SECRET_ACCESS_KEY" not in found["seen"]
