"""Scales and ticks: round, within the drawing, whatever the figures are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.report.page import svg

FIGURES = st.floats(min_value=-1e15, max_value=1e15, allow_nan=False)


@given(st.lists(FIGURES, min_size=1, max_size=20))
def test_every_figure_is_within_its_scale(values: list[float]) -> None:
    """From zero for those above it, around them for any; ticks too, and never many."""
    for scale, wanted in (
        (svg.from_zero(values, 200.0, 10.0), [v for v in values if v >= 0]),
        (svg.around(values, 200.0, 10.0), values),
    ):
        assert all(10.0 <= scale.at(value) <= 200.0 for value in wanted)
        assert 1 <= len(scale.ticks()) <= 12
        assert all(10.0 <= scale.at(tick) <= 200.0 for tick in scale.ticks())


@given(st.lists(st.floats(min_value=1e-9, max_value=1e15), min_size=2, max_size=8))
def test_a_larger_figure_is_drawn_higher(values: list[float]) -> None:
    """Linear or logarithmic."""
    scale = svg.around(sorted(values), 200.0, 10.0)
    heights = [scale.at(value) for value in sorted(values)]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([1.0, 8.6], [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
        ([0.03], [0.0, 0.01, 0.02, 0.03]),
        ([], [0.0, 0.5, 1.0]),
        ([0.0], [0.0, 0.5, 1.0]),
        ([740.0], [0.0, 200.0, 400.0, 600.0, 800.0]),
    ],
)
def test_ticks_are_round_numbers(values: list[float], ticks: list[float]) -> None:
    """Of dollars, from zero."""
    found = svg.from_zero(values, 200.0, 10.0).ticks()
    assert found[0] == 0
    assert all(any(math.isclose(tick, each, abs_tol=1e-9) for each in found) for tick in ticks[-1:])


def test_figures_far_apart_are_drawn_by_their_logarithm() -> None:
    """Ninety tokens a second beside nine thousand."""
    scale = svg.around([90.0, 9000.0], 0.0, 100.0)
    assert (scale.log, scale.ticks()) == (True, [10.0, 100.0, 1000.0, 10000.0])
    assert not svg.around([90.0, 900.0], 0.0, 100.0).log
    assert not svg.around([-1.0, 9000.0], 0.0, 100.0).log


def test_an_attribute_that_is_none_is_left_out() -> None:
    """And pixels are written short."""
    assert svg.tag("circle", cx=1.0, cy=2.25, r=3, class_=None) == '<circle cx="1" cy="2.2" r="3"/>'
    assert svg.tag("g", aria_label="a") == '<g aria-label="a"></g>'
