"""Asks several price sources at once, each for all of its rows, with one deadline. One's failure touches no other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from cloudtrain.errors import CloudtrainError, Rejected, Unavailable
from cloudtrain.listings import Answer, Shape
from cloudtrain.providers import PriceSource

_GRACE_S = 2.0  # a source keeps the deadline itself; one that hangs is left behind


class Said(NamedTuple):
    """What a provider answered, or why it could not be asked."""

    answers: tuple[Answer, ...]
    error: CloudtrainError | None = None


def ask_all(asked: Mapping[str, tuple[PriceSource, Sequence[Shape]]], timeout_s: float) -> Iterator[tuple[str, Said]]:
    """(provider, what it said), as they come."""
    came: queue.Queue[tuple[str, Said]] = queue.Queue()
    missing = set(asked)

    def ask(name: str, source: PriceSource, rows: Sequence[Shape]) -> None:
        came.put((name, _said(source, rows, timeout_s)))

    for name, (source, rows) in asked.items():
        # A daemon: a source that hangs does not keep the process from ending.
        threading.Thread(target=ask, args=(name, source, rows), daemon=True, name=f"prices of {name}").start()
    end = monotonic() + timeout_s + _GRACE_S
    while missing:
        try:
            name, said = came.get(timeout=max(0.0, end - monotonic()))
        except queue.Empty:
            break
        missing.discard(name)
        yield name, said
    for name in sorted(missing):
        yield (
            name,
            Said((), Unavailable(f"{name} did not answer in time", "try again, or give it longer with --timeout")),
        )


def _said(source: PriceSource, rows: Sequence[Shape], timeout_s: float) -> Said:
    assert source.refresh is not None
    try:
        return Said(tuple(source.refresh(rows, timeout_s)))
    except CloudtrainError as error:
        return Said((), error)
    except Exception as error:  # an answer of a form that nobody thought of is this provider's failure alone
        return Said((), Rejected(f"{source.name} answers in an unexpected form ({type(error).__name__})", ""))
