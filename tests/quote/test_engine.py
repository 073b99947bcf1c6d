"""Judging, costing and choosing, on offers made for the purpose."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtrain.errors import Unavailable
from cloudtrain.models import registry
from cloudtrain.offer import Limits, Offer, Pace, Price, Range, Terms
from cloudtrain.providers import Context, PriceSource, Stack, load
from cloudtrain.quote import engine
from cloudtrain.quote.assessment import Assessment
from cloudtrain.quote.compatibility import compatibility, entries
from cloudtrain.quote.costs import cost_parts
from cloudtrain.quote.lessons.measured import Measurements
from cloudtrain.quote.recipes import table as recipes
from cloudtrain.quote.request import Request, parse_place
from cloudtrain.quote.row import QuoteRow
from cloudtrain.units import GIB
from tests.chance import examples

PRICE = Price("snapshot", "2026-11-01", "the test", "VERIFIED")
TERMS = Terms(
    boot_s=Range(10, 20, 30),
    image_bytes_per_s=Range(1e7, 1e8, 1e9),
    download_bytes_per_s=Range(1e8, 2e8, 1e9),
    disk_usd_per_gb_month=Decimal("0.1"),
    address_usd_per_hour=Decimal("0.005"),
    egress_usd_per_gb=Decimal("0.09"),
    minimum_billed_s=60,
    source="the test",
)


def offer(**changes: Any) -> Offer:
    """A host of 64 Zen vCPUs and 512 GiB for two dollars an hour."""
    made = Offer(
        "gcp", "host-64", "here", "here-a", "cpu-zen", 64, 512 * GIB, 64, 512 * GIB, "on_demand", Decimal(2), PRICE
    )
    return made._replace(**changes)


def request(model: str = "qwen3-8b", **changes: Any) -> Request:
    """A job."""
    return Request(spec=registry.find(model), **{"max_hours": 168.0, **changes})


def lines(asked: Request, *offers: Offer, stack: Stack | None = None, terms: Terms = TERMS) -> list[QuoteRow]:
    """The offers as judged lines."""
    return engine.judged(asked, PriceSource("gcp", lambda context: offers, terms), offers, stack, None)


def test_the_cost_lines_sum_to_the_likely_total() -> None:
    """Quantity x unit price over all named lines is the likely dollars, on demand and on spot."""
    for market in ("on_demand", "spot"):
        (line,) = lines(request(), offer(market=market))
        assert line.usd is not None
        total = sum((part.usd for part in cost_parts(line) if part.usd is not None), Decimal(0))
        assert abs(total - line.usd.likely) < Decimal("0.001")


def test_the_time_parts_sum_to_the_hours() -> None:
    """Named stretches of time add up to the wall time of a run that is not interrupted."""
    (line,) = lines(request(), offer())
    assert line.assessment.hours is not None
    for bound in ("low", "likely", "high"):
        total = sum(getattr(part.seconds, bound) for part in line.assessment.time_parts)
        assert total / 3600 == pytest.approx(getattr(line.assessment.hours, bound))


@settings(max_examples=examples(60))
@given(
    tokens=st.integers(1, 10**9),
    more=st.integers(1, 10**9),
    price=st.decimals("0.01", "100", places=3),
    vcpus=st.sampled_from([2, 8, 64, 192]),
)
def test_more_tokens_never_cost_less(tokens: int, more: int, price: Decimal, vcpus: int) -> None:
    """Dollars and hours grow with the work, and low <= likely <= high."""
    asked = offer(usd_per_hour=price, count=vcpus, vcpus=vcpus)
    (small,) = lines(request("smollm2-135m", tokens=tokens, max_hours=None), asked)
    (large,) = lines(request("smollm2-135m", tokens=tokens + more, max_hours=None), asked)
    assert small.usd is not None
    assert large.usd is not None
    assert small.assessment.hours is not None
    assert large.assessment.hours is not None
    assert small.usd.likely <= large.usd.likely
    assert small.assessment.hours.likely <= large.assessment.hours.likely
    for three in (small.usd, large.usd, small.assessment.hours):
        assert three.low <= three.likely <= three.high


def test_an_unknown_price_is_never_viable_and_never_summed() -> None:
    """Without a price there are no dollars, the row is not viable, and the reason says so."""
    (line,) = lines(request(), offer(usd_per_hour=None, note="no list price"))
    assert line.usd is None
    assert not line.viable
    assert "price unknown: no list price" in line.reasons()


def test_a_session_limit_and_a_ceiling_are_reasons() -> None:
    """What takes longer than the provider or the person allows is rejected with both figures."""
    (session,) = lines(request(), offer(limits=Limits(session_hours=0.1)))
    (ceiling,) = lines(request(max_hours=0.1), offer())
    assert (session.viable, ceiling.viable) == (False, False)
    assert "a session ends after 0.1 h" in session.assessment.barred
    assert "the ceiling is 0.1 h" in ceiling.assessment.late


def test_an_unknown_chip_is_a_row_with_a_reason() -> None:
    """An offer whose chip the table does not have is shown as such."""
    (line,) = lines(request(), offer(hardware="quantum", name="q1"))
    assert not line.viable
    assert "not in the accelerator table" in line.reasons()[0]


def test_hours_stay_unknown_where_no_peak_is_known() -> None:
    """A card without a figure has no hours, no dollars, and says why."""
    (line,) = lines(request(), offer(hardware="rx6800xt"))
    assert line.assessment.hours is None
    assert not line.viable


def test_spot_with_a_long_setup_costs_more_than_its_work() -> None:
    """Interruptions of a job that takes hours to set up are a named stretch of time."""
    (line,) = lines(request("longcat-flash", max_hours=None), offer(market="spot"))
    names = [part.name for part in line.assessment.time_parts]
    assert "interruptions" in names
    assert line.assessment.hours is not None
    (plain,) = lines(request("longcat-flash", max_hours=None), offer())
    assert plain.assessment.hours is not None
    assert line.assessment.hours.likely > plain.assessment.hours.likely


def case(fits: str = "fits", loads: str = "yes", launch: str = "yes") -> Assessment:
    """A case as far as choosing looks at it."""
    (line,) = lines(request(), offer())
    from dataclasses import replace

    return replace(line.assessment, fits=fits, loads=loads, launch=launch)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [((10.0, 12.0), 1), ((10.0, 12.5), 1), ((10.0, 12.6), 0)],
)
def test_tight_rows_are_chosen_only_over_much_dearer_fitting_ones(ranks: tuple[float, float], expected: int) -> None:
    """A row that fits for less than a quarter more goes before the tight one."""
    tight, fitting = (QuoteRow(offer(), c, rank, True) for c, rank in zip((case("tight"), case()), ranks, strict=True))
    assert engine.choose([tight, fitting], request()) == expected


def test_what_cannot_be_started_or_is_experimental_is_not_chosen() -> None:
    """`launch` must be yes; experimental only when asked for."""
    rows = [
        QuoteRow(offer(), case(launch="not yet"), 1.0, True),
        QuoteRow(offer(), case(loads="experimental"), 2.0, True),
    ]
    assert engine.choose(rows, request()) is None
    assert engine.choose(rows, request(experimental=True)) == 1


def test_a_row_over_the_cap_is_not_viable() -> None:
    """And nothing else is said of one that is not viable for another reason."""
    row = QuoteRow(offer(), case(), 2.0, True, Decimal("1.5"))
    assert (row.viable, row.too_dear) == (False, True)
    assert "the cap is $1.50" in row.reasons()[-1]
    other = QuoteRow(offer(), case(), 2.0, False, Decimal("1.5"))
    assert (other.viable, other.too_dear) == (False, False)
    assert [reason for reason in other.reasons() if "cap" in reason] == []
    assert QuoteRow(offer(), case(), 1.5, True, Decimal("1.5")).viable


def test_a_failing_price_source_is_a_line_not_a_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other sources still answer, and the failure is named."""
    real = load("pricing", "gcp", PriceSource)

    def broken(context: Context) -> list[Offer]:
        raise Unavailable("the feed did not answer")

    monkeypatch.setattr(
        engine,
        "load",
        lambda package, name, kind: (
            PriceSource(name, broken, real.terms)
            if (package, name) == ("pricing", "gcp")
            else load(package, name, kind)
        ),
    )
    quoted = engine.quote(request(), Context(tmp_path))
    assert quoted.failures == (("gcp", "the feed did not answer"),)
    assert {line.offer.provider for line in quoted.lines} == {"local"}


