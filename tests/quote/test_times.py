"""How long saving takes of a run's time; that the trainer keeps to it is in tests/templates/test_checkpoints.py."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.models import registry
from cloudtrain.offer import Market, Offer, Price, Range
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import engine, times
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import QuoteRow
from cloudtrain.units import GIB

PRICE = Price("snapshot", "2026-11-01", "the test", "VERIFIED")


def line(model: str, market: Market, vcpus: int = 384) -> QuoteRow:
    """A full fine-tune on a large host."""
    ram = 6144 * GIB
    offers = [Offer("gcp", "host", "here", "here-a", "cpu-amx", vcpus, ram, vcpus, ram, market, Decimal(60), PRICE)]
    request = Request(spec=registry.find(model), method="full")
    (found,) = engine.judged(request, load("pricing", "gcp", PriceSource), offers, None, None)
    return found


@pytest.mark.parametrize("vcpus", [64, 128, 384])
@pytest.mark.parametrize("model", ["longcat-flash", "llama-3.3-70b", "llama-3.1-8b"])
def test_saves_of_full_fine_tunes_take_at_most_a_tenth(model: str, vcpus: int) -> None:
    """However slow the disk and however fast the steps; with the result at the end it is not much more."""
    assessment = line(model, "on_demand", vcpus).assessment
    assert assessment.billed_hours is not None
    parts = {part.name: part.seconds for part in assessment.time_parts}
    for bound, whole in zip(parts["checkpoints"], assessment.billed_hours, strict=True):
        assert bound <= 0.1 * whole * 3600
    saving = parts["checkpoints"].likely + parts["result"].likely
    assert saving < 0.15 * assessment.billed_hours.likely * 3600


def test_on_spot_it_saves_when_our_trainer_does() -> None:
    """A run so short that no save of that size is due is interrupted without having saved, and no save is counted."""
    assessment = line("longcat-flash", "spot").assessment
    request = Request(spec=registry.find("longcat-flash"), method="full")
    write = times.checkpoint_s(request, request.spec.params_total)
    parts = {part.name: part.seconds for part in assessment.time_parts}
    assert times.saves(parts["steps"].likely, write.likely, write.likely) == 0
    assert parts["interruptions"].likely > parts["steps"].likely / 10  # what is repeated


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


def test_a_part_is_ordered_though_a_slow_disk_saves_seldomer() -> None:
    """Low, likely, high: fewer but longer saves do not turn them round."""
    part = times.checkpoints_part(Range(3000, 3100, 3200), Range(10, 200, 400))
    assert part.seconds.low <= part.seconds.likely <= part.seconds.high
