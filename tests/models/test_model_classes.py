"""What is taken over from the shipped transformers is what it says: classes, defaults, counts of random sizes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.models import classes, config, hybrid
from cloudtrain.models.families import MODEL_TYPES
from cloudtrain.trainer import verify
from tests.models import random_configs

# Types with arithmetic that a config.json can have and transformers a class for; `gemma3` alone is a wrapper's.
KINDS = sorted(kind for kind in {*MODEL_TYPES, *hybrid.KINDS} if classes.is_taken(kind) and kind != "gemma3")


@pytest.mark.trainer
def test_the_table_of_classes_is_what_transformers_says(warm_python: Path) -> None:
    """classes.json is what describe_classes.py prints for the types that have arithmetic here."""
    script = Path(__file__).with_name("describe_classes.py")
    kinds = sorted({*MODEL_TYPES, *hybrid.KINDS})
    done = subprocess.run([warm_python, script, *kinds], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == classes.table(), f"{script.name} {' '.join(kinds)} writes the new table"


@pytest.mark.trainer
def test_counts_of_random_sizes_are_those_of_transformers(warm_python: Path, tmp_path: Path) -> None:
    """Three models of every type: the same parameters, in all and by kind, as on the meta device."""
    drawn = random_configs.configs(KINDS, 3)
    answers = verify.run(warm_python, "verify/count_parameters.py", {"configs": drawn})
    wrong, compared = [], set()
    for keys, answer in zip(drawn, answers, strict=True):
        assert "unsupported" not in answer, (keys, answer)
        ours, theirs = counted_here(keys, tmp_path), answer["counted"]
        compared.add(keys["model_type"])
        if ours != {name: theirs[name] for name in ours}:
            wrong.append((ours, theirs, keys))
    assert not wrong
    assert compared == set(KINDS)


def counted_here(keys: dict[str, Any], folder: Path) -> dict[str, int]:
    """Our counts of the model of a config.json."""
    (folder / "config.json").write_text(json.dumps(keys))
    spec = config.read(folder)
    return {"total": spec.params_total, "embedding": spec.params_embedding, "experts": spec.params_experts}


def test_every_type_with_arithmetic_has_the_defaults_of_its_class() -> None:
    """No type was added without the generated part."""
    without = {"longcat_flash_ngram", "kimi_k2"}  # no class of transformers
    assert set(classes.table()["defaults"]) == {*MODEL_TYPES, *hybrid.KINDS} - without
