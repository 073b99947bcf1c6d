"""Which software loads and trains a model on a back end: tables `compatibility.csv`, first match wins in each.

Every trainer back end has one of its own in its folder; the one here is for hardware that no trainer of ours drives.
Where several trainers have an architecture, the best verdict counts, then the trainer's own preference there.
The tables rule on the architecture; what a trainer makes of a model's own repository `models/loadable.py` says.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain import backends
from cloudtrain.providers import Stack, load, names

if TYPE_CHECKING:
    from cloudtrain.models.loadable import Refusal
    from cloudtrain.quote.request import Request

TABLE = Path(__file__).with_name("compatibility.csv")
VERDICTS = ("yes", "experimental", "no trainer")  # the best first


class Compatibility(NamedTuple):
    """`verdict`: one of VERDICTS; `stack`: packages with versions; `reason`: why not yes; `trainer`: whose word it is.

    `trainer` is the name of a trainer back end, "" where none of ours has anything to say.
    """

    verdict: str
    stack: str
    reason: str
    trainer: str = ""


class _Entry(NamedTuple):
    backend: str
    architectures: frozenset[str]  # of the back end's chips; none: of all
    families: frozenset[str]
    methods: frozenset[str]
    found: Compatibility

    def holds(self, backend: str, family: str, method: str, architecture: str) -> bool:
        """Whether this row is about training `family` with `method` on `backend`, on chips of that architecture."""
        return (
            self.backend == backend
            and (not self.architectures or architecture in self.architectures)
            and not self.families.isdisjoint((family, "*"))
            and not self.methods.isdisjoint((method, "*"))
        )


@cache
def entries() -> tuple[_Entry, ...]:
    """All tables, each in its order."""
    tables = [(backend.name, backend.table("compatibility.csv")) for backend in backends.all_backends()]
    return tuple(entry for trainer, path in [*tables, ("", TABLE)] if path for entry in _read(path, trainer))


def _read(path: Path, trainer: str) -> list[_Entry]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            _Entry(
                *_chips(row["backend"]),
                frozenset(row["families"].split("|")),
                frozenset(row["methods"].split("|")),
                Compatibility(row["verdict"], row["stack"], row["reason"], trainer),
            )
            for row in csv.DictReader(file)
        ]


def _chips(cell: str) -> tuple[str, frozenset[str]]:
    """`rocm`, or `rocm/gfx906|gfx908` for some of its architectures."""
    backend, _, architectures = cell.partition("/")
    return backend, frozenset(architectures.split("|") if architectures else ())


@cache
def compatibility(backend: str, family: str, method: str, architecture: str = "", trainer: str = "") -> Compatibility:
    """What is known of training `family` with `method` on `backend`; nothing known means no trainer.

    `architecture` is that of the chip; rows about single architectures are passed over where none is given. `trainer`:
    the one back end of ours that is asked for.
    """
    first: dict[str, Compatibility] = {}
    ours = {each.name for each in backends.all_backends() if each.takes(backend, trainer)}
    ours |= set() if trainer else {""}  # what other people's trainers do
    for entry in entries():
        if entry.found.trainer in ours and entry.holds(backend, family, method, architecture):
            first.setdefault(entry.found.trainer, entry.found)
    if not first:
        return Compatibility("no trainer", "", f"no entry for {family} with {method} on {backend or 'this hardware'}")
    order = list(backends.in_order(backend))
    return min(first.values(), key=lambda found: (VERDICTS.index(found.verdict), order.index(found.trainer)))


def loads(request: Request, backend: str, architecture: str = "") -> Compatibility:
    """What is known of training this very model: its architecture, its class, its weights' format, its positions."""
    spec, method, sequence_length = request.spec, request.method, request.sequence_length
    found = compatibility(backend, spec.family, method, architecture, request.trainer)
    if spec.is_usual(sequence_length):  # most models, asked a thousand times by a quote
        return found
    from cloudtrain.models import formats, loadable

    refused = loadable.refusals(spec, method, sequence_length, backend)
    if refused:
        reasons = [found.reason] if found.verdict == "no trainer" else []
        reasons += [f"{refusal.reason}; {refusal.hint}" for refusal in refused]
        return Compatibility("no trainer", found.stack, "; ".join(reasons))
    packed = formats.verdict(spec.published.format, spec.family, method, backend)
    if packed.word == "untried" and found.verdict == "yes":
        return found._replace(verdict="experimental")
    return found


def refusal(request: Request) -> Refusal | None:
    """Why every trainer that `up` can start in the request's places would refuse its model, method, length or data.

    None when one of them would not.
    """
    from cloudtrain.models import loadable

    wanted = {place.provider for place in request.places}
    stacks = (load("stacks", name, Stack) for name in names("stacks") if not wanted or name in wanted)
    first = None
    for backend in sorted(frozenset[str]().union(*(stack.backends for stack in stacks))):
        found = loadable.refusals(request.spec, request.method, request.sequence_length, backend, request.rows)
        if not found:
            return None
        first = first or found[0]
    return first