def test_long_measured_runs_nearly_replace_the_published_efficiency(tmp_path: Path) -> None:
    """The same machine, method and stack is quoted near the measured speed, with n; another method is not."""
    asked = request("qwen3-0.6b", method="lora")
    flops = asked.flops_per_token()
    row = {"hardware": "cpu-zen", "count": 64, "method": "lora", "stack": "trl-cpu", "flops_per_s": 100 * flops}
    row |= {"tokens_per_second": 100.0, "steps": 2000, "tokens": 4_000_000, "load": 0.0, "provider": "gcp"}
    row |= {"sequence_length": asked.sequence_length}
    (tmp_path / "measurements.jsonl").write_text("not json\n" + "\n".join([json.dumps(row)] * 2))
    known = Measurements.of_state(str(tmp_path))
    source = PriceSource("gcp", lambda context: [offer()], TERMS)
    (line,) = engine.judged(asked, source, [offer()], None, known)
    assert line.assessment.tokens_per_second is not None
    assert line.assessment.tokens_per_second.likely == pytest.approx(100, rel=0.15)
    assert line.assessment.learnt is not None
    assert 0.9 < line.assessment.learnt.weight < 1
    assert "n = 2" in line.assessment.basis
    (other,) = engine.judged(request("qwen3-0.6b", method="full"), source, [offer()], None, known)
    assert "n = 2" not in other.assessment.basis


