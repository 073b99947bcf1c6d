"""How long saving takes of a run's time; that the trainer keeps to it is in tests/templates/test_checkpoints.py."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.models import registry
from cloudtrain.offer import Offer, Price, Range, Terms
from cloudtrain.providers import Context, PriceSource, load
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.recipes import Recipe, recipe
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import QuoteRow
from cloudtrain.quote.sampling import times
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


@pytest.mark.parametrize("model", ["longcat-flash", "llama-3.3-70b"])
def test_no_shipped_row_saves_for_more_than_a_tenth(model: str) -> None:
    """Of a full fine-tune's time on any machine that one can have for it, on demand and on spot."""
    quoted = engine.quote(Request(spec=registry.find(model), method="full"), Context(catalog.folder()))
    viable = [found.assessment for found in quoted.lines if found.viable]
    assert len(viable) > 3
    for assessment in viable:
        assert assessment.billed_hours is not None
        saving = [part.seconds for part in assessment.time_parts if part.name == "checkpoints"]
        for bounds in saving:
            assert all(s <= 0.1 * 3600 * h for s, h in zip(bounds, assessment.billed_hours, strict=True))


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


def of(model: str, provider: str = "gcp") -> tuple[Request, Recipe, Terms]:
    """A QLoRA job on a processor of the provider's."""
    request = Request(spec=registry.find(model), method="qlora")
    ours = recipe(request, "torch-cpu", 1, "cpu-amx")
    assert ours is not None
    return request, ours, load("pricing", provider, PriceSource).terms


def test_a_restart_with_kept_weights_neither_quantises_nor_fetches_bf16() -> None:
    """LongCat's restart takes minutes where its first start takes most of a working day."""
    request, ours, terms = of("longcat-flash")
    first = {part.name: part.seconds for part in times.setup_parts(request, ours, terms, 88)}
    again = {part.name: part.seconds for part in times.restart_parts(request, ours, terms, 88)}
    assert list(again) == [name for name in first if name != "quantise"]
    assert first["quantise"].likely > 7 * 3600
    assert again["weights"].likely == pytest.approx(first["weights"].likely * 292 / 1121, rel=0.02)
    assert sum(part.likely for part in again.values()) < 3600
    assert (again["boot"], again["compile"]) == (first["boot"], first["compile"])


@pytest.mark.parametrize(
    ("model", "provider", "kept"),
    [
        ("longcat-flash", "gcp", True),
        ("llama-3.3-70b", "aws", True),
        ("longcat-flash", "runpod", False),  # its bytes would leave a bucket of another cloud, at 9 cents each GB
        ("qwen3-0.6b", "gcp", False),  # made again in seconds
        ("deepseek-v3", "gcp", False),  # its experts stay in bf16: what was kept would be as large as the model
    ],
)
def test_weights_are_kept_where_making_them_takes_minutes(model: str, provider: str, kept: bool) -> None:
    """Where they are not, a restart is a first start."""
    request, ours, terms = of(model, provider)
    assert times.is_kept(request, ours, terms) == kept
    same = times.restart_parts(request, ours, terms, 88) == times.setup_parts(request, ours, terms, 88)
    assert same != kept
    assert not times.is_kept(request._replace(method="lora"), ours, terms)


@pytest.mark.parametrize(("scheme", "kept"), [("", True), ("gs", True), ("s3", False)])
def test_nothing_is_kept_in_another_clouds_bucket(scheme: str, kept: bool) -> None:
    """There the machine keeps nothing, so that a quote that counted on it would be too low."""
    request, ours, terms = of("longcat-flash")
    request = request._replace(bucket=scheme)
    assert times.is_kept(request, ours, terms) == kept
    same = times.restart_parts(request, ours, terms, 88) == times.setup_parts(request, ours, terms, 88)
    assert same != kept
