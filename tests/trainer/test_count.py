"""Models that nothing here can count are counted once by the trainer's transformers, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import CloudtrainError, Unavailable, UsageError
from cloudtrain.estimate.memory import estimate
from cloudtrain.estimate.options import Options
from cloudtrain.models import registry
from cloudtrain.models.counted import place
from cloudtrain.trainer import count, environment, verify
from tests.conftest import Result
from tests.trainer_fixtures import trainer_python, warm_cache, warm_python

__all__ = ["trainer_python", "warm_cache", "warm_python"]  # fixtures
KEYS = {"model_type": "falcon_h1", "hidden_size": 64, "num_hidden_layers": 4}
ANSWER = {
    "counted": {
        **{"total": 1000, "embedding": 200, "linear": 700, "experts": 0, "router": 0, "active": 900, "largest": 200},
        **{"adapted": [10, 20, 30], "how": "counted by the test"},
    },
    "sizes": {"hidden": 64, "layers": 4, "heads": 4, "kv_heads": 4, "head_dim": 16, "intermediate": 128, "vocab": 3}
    | {"tied": 0},
    "positions": 512,
    "towers": 0,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder of a type without arithmetic, and an empty cache."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(KEYS))
    return model


def answered(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> list[Any]:
    """Let the program answer so; the list holds what it was asked."""
    asked: list[Any] = []
    monkeypatch.setattr(environment, "ensure", lambda flavour, say: Path("python"))
    monkeypatch.setattr(verify, "run", lambda python, script, document, failed: asked.append(document) or [answer])
    return asked


def test_a_model_is_counted_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time, and the plain registry, go by the record; sizes and positions are those of the answer."""
    asked, said = answered(monkeypatch, ANSWER), []
    for _ in range(2):
        spec = count.find(str(folder), said.append)
        assert (spec.params_total, spec.family, spec.published.positions) == (1000, "falcon_h1", 512)
    assert asked == [{"configs": [KEYS]}]
    assert said == ["counting the parameters of a model of type `falcon_h1` (some seconds)"]
    assert registry.find(str(folder)) == spec
    assert [spec.params_lora(2, targets) for targets in ("qv", "attention", "all-linear")] == [20, 40, 60]


def test_an_estimate_of_a_counted_model_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no estimate by phases; the depth can be changed as with any model."""
    answered(monkeypatch, ANSWER)
    spec = count.find(str(folder))
    said = estimate(spec, Options(method="lora", sequence_length=16)).assumptions[0]
    assert "1,000 parameters counted by the test; not estimated by phases" in said
    assert estimate(spec, Options(method="lora", sequence_length=16, layers=2)).params_total == 600


def test_what_transformers_refuses_is_refused_in_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is kept."""
    answered(monkeypatch, {"unsupported": "transformers 5.23.0 refuses it: KeyError: 'x'"})
    with pytest.raises(UsageError, match=r"falcon_h1`: transformers 5.23.0 refuses it"):
        count.find(str(folder))
    assert not place(KEYS).exists()


@pytest.mark.parametrize("broken", [Unavailable("no network", "repeat"), CloudtrainError("the disk is full", "free")])
def test_without_an_environment_the_model_stays_uncounted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, broken: CloudtrainError
) -> None:
    """The sentence names the type and what is in the way."""

    def fail(flavour: str, say: Callable[[str], None]) -> Path:
        raise broken

    monkeypatch.setattr(environment, "ensure", fail)
    with pytest.raises(UsageError) as caught:
        count.find(str(folder))
    assert "falcon_h1" in caught.value.message
    assert broken.message in caught.value.message


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({**ANSWER, "sizes": {}}), '{"counted": 7}'])
def test_a_damaged_record_is_named_or_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """What is no object is counted again; what is one of another shape is refused with the file to delete."""
    asked = answered(monkeypatch, ANSWER)
    place(KEYS).parent.mkdir(parents=True)
    place(KEYS).write_text(content)
    if content in ("{", "[]"):
        assert count.find(str(folder)).params_total == 1000
        assert len(asked) == 1
        return
    with pytest.raises(UsageError) as caught:
        count.find(str(folder))
    assert str(place(KEYS)) in caught.value.hint


def test_a_name_that_is_unknown_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a config.json can be counted."""
    asked = answered(monkeypatch, ANSWER)
    with pytest.raises(UsageError, match="unknown model"):
        count.find("longcat-flahs")
    assert not asked


@pytest.mark.trainer
def test_an_architecture_without_arithmetic_is_counted_for_real(
    warm_cache: Path, cloudtrain: Callable[..., Result], tmp_path: Path
) -> None:
    """Apertus with the sizes of its class: what transformers makes of them, quoted and marked as counted."""
    model = tmp_path / "model"
    model.mkdir()
    document = {"model_type": "apertus", "made_for": str(tmp_path)}
    (model / "config.json").write_text(json.dumps(document))
    ended = cloudtrain("estimate", model, "--method", "lora", "-o", "json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["params_total"] == 6_979_596_352
    assert "meta device" in found["counted"]
    assert found["peak_bytes"] > 2 * found["params_total"]
    place(document).unlink()  # the cache is the real one where there was a count before
