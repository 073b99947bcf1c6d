"""A hub id that nobody lists is asked of the hub once, and of what was kept afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.models import registry
from tests.fake_hub import COMMIT, Hub

CONFIG = Path(__file__).parents[1] / "cases" / "configs" / "A16-falcon3-7b" / "config.json"
ID = "somebody/Falcon3-7B-Mine"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that is asked; nothing is kept yet."""
    made = Hub()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.close()


def test_an_unlisted_hub_id_is_what_its_config_says(here: Hub) -> None:
    """Counted as the same file in a folder is, and no folder of this machine."""
    here.has(ID, "config.json", "model.safetensors")
    here.answers[f"/{ID}/resolve/{COMMIT}/config.json"] = (200, CONFIG.read_bytes())
    found = registry.find(ID)
    assert (found.name, found.hub_id, found.path) == (ID, ID, "")
    assert found.params_total == registry.find(str(CONFIG)).params_total
    assert not [path for path, _ in here.asked if path.endswith(".safetensors")]


def test_what_the_hub_said_is_kept(here: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second question needs no network."""
    here.has(ID, "config.json")
    here.answers[f"/{ID}/resolve/{COMMIT}/config.json"] = (200, CONFIG.read_bytes())
    first = registry.find(ID)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(here.asked)
    assert registry.find(ID) == first
    assert len(here.asked) == asked


@pytest.mark.parametrize("config", [b"[1]", b"not json", b'{"model_type": "no-such-kind"}', b"x" * 2**23])
def test_a_strange_config_is_a_sentence(here: Hub, config: bytes) -> None:
    """Whatever the hub hands out."""
    here.has(ID, "config.json")
    here.answers[f"/{ID}/resolve/{COMMIT}/config.json"] = (200, config)
    with pytest.raises(UsageError):
        registry.find(ID)


@pytest.mark.parametrize("name", ["../x", "a/../b", "a/b/c", "no-slash", "a/b@main", "-/x", "a/" + "b" * 200])
def test_what_is_no_hub_id_asks_nobody(here: Hub, name: str) -> None:
    """No name becomes an odd address or a path."""
    with pytest.raises(UsageError):
        registry.find(name)
    assert here.asked == []


def test_an_id_that_the_hub_does_not_show_is_unknown(here: Hub) -> None:
    """With the hint as without a network."""
    with pytest.raises(UsageError, match="unknown model"):
        registry.find("nobody/nothing")