def test_a_speed_measured_in_another_number_type_does_not_count(tmp_path: Path) -> None:
    """A float32 run says nothing about bf16; a run from before the type was kept counts as bf16."""
    asked = request("qwen3-0.6b", method="lora")
    source = PriceSource("gcp", lambda context: [offer()], TERMS)
    row = {"hardware": "cpu-zen", "count": 64, "method": "lora", "stack": "trl-cpu", "flops_per_s": 1e9}
    for kind, counts in (({}, True), ({"dtype": "bf16"}, True), ({"dtype": "fp32"}, False)):
        (tmp_path / "measurements.jsonl").write_text(json.dumps({**row, **kind}) + "\n")
        known = Measurements.of_state(str(tmp_path))
        (line,) = engine.judged(asked, source, [offer()], None, known)
        assert ("n = 1" in line.assessment.basis) == counts


def test_every_back_end_has_a_recipe_or_trains_nothing() -> None:
    """Recipes and the accelerator table name the same back ends."""
    from cloudtrain.estimate.hardware import all_hardware

    assert {chip.backend for chip in all_hardware()} - {"none"} == set(recipes())


def test_compatibility_names_known_families_and_gives_reasons() -> None:
    """Every family in the table is one that the registry or the reader knows, and whatever is not a plain yes says why."""
    from cloudtrain.models.families import FAMILIES
    from cloudtrain.models.hybrid import KINDS

    for entry in entries():
        assert entry.families <= {*FAMILIES, *KINDS, "*"}
        assert entry.found.verdict in ("yes", "experimental", "no trainer")
        assert entry.found.reason or entry.found.verdict == "yes"
    assert compatibility("tpu", "longcat_flash", "qlora").verdict == "experimental"
    assert compatibility("tpu", "qwen3", "qlora", "v6e").verdict == "yes"
    assert compatibility("tpu", "qwen3", "qlora", "v3").verdict == "experimental"
    assert compatibility("tpu", "qwen3", "full", "v6e").verdict == "no trainer"
    assert compatibility("torch-cpu", "longcat_flash", "qlora").verdict == "yes"
    assert compatibility("mlx", "longcat_flash", "qlora").verdict == "yes"
    assert compatibility("neuron", "llama", "qlora").verdict == "no trainer"


