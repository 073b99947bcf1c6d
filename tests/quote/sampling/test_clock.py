"""Hours from sampled parts: against random runs, event by event; the parts add up."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtrain.estimate.spot import Prior
from cloudtrain.estimate.waits import NOTHING, Wait
from cloudtrain.models import registry
from cloudtrain.offer import Range
from cloudtrain.providers import Context
from cloudtrain.quote import engine
from cloudtrain.quote.catalog import shipped
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import Quote, QuoteRow
from cloudtrain.quote.sampling.clock import Clock
from cloudtrain.quote.sampling.draws import Stretches
from cloudtrain.quote.sampling.parts import TimePart
from tests.chance import examples
from tests.quote.sampling.reference import reference

HOUR = 3600.0
MODELS = ("smollm2-135m", "qwen3-0.6b", "llama-3.2-1b", "qwen3-4b", "llama-3.1-8b", "qwen3-8b", "gpt-oss-20b",
          "qwen3-30b-a3b", "qwen3-32b", "llama-3.3-70b", "qwen3-235b-a22b", "longcat-flash")  # fmt: skip
METHODS = ("qlora", "lora", "full")


def quoted(model: str, method: str) -> Quote:
    """A quote of the shipped prices."""
    return engine.quote(
        Request(spec=registry.find(model), method=method, max_hours=168.0),  # type: ignore[arg-type]
        Context(shipped()),
    )


def kinds(quote: Quote) -> Iterator[QuoteRow]:
    """One row of each kind of machine whose hours are known."""
    seen: set[int] = set()
    for line in quote.lines:
        if line.assessment.clock is not None and id(line.assessment) not in seen:
            seen.add(id(line.assessment))
            yield line


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", MODELS)
def test_the_parts_of_every_row_sum_to_its_hours(model: str, method: str) -> None:
    """Waiting included; without it they are what is billed, where no minimum is."""
    rows = [line for line in kinds(quoted(model, method)) if line.assessment.could_do]
    for line in rows[:: max(1, len(rows) // 12)]:
        assessment = line.assessment
        assert assessment.clock is not None
        assert assessment.hours is not None
        assert assessment.billed_hours is not None
        parts = assessment.time_parts
        for bound in ("low", "likely", "high"):
            whole = sum(getattr(part.seconds, bound) for part in parts)
            billed = sum(getattr(part.seconds, bound) for part in parts if part.billed)
            assert whole / HOUR == pytest.approx(getattr(assessment.hours, bound), rel=1e-6)
            least = max(billed, assessment.clock.stretches.minimum_s)
            assert least / HOUR == pytest.approx(getattr(assessment.billed_hours, bound), rel=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", MODELS)
def test_every_viable_row_is_sure_enough_to_end_in_time(model: str, method: str) -> None:
    """None below 0.8 while another has it for less than twice; what is viable has it."""
    quote = quoted(model, method)
    assert all((line.assessment.p_done or 0) >= 0.8 for line in quote.lines if line.viable)


@pytest.mark.soak
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", MODELS)
def test_quantiles_are_those_of_many_random_runs(model: str, method: str) -> None:
    """P10, P50 and P90 of wall and running time within 3 % of 200,000 runs, P(done) within 0.02; some rows a model.

    The runs have an error of their own, up to 1 % at P90 of the widest rows.
    """
    rows = [line for line in kinds(quoted(model, method)) if line.viable]
    picked = {line.offer.market: line for line in reversed(rows)}
    for line in picked.values():
        clock = line.assessment.clock
        assert clock is not None
        expected = reference(clock.stretches, 200_000, 168 * HOUR)
        found, random = [*sum(clock.ranges(), ())], [*expected.wall, *expected.running]
        for ours, theirs, error in zip(found, random, expected.errors, strict=True):
            assert ours == pytest.approx(theirs, abs=0.03 * theirs + error)
        assert line.p_shown == pytest.approx(expected.ended, abs=0.02)


def part(name: str, low: float, likely: float, high: float) -> TimePart:
    """A part of so many seconds."""
    return TimePart(name, Range(low, likely, high), "the test")


def stretches(*, work: float = HOUR, between: float | None = None, spread: float = 2.0, wait: bool = True) -> Stretches:
    """A job with ten minutes of set-up."""
    minute = 60.0
    return Stretches(
        setup=(part("boot", minute, minute, minute), part("load", 5 * minute, 9 * minute, 20 * minute)),
        restart=(part("boot", minute, minute, minute), part("load", 5 * minute, 9 * minute, 20 * minute)),
        steps=(part("steps", work / spread, work, work * spread),),
        write=Range(1, 2, 4),
        assumed_s=2.0,
        result=part("result", 1, 2, 4),
        wait=Wait(Range(10, 60, HOUR), Range(minute, HOUR, 4 * HOUR), "the test")
        if wait
        else Wait(NOTHING, NOTHING, ""),
        between=None if between is None else Prior(Range(between / 2, between, 2 * between), "the test"),
        minimum_s=60.0,
    )


@pytest.mark.parametrize("between", [None, 100 * HOUR, 5 * HOUR, HOUR])
@pytest.mark.parametrize("work", [0.1 * HOUR, HOUR, 20 * HOUR])
def test_quantiles_agree_with_random_runs(work: float, between: float | None) -> None:
    """However often machines are taken away."""
    clock = Clock(stretches(work=work, between=between)._replace(ceiling_h=30.0))
    expected = reference(clock.stretches, 20_000, 30 * HOUR)
    wall, running = clock.ranges()
    assert list(wall) == pytest.approx(list(expected.wall), rel=0.08)
    assert list(running) == pytest.approx(list(expected.running), rel=0.06)
    assert clock.p_shown == pytest.approx(expected.ended, abs=0.03)
    assert clock.p_done(0.8) == pytest.approx(expected.ended, abs=0.08)  # of few points where it is far from the bar


@settings(max_examples=examples(30), deadline=None)
@given(work=st.floats(1.0, 1e6), more=st.floats(1.0, 10.0), spread=st.floats(1.0, 20.0), between=st.floats(600.0, 1e6))
def test_more_work_never_takes_less(work: float, more: float, spread: float, between: float) -> None:
    """Nor do more frequent interruptions; low <= likely <= high, running <= wall."""
    plain = Clock(stretches(work=work, spread=spread))
    longer = Clock(stretches(work=work * more, spread=spread))
    spot = Clock(stretches(work=work, spread=spread, between=between))
    for clock in (plain, longer, spot):
        for figure in clock.ranges():
            assert figure.low <= figure.likely <= figure.high
        assert all(wall >= ran for wall, ran in zip(*clock.ranges(), strict=True))
    # What is small beside the rest is fixed: that moves a quantile by a hair.
    assert all(one <= other * 1.001 for one, other in zip(plain.hours, longer.hours, strict=True))
    assert all(one <= other * 1.03 for one, other in zip(plain.hours, spot.hours, strict=True))


def test_machines_that_die_while_set_up_never_end() -> None:
    """No probability, hours without an end, and nothing raises."""
    clock = Clock(stretches(between=1.0)._replace(ceiling_h=1e9))
    assert clock.hours.high == math.inf
    assert clock.p_done(0.8) == clock.p_shown == 0.0
    assert clock.p_endless > 0.6  # the others take for ever too
    assert clock.parts[-1].seconds.high == math.inf


def test_sessions_bound_running_and_ceilings_waiting() -> None:
    """Waiting counts for the ceiling alone."""
    made = stretches()
    wall, running = Clock(made).ranges()

    def shown(ceiling_s: float | None, session_s: float | None) -> float:
        limits = (None if each is None else each / HOUR for each in (ceiling_s, session_s))
        return Clock(made._replace(**dict(zip(("ceiling_h", "session_h"), limits, strict=True)))).p_shown

    assert shown(wall.likely, None) == pytest.approx(0.5, abs=0.02)
    assert shown(None, running.likely) == pytest.approx(0.5, abs=0.02)
    assert shown(running.likely, None) < 0.45
    assert shown(None, None) == 1.0


def test_what_is_cut_off_costs_no_more() -> None:
    """The mean billed hours of runs that are ended at it."""
    made = stretches(work=100 * HOUR)
    assert Clock(made._replace(ceiling_h=1.0)).expected_h() == (1.0, 1.0)
    free, _ = Clock(made).expected_h()
    assert 100 < free < 150


def test_short_runs_are_billed_for_the_minimum() -> None:
    """A minute at least."""
    made = stretches(work=1.0)._replace(setup=(), restart=(), minimum_s=600.0)
    clock = Clock(made)
    assert clock.billed_hours == Range(600 / HOUR, 600 / HOUR, 600 / HOUR)
    assert clock.expected_h()[0] == pytest.approx(600 / HOUR)
