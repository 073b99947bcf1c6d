"""How chips share LongCat's work: every chip has rows, a part of each dense matrix, and some of the experts."""

from __future__ import annotations

import mesh
from failures import BadJob

from longcat import LongCat


class Shared(mesh.Plan):
    """All chips on the one axis."""

    def __str__(self) -> str:
        return "one chip" if self.devices == 1 else f"{self.devices} chips share rows, weights and experts"


def plan(devices: int, cat: LongCat, rows: int) -> Shared:
    """Raises BadJob where the chips cannot share the `rows` of a micro-batch, or the model, evenly."""
    if rows % devices:
        raise BadJob(f"{devices} chips cannot share a micro_batch of {rows}: use {devices}, or a multiple")
    check(cat, devices)
    return Shared(devices)


def check(cat: LongCat, devices: int) -> None:
    """Raise BadJob when so many chips cannot share what each of them holds a part of."""
    shared = {"experts": cat.experts, "tokens in its vocabulary": cat.vocab, "numbers in a hidden state": cat.hidden}
    for what, count in shared.items():
        if count % devices:
            fit = [it for it in (1, 2, 4, 8, 16, 32, 64, 128, 256) if not any(of % it for of in shared.values())]
            raise BadJob(
                f"{devices} chips cannot share the model's {count} {what} evenly; take {', '.join(map(str, fit))}"
            )
