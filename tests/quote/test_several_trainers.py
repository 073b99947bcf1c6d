"""Several trainers on one kind of hardware: the best verdict counts, then the trainer's own preference."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudtrain import backends
from cloudtrain.models import registry
from cloudtrain.quote import compatibility, recipes
from cloudtrain.quote.request import Request

Make = Callable[[int, str], None]


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Let there be another trainer for processors, with a preference and the lines of its compatibility table."""
    every = backends.all_backends()
    torch = backends.of_flavour("cpu")
    tables = (compatibility.entries, compatibility.compatibility, recipes.table, recipes.recipe)

    def make(preference: int, lines: str) -> None:
        (tmp_path / "quote").mkdir(exist_ok=True)
        (tmp_path / "quote" / "compatibility.csv").write_text(f"backend,families,methods,verdict,stack,reason\n{lines}")
        row = {**recipes.table()["torch-cpu"]["torch"], "flavour": "other", "stack": "other"}
        (tmp_path / "quote" / "recipes.json").write_text(json.dumps({"torch-cpu": row}))
        mine = torch._replace(name="another", folder=tmp_path, preference={"torch-cpu": preference}, flavours={})
        monkeypatch.setattr(backends, "all_backends", lambda: (mine, *every))
        for table in tables:
            table.cache_clear()

    yield make
    monkeypatch.undo()
    for table in tables:
        table.cache_clear()


def flavour(model: str) -> str:
    """The environment of the recipe for a processor."""
    found = recipes.recipe(Request(spec=registry.find(model), method="lora"), "torch-cpu", 1, "cpu-zen")
    assert found is not None
    return found.flavour


@pytest.mark.parametrize(("preference", "chosen"), [(1, "other"), (-1, "cpu")])
def test_of_two_that_can_the_preferred_one_trains(other: Make, preference: int, chosen: str) -> None:
    """A description says where it wants to come first."""
    other(preference, "torch-cpu,llama,*,yes,mine,\n")
    assert flavour("smollm2-135m") == chosen


def test_one_that_can_comes_before_one_that_may(other: Make) -> None:
    """A plain yes of the less preferred trainer counts more than the other's experimental."""
    other(1, "torch-cpu,llama,*,experimental,mine,not run by us\n")
    assert flavour("smollm2-135m") == "cpu"


def test_what_it_says_nothing_of_is_left_to_the_others(other: Make) -> None:
    """A family that is only in the other trainer's table goes by that trainer's recipe, whatever the preference."""
    other(1, "torch-cpu,llama,*,yes,mine,\n")
    assert flavour("qwen3-0.6b") == "cpu"
    assert flavour("longcat-flash") == "longcat"


def test_some_trainers_are_taken_only_by_their_name() -> None:
    """JAX on a processor is for rehearsals: whoever does not ask for it gets the torch trainer."""
    asked = Request(spec=registry.find("smollm2-135m"), method="lora", trainer="tpu")
    found = recipes.recipe(asked, "torch-cpu", 1, "cpu-zen")
    assert found is not None
    assert (found.flavour, found.options.dtype) == ("jax", "fp32")
    assert flavour("smollm2-135m") == "cpu"
    assert compatibility.loads(asked, "torch-cpu").verdict == "yes"
    assert compatibility.loads(asked._replace(method="full"), "torch-cpu").verdict == "no trainer"
    assert compatibility.loads(asked._replace(trainer="torch"), "tpu").verdict == "no trainer"
