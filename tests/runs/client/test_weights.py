"""Where a model's files come from, at which commit, and what its tokenizer is found in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from cloudtrain.errors import UsageError
from cloudtrain.runs import prepare
from cloudtrain.runs.client import weights
from cloudtrain.runs.prepare import Prepared
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.fake_hub import COMMIT, Hub
from tests.fakes import ROW, desk_with_fake_trainer

SMALL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MOVED = COMMIT[::-1]
GATED = "meta-llama/Llama-3.2-1B-Instruct"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data; the hub's cache is empty."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data.jsonl").write_text(json.dumps(ROW) + "\n")
    return tmp_path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that is asked."""
    made = Hub()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    yield made
    made.close()


def prepared(desk: Path, model: str, more: str = "") -> Prepared:
    """A spec for the model."""
    (desk / "cloudtrain.yaml").write_text(f"model: {model}\ndata: data.jsonl\n{more}")
    return prepare.prepare(desk / "cloudtrain.yaml", [])


def cached(desk: Path, hub_id: str, *names: str) -> Path:
    """A snapshot in the hub's cache."""
    folder = desk / "hub" / "hub" / f"models--{hub_id.replace('/', '--')}" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_the_hubs_newest_commit_belongs_to_the_run(desk: Path, here: Hub) -> None:
    """As if the spec named it; a revision that it names itself is left, and the hub not asked."""
    here.has("Qwen/Qwen3-0.6B", "config.json", "tokenizer_config.json")
    asked = prepared(desk, "qwen3-0.6b")
    source = weights.find(asked, LocalFolder(desk / "state"), True, None)
    pinned = asked.at_revision(source.commit)
    assert pinned.spec.revision == pinned.revision == COMMIT
    assert source.describe(pinned.spec.revision) == "Qwen/Qwen3-0.6B of the hub at 0123456789ab"
    named = prepared(desk, "qwen3-0.6b", f"revision: {COMMIT}\n")
    assert pinned.identity == named.identity != asked.identity
    assert named.at_revision("other") == named
    here.asked.clear()
    assert weights.find(named, LocalFolder(desk / "state"), True, None).commit is None
    assert here.asked == []


def test_without_network_it_is_said_that_it_is_not_pinned(desk: Path) -> None:
    """With the reason."""
    asked = prepared(desk, "qwen3-0.6b")
    source = weights.find(asked, LocalFolder(desk / "state"), False, None)
    assert asked.at_revision(source.commit) is asked
    assert source.describe(None).endswith("not pinned (HF_HUB_OFFLINE is set)")


def test_a_rented_machine_looks_in_the_state_first(desk: Path, here: Hub) -> None:
    """And nothing is asked of the hub; a folder of this machine is there, or refused."""
    store = LocalFolder(desk / "state")
    store.write("models/Qwen--Qwen3-0.6B/config.json", b"{}")
    found = weights.find(prepared(desk, "qwen3-0.6b"), store, False, None)
    assert (found.kind, found.describe(None)) == ("state", "models/Qwen--Qwen3-0.6B in the state")
    assert weights.find(prepared(desk, "qwen3-0.6b"), store, True, None).kind == "hub"
    folder = desk / "mine"
    folder.mkdir()
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 256, **sizes}))
    own = prepared(desk, "./mine")
    assert weights.find(own, store, True, None).kind == "folder"
    with pytest.raises(UsageError, match="a rented machine cannot reach it"):
        weights.find(own, store, False, None)
    store.write("models/mine/config.json", b"{}")
    assert weights.find(own, store, False, None).kind == "state"


def test_a_token_that_may_not_read_is_refused(desk: Path, here: Hub) -> None:
    """The licence is not accepted; with it, with a copy, or where the hub says nothing of a gate, it goes on."""
    model = prepared(desk, GATED).model
    source = weights.Source("hub", GATED)
    here.answers[f"/api/models/{GATED}/auth-check"] = (403, b"{}")
    refused = weights.refusal(model, source, False, "hf_some_token")
    assert refused is not None
    assert "does not let this token read" in refused.message
    assert f"https://huggingface.co/{GATED}" in refused.hint
    here.answers[f"/api/models/{GATED}/auth-check"] = (200, b"{}")
    assert weights.refusal(model, source, False, "hf_some_token") is None
    assert weights.refusal(model, source, False, None) is not None
    assert weights.refusal(model, source._replace(gated=False), False, None) is None
    assert weights.refusal(model, source._replace(kind="state"), False, None) is None


