"""Machines of one's own, as `--hardware NAME[:N] --memory --watts` names them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.errors import UsageError, visible
from cloudtrain.offer import Box
from cloudtrain.quote.loading import ON_THE_HOST
from cloudtrain.units import gib

if TYPE_CHECKING:
    from cloudtrain.estimate.hardware import Hardware

ONLY_RENTED = ("google", "aws")  # makers who sell none of their chips


def boxes_of(texts: tuple[str, ...], memory_bytes: int | None, watts: Decimal | None) -> tuple[Box, ...]:
    """What is named as boxes: chips one can own, and processors whose number of vCPUs and memory are said.

    A chip without a figure for its memory needs `memory_bytes`. Raises UsageError with the option that is missing.
    """
    if not texts and (memory_bytes or watts is not None):
        raise UsageError("--memory and --watts are about the machine that --hardware names", "add --hardware NAME[:N]")
    from cloudtrain.estimate import naming

    found = []
    for text in texts:
        named = naming.read(text)
        said = memory_bytes or named.memory_bytes
        for chip in named.chips:
            if box := _box(text, chip, named.count, said, watts):
                found.append(box)
    return tuple(dict.fromkeys(found))


def _box(text: str, chip: Hardware, count: int | None, said: int | None, watts: Decimal | None) -> Box | None:
    if chip.vendor in ONLY_RENTED:
        return None
    if chip.backend == "torch-cpu":
        if said is None:
            return None  # it says which hosts to rent: how much of it is owned was not said
        if count is None:
            raise UsageError(
                f"how many vCPUs `{visible(text)}` has is not said", f"--hardware {chip.key}:64, for example"
            )
        return Box(chip.key, chip.key, count, said, True, watts)
    memory_bytes = said or chip.memory_bytes
    if memory_bytes is None:
        raise UsageError(
            f"how much memory an {chip.name} has is not known", f"--hardware {chip.key} --memory 16GB, for example"
        )
    title = chip.aliases[0] if chip.aliases else chip.name
    largest = f"{gib(memory_bytes)} is the most that it is sold with: --memory says yours"
    note = largest if said is None and chip.backend in ON_THE_HOST else ""
    return Box(chip.key, title, count or 1, memory_bytes, False, watts, said is not None, note)
