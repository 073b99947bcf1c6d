"""The micro-batch that is cheapest on a kind of machine, where a part of every micro-batch takes the same time.

A processor unpacks 4-bit experts once for each micro-batch, however many sequences it has. Elsewhere the speeds of the
efficiency data hold for any size, and nothing is searched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate import budget, memory
from cloudtrain.quote.sampling import times

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtrain.offer import Range
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

# Where nobody said how many sequences a step of the optimizer has, a micro-batch is a whole step at the least: it stays
# at what is usual for adapters, and so many steps are left to learn in.
MOST_TOKENS = 16_384
LEAST_STEPS = 50
MOST_SEQUENCES = 1024  # at once, where a step has more
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


class Size(NamedTuple):
    """A micro-batch that may be taken: request and recipe with it, and what it needs of a device, in bytes."""

    request: Request
    recipe: Recipe
    required: int
    weights: int  # of these, what does not depend on its size

    def has_room(self, room: Room) -> bool:
        """Whether it fits with room to spare."""
        required = round(room.factor * self.required)
        working = required - self.weights
        return budget.verdict(required, room.usable) == "fits" and working <= SHARE_OF_FREE * (
            room.usable - self.weights
        )


def settled(request: Request, ours: Recipe, room: Room) -> tuple[Request, Recipe, Larger | None]:
    """Both with the micro-batch that is cheapest there, if nobody gave one; and a larger one that would be cheaper."""
    if not repeats(ours) or room.rate is None:
        return request, ours, None
    other = larger(request, ours, room) if request.batch_given or request.step_sequences else None
    best = None if request.batch_given else cheapest(request, ours, room)
    return (request, ours, other) if best is None else (best.request, best.recipe, other)


def larger(request: Request, ours: Recipe, room: Room) -> Larger | None:
    """What to ask for instead where a larger micro-batch than may be taken for the request takes less time."""
    one = request._replace(batch=1, batch_given=False)
    ours = of_size(ours, 1)
    if request.batch_given and (best := cheapest(one, ours, room)) and best.request.batch > request.batch:
        size = best.request.batch
        return Larger(f"--batch {size}" if request.step_sequences is None else f"no `micro_batch` ({size} then)", one)
    if request.step_sequences is None:
        return None
    free = one._replace(step_sequences=None)
    best = cheapest(free, ours, room)
    if best is None or best.request.batch <= request.step_sequences:
        return None
    return Larger(f"`grad_accum: {best.request.batch}`{' and no `micro_batch`' if request.batch_given else ''}", free)


def repeats(ours: Recipe) -> bool:
    """Whether a part of each micro-batch does not depend on its size; see `times.step_parts`."""
    return ours.dequantise_per_vcpu_s is not None and bool(ours.options.experts_4bit)


def cheapest(request: Request, ours: Recipe, room: Room) -> Size | None:
    """The smallest size that takes the least time, or nearly, and has room; None where no larger one is better."""
    assert room.rate is not None
    once, *repeated = times.step_parts(request, ours, room.rate, room.vcpus)
    each = sum(part.seconds.likely for part in repeated) / request.packed_steps()
    best, seconds = None, once.seconds.likely + each * request.packed_steps()
    for size in sizes(request, ours):
        if not size.has_room(room):
            break
        took = once.seconds.likely + each * size.request.packed_steps()
        if took <= (1 - LEAST_GAIN) * seconds:
            best, seconds = size, took
    return best


@lru_cache(maxsize=64)  # a quote asks for the same job on every kind of machine
def sizes(request: Request, ours: Recipe) -> tuple[Size, ...]:
    """What may be tried, the smallest first."""
    found = []
    for batch in numbers(request):
        tried = of_size(ours, batch)
        estimated = memory.estimate(request.spec, tried.options)
        needed = tried.required_bytes(estimated), estimated.parts.weights
        found.append(Size(request._replace(batch=batch), tried, *needed))
    return tuple(found)


def numbers(request: Request) -> Iterator[int]:
    """Numbers of sequences above 1, rising.

    Those that divide a step of the optimizer where it is known how many sequences that has, so that the same sequences
    make the same steps on every machine; else powers of two.
    """
    step = request.step_sequences
    if step is not None:
        yield from (size for size in range(2, min(step, MOST_SEQUENCES) + 1) if step % size == 0)
        return
    size = 2
    while size <= min(MOST_TOKENS, request.tokens // LEAST_STEPS) // request.sequence_length:
        yield size
        size *= 2


def of_size(ours: Recipe, size: int) -> Recipe:
    """The recipe with so many sequences at once."""
    return ours._replace(options=ours.options._replace(batch=size))
