"""A token of the model hub that a user hands over for one run, so that its machines can fetch gated weights.

It lies in the state as a document of its own until the run is over, and nowhere else: the ticket holds its signed
address, as it does for the weights. See SECURITY.md for who could read it there, and for how long.
"""

from __future__ import annotations

from cloudtrain.runs.record import Run

NAME = "hub-token"


def keep(run: Run, token: str) -> None:
    """Hand it over to every machine that the run will have."""
    run.store.write(run.key(NAME), token.encode())


def key(run: Run) -> str | None:
    """Where it lies; None without one."""
    return run.key(NAME) if run.store.size(run.key(NAME)) else None


def forget(run: Run) -> None:
    """Delete it. Without one nothing happens."""
    run.store.delete(run.key(NAME))
