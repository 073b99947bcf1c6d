"""A quote's row as JSON and the record that a run keeps of it are the same thing."""

from __future__ import annotations

import json

import pytest

from cloudtrain.models import registry
from cloudtrain.providers import Context
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.document import candidate, frozen, row_document
from cloudtrain.quote.request import Request
from cloudtrain.records import RowRecord


@pytest.mark.parametrize(
    ("model", "method"), [("longcat-flash", "qlora"), ("llama-3.1-8b", "full"), ("qwen3-8b", "lora")]
)
def test_every_row_of_a_quote_is_frozen_without_a_loss(model: str, method: str) -> None:
    """The whole catalogue: viable rows and others, priced and unpriced, with hours and without."""
    quoted = engine.quote(Request(registry.find(model), method), Context(catalog.folder()))  # type: ignore[arg-type]
    assert len(quoted.lines) > 300
    for line in quoted.lines[:: max(1, len(quoted.lines) // 400)]:
        plain = row_document(line, "a cheaper way")
        kept = frozen(line)
        assert kept.model_dump(mode="json") == {**plain, "reasons": line.reasons(), "beside_usd_per_hour": None}
        assert kept.key == line.offer.key


def test_a_row_has_exactly_the_fields_of_the_record() -> None:
    """Whoever adds one to the JSON adds it to the record, and the other way round."""
    quoted = engine.quote(Request(registry.find("qwen3-8b"), "lora"), Context(catalog.folder()))
    assert set(row_document(quoted.lines[0])) == set(RowRecord.model_fields) - {"beside_usd_per_hour"}


def test_a_candidate_knows_what_costs_beside_its_machine() -> None:
    """Disk and address, exactly."""
    quoted = engine.quote(Request(registry.find("qwen3-8b"), "lora"), Context(catalog.folder()))
    line = next(each for each in quoted.lines if each.assessment.extras.hourly_usd)
    kept = RowRecord.model_validate_json(json.dumps(candidate(line).model_dump(mode="json")))
    assert kept.beside_usd_per_hour == line.assessment.extras.hourly_usd