def test_the_hubs_word_of_a_gate_counts(desk: Path) -> None:
    """For a model that the registry takes for an open one."""
    model = prepared(desk, "qwen3-0.6b").model
    source = weights.Source("hub", "Qwen/Qwen3-0.6B", COMMIT, (), True)
    refused = weights.refusal(model, source, True, None)
    assert refused is not None
    assert "hf auth login" in refused.hint


def test_a_tokenizer_is_found_wherever_it_is_cheap(desk: Path, here: Hub) -> None:
    """In the cache, in the state, at the hub; once fetched it is kept."""
    store, spec = LocalFolder(desk / "state"), prepared(desk, "qwen3-0.6b")
    here.has("Qwen/Qwen3-0.6B", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    source = weights.find(spec, store, False, None)
    found = weights.tokenizer(spec, source, store, None)
    assert isinstance(found, Path)
    assert sorted(path.name for path in found.iterdir()) == ["config.json", "tokenizer.json", "tokenizer_config.json"]
    here.asked.clear()
    assert weights.tokenizer(spec, source, store, None) == found
    assert here.asked == []
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        store.write(f"models/Qwen--Qwen3-0.6B/{name}", b"{}")
    copied = weights.tokenizer(spec, weights.find(spec, store, False, None), store, None)
    assert isinstance(copied, Path)
    assert sorted(path.name for path in copied.iterdir()) == ["config.json", "tokenizer_config.json"]
    snapshot = cached(desk, "Qwen/Qwen3-0.6B", "config.json", "tokenizer_config.json")
    assert weights.tokenizer(spec, source, store, None) == snapshot


def test_a_tokenizer_that_is_not_to_be_had_is_explained(desk: Path, here: Hub) -> None:
    """No files, a hub that refuses them, a state without one."""
    store, spec = LocalFolder(desk / "state"), prepared(desk, "qwen3-0.6b")
    here.has("Qwen/Qwen3-0.6B", "model.safetensors")
    assert weights.tokenizer(spec, weights.find(spec, store, False, None), store, None) == "it has no tokenizer files"
    here.has("Qwen/Qwen3-0.6B", "tokenizer_config.json")
    here.answers[f"/Qwen/Qwen3-0.6B/resolve/{COMMIT}/tokenizer_config.json"] = (403, b"")
    told = weights.tokenizer(spec, weights.find(spec, store, False, None), store, None)
    assert told == "its tokenizer could not be fetched: the hub does not hand out `tokenizer_config.json` (403)"
    store.write("models/Qwen--Qwen3-0.6B/config.json", b"{}")
    told = weights.tokenizer(spec, weights.find(spec, store, False, None), store, None)
    assert told == "there is no tokenizer in models/Qwen--Qwen3-0.6B"


def test_a_run_keeps_the_commit_it_began_with(
    tmp_path: Path, here: Hub, own_world: Path, monkeypatch: pytest.MonkeyPatch, cloudtrain: Callable[..., Result]
) -> None:
    """The repository has moved since: the run of before is the one that is meant, and a new one has the new commit."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.chdir(desk_with_fake_trainer(tmp_path))
    store = LocalFolder(own_world / "state")
    here.has(SMALL, "config.json")
    first = cloudtrain("up", "-y", "--infra", "local", "--name", "first")
    assert first.code == 0, first.err
    assert f"{SMALL} of the hub at 0123456789ab" in first.err
    assert revisions(store, "first") == {COMMIT}
    here.has(SMALL, "config.json", commit=MOVED)
    again = cloudtrain("up", "-y", "--infra", "local")
    assert (again.code, "run `first` of this spec is finished" in again.err) == (0, True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = cloudtrain("up", "-y", "--infra", "local")
    assert (again.code, "run `first` of this spec is finished" in again.err) == (0, True)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert cloudtrain("up", "-y", "--infra", "local", "--new", "--name", "second").code == 0
    assert revisions(store, "second") == {MOVED}
    last = cloudtrain("up", "-y", "--infra", "local", f"revision={COMMIT}")
    assert "run `first` of this spec is finished" in last.err


def revisions(store: LocalFolder, run: str) -> set[str | None]:
    """What a run's record, its spec and its trainer's job say."""
    kept = Run(store, run)
    job = json.loads((store.folder(kept.machine_folder) / "job.json").read_text())
    spec = yaml.safe_load((store.read(kept.key("spec.yaml")) or b"").decode())
    return {kept.intent.revision, spec["revision"], job["revision"]}
