"""The micro-batch of a row: cheapest where unpacking is repeated, with room, and one as everywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.estimate import memory
from cloudtrain.quote import batches, recipes
from cloudtrain.quote.document import row_document
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import QuoteRow
from cloudtrain.units import GIB
from tests.quote.test_engine import TERMS, lines, offer
from tests.quote.test_engine import request as job

HOST = offer(memory_bytes=768 * GIB, threads_per_core=1)  # what unpacking is a large part of


@pytest.fixture(autouse=True)
def slow_unpacking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A rate at which it counts, whatever the shipped one is by now."""
    row = recipes.row_of("torch-cpu", "longcat_flash", "qlora")
    assert row is not None
    monkeypatch.setitem(row, "dequantise_per_vcpu_s", [165e6, 280e6, 410e6])
    recipes.recipe.cache_clear()
    yield
    monkeypatch.undo()
    recipes.recipe.cache_clear()


def request(model: str = "longcat-flash", **changes: Any) -> Request:
    """A job for which nobody said a batch."""
    return job(model, **{"batch_given": False, **changes})


def row(asked: Request, **changes: Any) -> QuoteRow:
    """The host's line."""
    (line,) = lines(asked, HOST._replace(**changes))
    return line


def batch(line: QuoteRow) -> int:
    """The micro-batch of a line."""
    assert line.assessment.recipe is not None
    return line.assessment.recipe.options.batch


def hours(line: QuoteRow) -> float:
    """The likely hours of a line."""
    assert line.assessment.hours is not None
    return line.assessment.hours.likely


def test_a_row_takes_the_cheapest_batch_itself() -> None:
    """And is the row that --batch with that number makes."""
    own, one = row(request()), row(request(batch_given=True))
    given = row(request(batch=batch(own), batch_given=True))
    assert batch(own) == 8
    assert hours(own) == hours(given) < 0.9 * hours(one)
    assert own.usd == given.usd
    assert own.assessment.required_bytes == given.assessment.required_bytes > one.assessment.required_bytes
    document = row_document(own)
    assert document["recipe"]["batch"] == 8
    assert {**document, "reasons": []} == {**row_document(given), "reasons": []}


@pytest.mark.parametrize("size", [2, 4, 16, 32])
def test_no_other_batch_with_room_is_much_cheaper(size: int) -> None:
    """Up to what is usual for a step of the optimizer."""
    own, other = row(request()), row(request(batch=size, batch_given=True))
    if size < batch(own):
        assert hours(other) > hours(own)
    else:
        assert size * 2048 > batches.MOST_TOKENS


@pytest.mark.parametrize("gib", range(290, 520, 10))
def test_a_larger_batch_never_takes_the_room_away(gib: int) -> None:
    """It leaves half of what the weights leave; a row that is tight with one sequence keeps one."""
    line = row(request(), memory_bytes=gib * GIB)
    one = row(request(batch_given=True), memory_bytes=gib * GIB)
    assert line.assessment.fits == one.assessment.fits
    if batch(line) > 1:
        assert line.assessment.recipe is not None
        weights = memory.estimate(request().spec, line.assessment.recipe.options).parts.weights
        assert 2 * (line.assessment.required_bytes - weights) <= line.assessment.memory_bytes - weights


def test_every_size_of_batch_occurs_with_some_memory() -> None:
    """Less memory, a smaller batch; and never a larger one."""
    found = [batch(row(request(), memory_bytes=gib * GIB)) for gib in range(290, 520, 10)]
    assert found == sorted(found)
    assert set(found) == {1, 2, 4, 8}


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        (request("qwen3-8b"), HOST),
        (request("qwen3-30b-a3b"), HOST),
        (request(method="lora"), HOST._replace(memory_bytes=2048 * GIB)),
        (request(), HOST._replace(hardware="mi300x", count=8, memory_bytes=192 * GIB, vcpus=None)),
    ],
)
def test_one_sequence_where_nothing_is_repeated(asked: Request, where: Any) -> None:
    """Only 4-bit experts on a processor are unpacked for each micro-batch."""
    (line,) = lines(asked, where)
    assert batch(line) == 1
    assert line.assessment.instead is None


def test_nothing_is_searched_where_the_speed_is_unknown() -> None:
    """Then nobody can say what is cheaper."""
    ours = row(request()).assessment.recipe
    assert ours is not None
    room = batches.Room(768 * GIB, 1.0, None, 64)
    assert batches.settled(request(), ours, room) == (request(), ours, None)


def test_a_short_job_keeps_its_steps() -> None:
    """At least so many are left where nobody said how many sequences one has."""
    found = {tokens: batch(row(request(tokens=tokens))) for tokens in (50_000, 300_000, 500_000, 4_000_000)}
    assert found == {50_000: 1, 300_000: 2, 500_000: 4, 4_000_000: 8}


def test_a_given_batch_stays_and_a_cheaper_is_named() -> None:
    """With the dollars of the row that it makes."""
    own, one = row(request()), row(request(batch_given=True))
    assert batch(one) == 1
    assert own.usd is not None
    assert one.reasons() == [f"cheaper with --batch 8: likely ${own.usd.likely:.2f}"]
    assert not own.reasons()


def test_nothing_is_said_of_a_small_saving() -> None:
    """Below a tenth of the dollars a change is not worth it."""
    four = row(request(batch=4, batch_given=True))
    assert four.assessment.instead is not None
    assert not four.reasons()


def test_nothing_cheaper_is_said_of_a_rejected_row() -> None:
    """It has other troubles."""
    assert not any("cheaper" in reason for reason in row(request(batch_given=True, max_hours=1.0)).reasons())
    assert not any("cheaper" in reason for reason in row(request(batch_given=True), usd_per_hour=None).reasons())


@pytest.mark.parametrize(("step", "found"), [(1, 1), (2, 2), (6, 6), (7, 7), (12, 12), (24, 12)])
def test_the_sequences_of_a_step_are_split_evenly(step: int, found: int) -> None:
    """Every micro-batch of a step has as many sequences, so that the steps are the same ones."""
    own = batch(row(request(step_sequences=step), memory_bytes=600 * GIB))
    assert step % own == 0
    assert own == found


def test_a_spec_is_told_in_its_own_words() -> None:
    """What to write so that more sequences can be processed at once."""
    one = row(request(step_sequences=1))
    named = row(request(step_sequences=8, batch_given=True))
    both = row(request(step_sequences=1, batch_given=True))
    free, split = row(request()), row(request(step_sequences=8))
    assert free.usd == split.usd
    assert free.usd is not None
    likely = f"likely ${free.usd.likely:.2f}"
    assert one.reasons() == [f"cheaper with `grad_accum: 8`: {likely}"]
    assert named.reasons() == [f"cheaper with no `micro_batch` (8 then): {likely}"]
    assert both.reasons() == [f"cheaper with `grad_accum: 8` and no `micro_batch`: {likely}"]


def test_an_owned_machine_that_costs_nothing_is_not_called_cheaper() -> None:
    """There are no dollars to save."""
    here = HOST._replace(usd_per_hour=Decimal(0), market="owned")
    none = dict.fromkeys(("disk_usd_per_gb_month", "address_usd_per_hour", "egress_usd_per_gb"), Decimal(0))
    (line,) = lines(request(batch_given=True), here, terms=TERMS._replace(**none))
    assert line.usd_likely == 0
    assert line.assessment.instead is not None
    assert not line.reasons()
