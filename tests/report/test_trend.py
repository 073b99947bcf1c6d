"""How figures move from night to night, in words, arrows and blocks."""

from __future__ import annotations

import pytest

from cloudtrain.report import trend
from tests.report.histories import NOW, account, costing, history, night


def course_of(values: list[float | None], figure: int) -> trend.Course:
    """A figure over nights with these values."""
    names = ("machines", "measured_tokens_per_second", "loss", "eval_loss")
    accounts = []
    for number, value in enumerate(values):
        given = costing(None if value is None else f"{value * 5:.6f}") if figure == 0 else value
        accounts.append(
            account(f"r-{number}", started_at=NOW - 1000.0 * (len(values) - number), **{names[figure]: given})
        )
    (line,) = trend.lines(history(accounts))
    return line.courses[figure]


@pytest.mark.parametrize(
    ("figure", "values", "arrow", "verdict"),
    [
        (0, [1.0, 1.0, 1.0, 0.8, 0.8, 0.8], "↓", "better"),
        (0, [1.0, 1.0, 1.0, 1.3, 1.2, 1.3], "↑", "worse"),
        (1, [100.0, 100.0, 130.0, 130.0, 130.0], "↑", "better"),
        (1, [100.0, 100.0, 60.0, 60.0, 60.0], "↓", "worse"),
        (2, [2.0, 2.0, 2.0, 2.01, 2.02, 2.0], "→", "steady"),
        (2, [2.0, 1.0, 1.0, 1.0], "", ""),
        (3, [None, 2.0, None, 2.0, 1.0, 1.0, None, 1.0], "↓", "better"),
        (3, [None, None], "", ""),
    ],
)
def test_a_move_has_an_arrow_and_a_verdict(figure: int, values: list[float | None], arrow: str, verdict: str) -> None:
    """Less is better, but for speed; too few figures say nothing."""
    found = course_of(values, figure)
    assert (found.arrow, found.verdict) == (arrow, verdict)
    assert found.known == pytest.approx([value for value in values if value is not None])
    assert [value is None for value in found.values] == [value is None for value in values]


@pytest.mark.parametrize(
    ("values", "shown"),
    [((1.0, 2.0, 3.0), "▁▅█"), ((1.0, None, 1.0), "▄·▄"), ((None, None), "··"), ((), ""), ((1e300, -1e300), "█▁")],
)
def test_blocks_rise_with_the_figures(values: tuple[float | None, ...], shown: str) -> None:
    """What is not known is a dot and no low block."""
    assert trend.blocks(values, 8) == shown


def test_a_line_is_a_schedule_or_a_spec() -> None:
    """Runs that a night began are together whatever their names; runs that did not finish are in none."""
    found = history(
        [
            account("a", spec="x"),
            account("b", spec="y"),
            account("c", spec="y"),
            account("d", spec="z", state="failed"),
        ],
        [("nightly", night("2026-11-28", run="a")), ("nightly", night("2026-11-29", run="b"))],
    )
    assert sorted((line.name, sorted(entry.run for entry in line.entries)) for line in trend.lines(found)) == [
        ("nightly", ["a", "b"]),
        ("y", ["c"]),
    ]
