"""Compiled programs that a run's machines keep beside it, so that the next one need not compile for minutes.

They lie in the machine's folder, `compiled/`, under names that the compiler makes of everything that matters to it. A
machine runs what it fetches: so of the run's own machines alone, and no more of it than a bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from cloudtrain import backends
from cloudtrain.runs.record import Run

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.records.ticket import TicketCompiled
    from cloudtrain.state.protocol import Store

FOLDER = "compiled"
MOST_BYTES = 2 << 30
MOST_FILES = 500
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,250}")


def offered(store: Store, run: Run, plan: Plan, url: Callable[[str], str]) -> TicketCompiled | None:
    """The ticket's part: what there is, and what may be written; None where the back end keeps nothing."""
    from cloudtrain.records.ticket import TicketCompiled, TicketFile

    backend = backends.of_flavour(plan.flavour)
    if not backend.compiled or backend.on_the_host(plan.flavour):  # one processor's machine code is not another's
        return None
    files, left = [], MOST_BYTES
    for name in sorted(store.children(run.key(FOLDER)))[:MOST_FILES]:
        key = run.key(f"{FOLDER}/{name}")
        size = store.size(key) if _NAME.fullmatch(name) else 0
        if size and size <= left:
            files.append(TicketFile(path=name, url=url(key), bytes=size))
            left -= size
    return TicketCompiled(most_bytes=left, files=tuple(files))
