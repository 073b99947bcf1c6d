"""The examples in docs/: each can be planned as it stands, offline, and ends where its README says."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from cloudtrain import settings
from cloudtrain.quote.engine import quote_here
from cloudtrain.quote.request import parse_place
from cloudtrain.runs import prepare
from cloudtrain.spec import json_schema
from tests.conftest import NOW

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
SPECS = sorted(EXAMPLES.glob("*/cloudtrain.yaml"))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.parent.name)
def test_an_editor_accepts_it(path: Path) -> None:
    """Its first line leads to the schema, by which nothing in it is wrong."""
    first, *_ = path.read_text().splitlines()
    named = path.parent / first.removeprefix("# yaml-language-server: $schema=")
    assert named.resolve() == EXAMPLES / json_schema.FILE
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema.json_schema())


@pytest.mark.parametrize(
    ("name", "infra", "chosen"),
    [
        ("llama-sharegpt", "runpod", "AMD Instinct MI300X OAM x1"),
        ("longcat-flash", "gcp", "c3-highmem-88"),
    ],
)
def test_a_rented_one_is_planned_within_its_budget(
    name: str, infra: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data are sound, the model is known, the machine is the one its README promises, and the budget is enough."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)
    prepared = prepare.prepare(EXAMPLES / name / "cloudtrain.yaml", [])
    assert not prepared.data.problems
    budget = prepared.spec.budget
    places = (parse_place(infra),)
    request = prepare.request_for(prepared, prepare.estimated_tokens(prepared), places, 168.0, budget.max_cost)
    row = prepare.chosen_line(quote_here(request, settings.load()))
    assert row.offer.name == chosen
    assert row.assessment.hours is not None
    assert row.assessment.hours.likely < (budget.max_hours or 0)
    nothing = request._replace(max_cost=row.usd_likely / 2)
    with pytest.raises(prepare.OverBudget):
        prepare.chosen_line(quote_here(nothing, settings.load()))


def test_the_local_one_is_small() -> None:
    """Its data are sound; it takes a few thousand tokens, which any machine can do in its hour."""
    prepared = prepare.prepare(EXAMPLES / "smollm2-local" / "cloudtrain.yaml", [])
    assert prepared.data.problems == ()
    assert prepared.model.params_total < 150e6
    assert prepare.estimated_tokens(prepared)[0] < 20_000


def test_the_readme_names_every_example() -> None:
    """No more and no less."""
    linked = set(re.findall(r"\]\((\S+/cloudtrain\.yaml)\)", (EXAMPLES / "README.md").read_text()))
    assert linked == {f"{path.parent.name}/cloudtrain.yaml" for path in SPECS}
