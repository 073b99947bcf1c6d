"""The descriptions of the trainer back ends: whole as shipped, and a wrong one is named with what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudtrain import backends
from cloudtrain.errors import UsageError
from cloudtrain.estimate import hardware
from cloudtrain.quote import compatibility, recipes
from cloudtrain.quote.machine import environments

LEAST: dict[str, Any] = {"version": 1, "title": "x", "programs": {}, "flavours": {}}


def described(folder: Path, name: str = "mine", **changes: Any) -> Path:
    """A back end's folder."""
    path = folder / name / "backend.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**LEAST, **changes}))
    return path


@pytest.mark.parametrize("backend", backends.all_backends(), ids=lambda backend: backend.name)
def test_every_shipped_description_is_whole(backend: backends.BackEnd) -> None:
    """Its programs and locks exist; what trains has an estimator, and its flavours have accelerators that it knows."""
    for what in backend.programs:
        program = backend.program(what)
        assert program is not None
        assert program.is_file(), what
    for flavour in backend.flavours.values():
        pytorch = flavour.packages.get("pytorch")
        for lock in [*flavour.packages["locks"], *([pytorch["lock"]] if pytorch else [])]:
            assert (backend.folder / lock).is_file(), lock
        if "train" in backend.programs:
            assert flavour.accelerator in backend.accelerators
        if flavour.image is not None:
            assert "@sha256:" in flavour.image["base"], "a moved tag must not change an image"
    if "train" in backend.programs:
        assert backend.estimator in ("torch", "tpu", "mlx")
        assert "cpu" in backend.accelerators, "the CPU plays an accelerator in a simulation"


def test_a_trainers_tables_name_what_it_has() -> None:
    """Recipes and environments name flavours of the same back end; each compatible back end has a recipe."""
    known = {row.backend for row in hardware.all_hardware()}
    for backend in backends.all_backends():
        rows = {key: found[backend.name] for key, found in recipes.table().items() if backend.name in found}
        assert rows.keys() <= known
        named = {value for row in rows.values() for name, value in row.items() if name.startswith("flavour")}
        assert named <= backend.flavours.keys()
        assert {e.backend for e in compatibility.entries() if e.found.trainer == backend.name} == rows.keys()
    assert {entry.flavour for entry in environments.entries()} <= backends.flavours().keys()


@pytest.mark.parametrize(
    ("changes", "says", "hint"),
    [
        ({"flavors": {}}, "unknown key `flavors`", "did you mean `flavours`?"),
        ({"flavours": {"a": {"disk": "1 GB"}}}, "the key 'packages' is missing", "templates/README.md"),
        ({"flavours": []}, "cannot be read", "templates/README.md"),
    ],
)
def test_a_wrong_description_is_named_with_its_fault(
    tmp_path: Path, changes: dict[str, Any], says: str, hint: str
) -> None:
    """File, key, and the nearest that is right."""
    path = described(tmp_path, **changes)
    with pytest.raises(UsageError) as refused:
        backends.read(path)
    assert refused.value.message.startswith(f"{path}: ")
    assert says in refused.value.message
    assert hint in refused.value.hint


def test_two_back_ends_never_share_a_flavour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flavour names its back end: a second one of that name is refused with both."""
    flavours = {"cpu": {"packages": {"locks": []}, "disk": "1 GB"}}
    described(tmp_path, "one", flavours=flavours)
    described(tmp_path, "two", flavours=flavours)
    monkeypatch.setattr(backends, "templates", lambda: tmp_path)
    with pytest.raises(UsageError, match="the flavour `cpu` is one of back end `one` already"):
        backends.all_backends.__wrapped__()


def test_what_is_shipped_leaves_out_the_clients_part(tmp_path: Path) -> None:
    """Programs of any depth, locks and the description; neither the quote's tables nor what makes the locks."""
    for name in ("train.py", "deep/er.py", "x.lock", "x.in", "lock.sh", "quote/recipes.json", "__pycache__/train.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in backends.shipped(tmp_path)]
    assert found == ["deep/er.py", "train.py", "x.lock"]
