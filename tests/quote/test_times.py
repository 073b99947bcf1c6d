"""How long saving takes of a run's time; that the trainer keeps to it is in tests/templates/test_checkpoints.py."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.models import registry
from cloudtrain.offer import Offer, Price, Range
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import engine, times
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import QuoteRow
from cloudtrain.units import GIB

PRICE = Price("snapshot", "2026-11-01", "the test", "VERIFIED")


def line(model: str, vcpus: int) -> QuoteRow:
    """A full fine-tune on a large host."""
    ram = 6144 * GIB
    offers = [
        Offer("gcp", "host", "here", "here-a", "cpu-amx", vcpus, ram, vcpus, ram, "on_demand", Decimal(60), PRICE)
    ]
    request = Request(spec=registry.find(model), method="full")
    (found,) = engine.judged(request, load("pricing", "gcp", PriceSource), offers, None, None)
    return found


@pytest.mark.parametrize("vcpus", [64, 128, 384])
@pytest.mark.parametrize("model", ["longcat-flash", "llama-3.3-70b", "llama-3.1-8b"])
def test_saves_of_full_fine_tunes_take_at_most_a_tenth(model: str, vcpus: int) -> None:
    """However slow the disk and however fast the steps; with the result at the end it is not much more."""
    assessment = line(model, vcpus).assessment
    assert assessment.billed_hours is not None
    parts = {part.name: part.seconds for part in assessment.time_parts}
    saved = parts.get("checkpoints", Range(0, 0, 0))  # none where it ends before the first is due
    for bound, whole in zip(saved, assessment.billed_hours, strict=True):
        assert bound <= 0.1 * whole * 3600
    saving = saved.likely + parts["result"].likely
    assert saving < 0.15 * assessment.billed_hours.likely * 3600


@pytest.mark.parametrize(
    ("work_s", "save_s", "assumed_s", "count"),
    [
        (299, 1, 1, 0),
        (300, 1, 1, 1),
        (3000, 1, 1, 10),
        (3000, 100, 1, 2),  # at 300 s and 2000 s of training after that
        (3000, 1, 100, 4),  # at 2000 s, then every 300
        (1999, 1, 100, 0),
    ],
)
def test_saves_follow_what_is_assumed_and_then_what_was_seen(
    work_s: float, save_s: float, assumed_s: float, count: int
) -> None:
    """The first by the size of what is saved, the next ones by what the save before took."""
    assert times.saves(work_s, save_s, assumed_s) == count
