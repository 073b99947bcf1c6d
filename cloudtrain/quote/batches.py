"""The micro-batch that is cheapest on a kind of machine, where a part of every micro-batch takes the same time.

A processor unpacks 4-bit experts once for each micro-batch, however many sequences it has. Elsewhere the speeds of the
efficiency data hold for any size, and nothing is searched.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate import budget, memory
from cloudtrain.quote import times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtrain.offer import Range
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

# Where nobody said how many sequences a step of the optimizer has, a micro-batch is a whole step at the least: it stays
# at what is usual for adapters, and so many steps are left to learn in.
MOST_TOKENS = 16_384
LEAST_STEPS = 50
LEAST_GAIN = 0.01  # of the time of all steps, or the smaller one is as good
SHARE_OF_FREE = 0.5  # of the memory that the weights leave: what a step needs is the least certain figure


class Room(NamedTuple):
    """The machine as far as it decides: usable bytes, by what its memory estimate is raised, speed in tokens/s."""

    usable: int
    factor: float
    rate: Range | None
    vcpus: int | None


class Larger(NamedTuple):
    """What to ask for so that a larger micro-batch is taken: in words, and as a request."""

    words: str
    request: Request


def settled(request: Request, ours: Recipe, room: Room) -> tuple[Request, Recipe, Larger | None]:
    """Both with the micro-batch that is cheapest there, if nobody gave one; and a larger one that would be cheaper."""
    if not repeats(ours):
        return request, ours, None
    if request.batch_given or (best := cheapest(request, ours, room)) == request.batch:
        return request, ours, larger(request, ours, room)
    return replace(request, batch=best), of_size(ours, best), larger(request, ours, room)


def larger(request: Request, ours: Recipe, room: Room) -> Larger | None:
    """What to ask for instead where a larger micro-batch than may be taken for the request takes less time."""
    one = replace(request, batch=1, batch_given=False)
    if request.batch_given and (best := cheapest(one, of_size(ours, 1), room)) > request.batch:
        return Larger(f"--batch {best}" if request.step_sequences is None else f"no `micro_batch` ({best} then)", one)
    if request.step_sequences is not None:
        free = replace(one, step_sequences=None)
        best = cheapest(free, of_size(ours, 1), room)
        if best > request.step_sequences:
            return Larger(f"`grad_accum: {best}`{' and no `micro_batch`' if request.batch_given else ''}", free)
    return None


def repeats(ours: Recipe) -> bool:
    """Whether a part of each micro-batch does not depend on its size; see `times.step_parts`."""
    return ours.dequantise_per_vcpu_s is not None and bool(ours.options.experts_4bit)


def cheapest(request: Request, ours: Recipe, room: Room) -> int:
    """The smallest size that takes the least time, or nearly, and has room; the request's own where none is better."""
    best = request.batch
    if room.rate is None:
        return best
    seconds = steps_s(request, ours, room)
    for size in sizes(request):
        tried = of_size(ours, size)
        if not has_room(request, tried, room):
            break
        took = steps_s(replace(request, batch=size), tried, room)
        if took <= (1 - LEAST_GAIN) * seconds:
            best, seconds = size, took
    return best


def sizes(request: Request) -> Iterator[int]:
    """Sizes above 1 that may be tried, the smallest first.

    Those that divide a step of the optimizer where it is known how many sequences that has, so that the same sequences
    make the same steps on every machine; else powers of two.
    """
    step = request.step_sequences
    if step is not None:
        yield from (size for size in range(2, step + 1) if step % size == 0)
        return
    size = 2
    while size <= min(MOST_TOKENS, request.tokens // LEAST_STEPS) // request.sequence_length:
        yield size
        size *= 2


def has_room(request: Request, tried: Recipe, room: Room) -> bool:
    """Whether a recipe fits with room to spare."""
    estimated = memory.estimate(request.spec, tried.options)
    required = round(room.factor * tried.required_bytes(estimated))
    weights = estimated.parts.weights
    if budget.verdict(required, room.usable) != "fits":
        return False
    return required - weights <= SHARE_OF_FREE * (room.usable - weights)


def steps_s(request: Request, ours: Recipe, room: Room) -> float:
    """Likely seconds of all steps."""
    assert room.rate is not None
    return times.total(times.step_parts(request, ours, room.rate, room.vcpus)).likely


def of_size(ours: Recipe, size: int) -> Recipe:
    """The recipe with so many sequences at once."""
    return ours._replace(options=replace(ours.options, batch=size))