def test_a_model_that_the_trainer_refuses_loads_nowhere() -> None:
    """Its own repository counts, not the architecture alone; LoRA unpacks what QLoRA refuses."""
    assert compatibility("rocm", "gpt_oss", "qlora").verdict == "experimental"
    gpu = offer(name="one", hardware="mi300x", count=1, memory_bytes=192 * GIB)
    (packed,) = lines(request("gpt-oss-20b"), gpu)
    assert (packed.assessment.loads, packed.viable) == ("no trainer", False)
    assert any("mxfp4" in reason for reason in packed.reasons())
    (unpacked,) = lines(request("gpt-oss-20b", method="lora"), gpu)
    assert (unpacked.assessment.loads, unpacked.viable) == ("experimental", True)
    assert any("unpacked to 16 bit" in reason for reason in unpacked.reasons())


def test_a_place_holds_its_zones() -> None:
    """provider/region/zone narrows; an offer of several zones is in each."""
    where = offer(zone="here-a here-b")
    assert parse_place("gcp/here/here-b").holds(where)
    assert not parse_place("gcp/there").holds(where)


@pytest.mark.parametrize(
    ("method", "length", "batch", "measured_gib"),
    [
        ("qlora", 256, 1, 1.92),
        ("qlora", 1024, 2, 4.83),
        ("lora", 512, 2, 2.54),
        ("lora", 1024, 4, 8.31),
        ("full", 512, 2, 3.03),
    ],
)
def test_the_memory_of_a_cpu_run_is_quoted_as_measured(
    method: Any, length: int, batch: int, measured_gib: float
) -> None:
    """The process peaks of five real runs of SmolLM2-135M (2026-11-24) are never undershot by more than 5 %."""
    asked = request("smollm2-135m", method=method, sequence_length=length, batch=batch)
    (line,) = lines(asked, offer())
    assert -0.05 <= line.assessment.required_bytes / GIB / measured_gib - 1 <= 0.40


def test_threads_are_slower_than_cores() -> None:
    """The same vCPUs: a thread of a core does about half of what a core does, and the basis says which it is."""
    core = lines(request(), offer(name="c7a.16xlarge", provider="aws"))[0].assessment
    thread = lines(request(), offer(name="c3d-highmem-64"))[0].assessment
    assert core.tokens_per_second is not None
    assert thread.tokens_per_second is not None
    assert thread.tokens_per_second.likely == pytest.approx(0.55 * core.tokens_per_second.likely)
    assert "a vCPU is a core" in core.basis
    assert "a vCPU is a thread" in thread.basis


def test_a_share_of_the_speed_is_slower() -> None:
    """Its middle by the likely share; the share's doubt makes the range wider, and the basis says why."""
    (whole,) = lines(request(), offer())
    (flex,) = lines(request(), offer(pace=Pace(0.4, 0.97, 1.0, "a flex size")))
    fast, slow = whole.assessment.tokens_per_second, flex.assessment.tokens_per_second
    assert fast is not None
    assert slow is not None
    assert slow.likely == pytest.approx(fast.likely * 0.97)
    assert fast.low * 0.4 < slow.low < fast.low * 0.97
    assert slow.high / slow.likely == pytest.approx(fast.high / fast.likely, rel=0.01)
    assert "; a flex size" in flex.assessment.basis
    assert "flex" not in whole.assessment.basis
