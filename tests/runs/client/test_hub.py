"""What is asked of the model hub, against a hub on loopback; and the token that is handed over for a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs.client import hub
from tests.fake_hub import COMMIT, Hub

TOKEN = "hf_PlantedSecretOfTheHub"
FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "onnx/tokenizer.json",
    "a.jinja",
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, as the one that is asked."""
    made = Hub()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    made.has("org/name", *FILES, gated="manual")
    yield made
    made.close()


def test_the_newest_commit_and_its_files_are_read(here: Hub) -> None:
    """Without a token where there is none."""
    assert hub.repository("org/name", None) == hub.Repository(COMMIT, FILES, True)
    assert here.asked == [("/api/models/org/name/revision/main", "")]


@pytest.mark.parametrize(
    "answer",
    [(500, b""), (401, b"{}"), (200, b"[]"), (200, b"no"), (200, {"sha": "main"}), (200, {"sha": 7}), (200, b"")],
)
def test_any_other_answer_is_no_commit(here: Hub, answer: tuple[int, Any]) -> None:
    """A status, a shape, a name that is no commit: nothing is believed."""
    here.answers["/api/models/org/name/revision/main"] = answer
    with pytest.raises(hub.Unasked):
        hub.repository("org/name", TOKEN)


def test_odd_file_lists_are_passed_over(here: Hub) -> None:
    """The commit counts."""
    for files in (None, "x", [1, {"rfilename": 2}]):
        here.answers["/api/models/org/name/revision/main"] = (200, {"sha": COMMIT, "siblings": files})
        assert hub.repository("org/name", None) == hub.Repository(COMMIT, (), False)


@pytest.mark.parametrize(("status", "may"), [(200, True), (401, False), (403, False)])
def test_a_token_may_read_or_not(here: Hub, status: int, may: bool) -> None:
    """It is shown to the hub as it wants it."""
    here.answers["/api/models/org/name/auth-check"] = (status, b"{}")
    assert hub.may_read("org/name", TOKEN) is may
    assert here.asked == [("/api/models/org/name/auth-check", f"Bearer {TOKEN}")]


def test_a_token_follows_a_rename_and_no_stranger(here: Hub) -> None:
    """An answer that sends on to the same server is asked with the token, another server without it."""
    here.answers["/api/models/old/name/auth-check"] = (307, "/api/models/org/name/auth-check")
    here.answers["/api/models/org/name/auth-check"] = (200, b"{}")
    assert hub.may_read("old/name", TOKEN)
    assert here.asked[-1] == ("/api/models/org/name/auth-check", f"Bearer {TOKEN}")
    stranger = Hub()
    try:
        here.answers["/api/models/org/name/auth-check"] = (302, f"{stranger.url}/x")
        stranger.answers["/x"] = (200, b"{}")
        hub.may_read("org/name", TOKEN)
        assert stranger.asked == [("/x", "")]
    finally:
        stranger.close()


def test_only_a_tokenizers_files_are_fetched(here: Hub, tmp_path: Path) -> None:
    """Not the weights, and nothing in a subfolder."""
    hub.fetch_tokenizer("org/name", COMMIT, FILES, TOKEN, tmp_path / "kept")
    kept = {path.name: path.read_text() for path in (tmp_path / "kept").iterdir()}
    assert kept == {name: name for name in FILES if name.endswith((".json", ".jinja")) and "/" not in name}


def test_no_hub_is_asked_offline_or_in_place_of_another(here: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is said; a token for one hub is not shown to another."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(hub.Unasked, match="HF_HUB_OFFLINE is set"):
        hub.repository("org/name", TOKEN)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    with pytest.raises(hub.Unasked, match="HF_ENDPOINT names another hub"):
        hub.repository("org/name", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(hub.Unasked, match="cannot be reached"):
        hub.repository("org/name", TOKEN)
    assert here.asked == []


def test_a_token_comes_from_a_variable_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable first."""
    monkeypatch.setenv("MINE", f" {TOKEN}\n")
    assert hub.handed_over("MINE") == TOKEN
    (tmp_path / "token").write_text(f"{TOKEN}2\n")
    assert hub.handed_over(str(tmp_path / "token")) == f"{TOKEN}2"


@pytest.mark.parametrize("found", ["", "two words", "x" * 500, "short"])
def test_what_is_no_token_is_refused_and_not_shown(found: str, tmp_path: Path) -> None:
    """Whatever is in the file."""
    (tmp_path / "token").write_text(found)
    with pytest.raises(UsageError) as told:
        hub.handed_over(str(tmp_path / "token"))
    assert not found or found not in str(told.value.message) + told.value.hint


def test_a_token_in_place_of_a_name_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been seen by others by then: that is said."""
    with pytest.raises(UsageError, match="looks like a token itself") as told:
        hub.handed_over(TOKEN)
    assert TOKEN not in told.value.message + told.value.hint
    with pytest.raises(UsageError, match="`NO_SUCH` is no variable that is set"):
        hub.handed_over("NO_SUCH")


def test_this_machines_own_token_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the variable, else the one that a login has left; none is no error."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hub.own_token() is None
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert hub.own_token() == TOKEN
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    assert hub.own_token() == "hf_another"
