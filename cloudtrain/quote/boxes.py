"""Machines of one's own, as `--hardware NAME[:N] --memory --watts` names them and the settings' folder keeps them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from cloudtrain.errors import UsageError, visible
from cloudtrain.offer import Box
from cloudtrain.quote.machine.loading import ON_THE_HOST
from cloudtrain.settings import boxes as kept
from cloudtrain.units import gib, parse_memory

if TYPE_CHECKING:
    from cloudtrain.estimate.hardware import Hardware
    from cloudtrain.settings.boxes import Kept

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


def box_of(machine: Kept) -> Box:
    """A machine as it is kept. Raises UsageError for what is none of one's own."""
    try:
        watts = Decimal(machine.watts) if machine.watts else None
    except InvalidOperation:
        raise UsageError(f"`{visible(machine.watts)}` is no number of watts", "write for example 350") from None
    found = boxes_of((machine.hardware,), parse_memory(machine.memory) if machine.memory else None, watts)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"`{visible(machine.hardware)}` is several cards", "name one of them")
    raise UsageError(
        f"`{visible(machine.hardware)}` is no machine of one's own",
        "of a processor say vCPUs and memory: cpu-zen:64 --memory 256GB; TPUs, Trainium and Graviton are only rented",
    )


def kept_boxes() -> tuple[Box, ...]:
    """The machines of the settings' folder. Raises UsageError that names the file for what is none any more."""
    machines = kept.read()
    try:
        return tuple(dict.fromkeys(box_of(machine) for machine in machines))
    except UsageError as wrong:
        raise UsageError(f"{kept.path()}: {wrong.message}", wrong.hint) from None


def together(named: tuple[Box, ...], others: tuple[Box, ...]) -> tuple[Box, ...]:
    """Both, without a named one of which less is known than of one that is kept."""
    known = {(box.hardware, box.count) for box in others}
    new = (box for box in named if box.said or box.watts is not None or (box.hardware, box.count) not in known)
    return tuple(dict.fromkeys((*others, *new)))


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
