"""How long saving takes of a run's time; that the trainer keeps to it is in tests/templates/test_checkpoints.py."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.estimate import spot
from cloudtrain.models import registry
from cloudtrain.offer import Offer, Price, Range
from cloudtrain.providers import Context, PriceSource, load
from cloudtrain.quote import assess, catalog, engine, times
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
    for bound, whole in zip(parts["checkpoints"], assessment.billed_hours, strict=True):
        assert bound <= 0.1 * whole * 3600
    saving = parts["checkpoints"].likely + parts["result"].likely
    assert saving < 0.15 * assessment.billed_hours.likely * 3600


@pytest.mark.parametrize("model", ["longcat-flash", "llama-3.3-70b"])
def test_no_row_that_is_shipped_saves_for_more_than_a_tenth(model: str) -> None:
    """Of a full fine-tune's time on any machine that one can have for it, on demand and on spot."""
    quoted = engine.quote(Request(spec=registry.find(model), method="full"), Context(catalog.folder()))
    viable = [found.assessment for found in quoted.lines if found.viable]
    assert len(viable) > 3
    for assessment in viable:
        assert assessment.billed_hours is not None
        saving = [part.seconds for part in assessment.time_parts if part.name == "checkpoints"]
        for bounds in saving:
            assert all(s <= 0.1 * 3600 * h for s, h in zip(bounds, assessment.billed_hours, strict=True))


def test_on_spot_no_save_is_counted_where_none_is_due() -> None:
    """A run shorter than 20 saves is interrupted without having saved; a longer one saves at our trainer's interval."""
    prior = spot.prior("gcp", accelerator=False)
    write, before, hour = Range(1800, 1800, 1800), Range(60, 60, 60), 3600.0
    between = prior.between_s.likely
    for worked, counted in ((5 * hour, 0.0), (12 * hour, 1800.0)):
        found = assess.interrupted(Range(worked, worked, worked), write, before, prior, 1800.0)[1]
        assert found.billed_s == pytest.approx(spot.billed_s(worked, 20 * 1800.0, counted, 60, between))


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
