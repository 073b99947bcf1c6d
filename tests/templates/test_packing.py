"""Packing: documents stay whole, rows stay within the capacity, little room is left."""

from __future__ import annotations

import packing
from hypothesis import given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 64), max_size=60)


@given(LENGTHS)
def test_every_document_is_in_exactly_one_fitting_row(lengths: list[int]) -> None:
    """No document is lost, doubled or cut."""
    rows = packing.pack(lengths, 64)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= 64 for row in rows)


@given(LENGTHS)
def test_no_two_rows_would_fit_into_one(lengths: list[int]) -> None:
    """A row is opened only when no other has room, so any two together are too long."""
    sums = sorted(sum(lengths[index] for index in row) for row in packing.pack(lengths, 64))
    assert len(sums) < 2 or sums[0] + sums[1] > 64


def test_the_fullest_row_with_room_is_taken() -> None:
    """7 and 6 open rows; 3 goes to the 7, then 4 to the 6: both are full."""
    assert packing.pack([6, 7, 3, 4], 10) == [[1, 2], [0, 3]]


@given(st.integers(1, 500), st.integers(1, 8), st.integers(1, 8), st.integers(1, 5))
def test_steps_cover_every_row_every_epoch(rows: int, micro_batch: int, grad_accum: int, epochs: int) -> None:
    """An epoch is the fewest steps that touch all rows; a step limit replaces the count."""
    steps = packing.total_steps(rows, micro_batch, grad_accum, epochs, None)
    assert (steps // epochs) * micro_batch * grad_accum >= rows > (steps // epochs - 1) * micro_batch * grad_accum
    assert packing.total_steps(rows, micro_batch, grad_accum, epochs, 7) == 7
