"""The trainer's packages find the token that a machine was given for gated weights where the machine says it is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.trainer
SHOW = "import huggingface_hub; print(huggingface_hub.get_token())"


def test_the_trainers_hub_client_reads_the_named_file(warm_python: Path, tmp_path: Path) -> None:
    """HF_TOKEN_PATH, beside an HF_HOME that has none."""
    (tmp_path / "hub-token").write_text("hf_PlantedSecretOfTheHub")
    variables = {"HF_TOKEN_PATH": str(tmp_path / "hub-token"), "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([warm_python, "-c", SHOW], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "hf_PlantedSecretOfTheHub"
