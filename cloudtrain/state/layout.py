"""Where a run's documents lie: what its machine writes in a folder of its own, everything else beside it.

A machine's form covers its folder alone (`machine_folder`): intent, quote, journal, certificate, tickets and the
engine's state lie where it cannot write. Runs that an older version began have layout 1, in which all share a folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store

Layout = Literal[1, 2]
NEWEST: Final = 2
MACHINES = frozenset(
    {"hb.json", "exit.json", "log", "ckpt", "output", "processes.json", "quantised", "compiled", "hosts"}
)  # only it writes these
EVENTS = "events.jsonl"  # a file of the client's, and one of the machine's


def run_key(run: str, name: str) -> str:
    """The state key of a document that no machine writes."""
    return f"runs/{run}/{name}"


def machine_folder(run: str, layout: Layout) -> str:
    """The key of the folder in which the run's machine writes, without a slash at its end."""
    return f"runs/{run}" if layout == 1 else f"runs/{run}/machine"


def is_machines(name: str) -> bool:
    """Whether a document of this name is the machine's."""
    return name.partition("/")[0] in MACHINES


def of_run(store: Store, run: str) -> Layout:
    """The layout of a run by its intent; of one that has not begun the newest. Raises DamagedRecord."""
    from cloudtrain.records import IntentRecord
    from cloudtrain.state.store import read_record

    intent = read_record(store, run_key(run, "intent.json"), IntentRecord)
    return NEWEST if intent is None else intent.layout
