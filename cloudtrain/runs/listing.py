"""Which runs a state holds: all of them, those that can be read, and the one that somebody names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from cloudtrain.errors import RunNotFound, UsageError, nearest, visible
from cloudtrain.runs.record import Run
from cloudtrain.state.protocol import Store

T = TypeVar("T")


def readable_runs(store: Store) -> tuple[list[Run], list[str]]:
    """Every run whose first document can be read, newest first; and a message about each that cannot.

    A state that cannot be reached is no damage: that is raised.
    """
    from cloudtrain.state.errors import BucketDenied, BucketUnreachable

    runs, damaged = [], []
    for name in store.children("runs"):
        run = Run(store, name)
        try:
            if run.begun:
                runs.append(run)
        except (BucketDenied, BucketUnreachable):
            raise
        except UsageError as error:
            damaged.append(error.message)
    return sorted(runs, key=lambda run: run.intent.created, reverse=True), damaged


def tell_each(runs: Iterable[Run], tell: Callable[[Run], T]) -> tuple[list[T], list[str]]:
    """What `tell` makes of each run; and a sentence about each of which that cannot be told.

    Each record of a run can be right and their whole still be nonsense: that is its fault, not that of the others. As
    with `readable_runs`, a state that cannot be reached is raised.
    """
    from cloudtrain.state.errors import BucketDenied, BucketUnreachable

    told, damaged = [], []
    for run in runs:
        try:
            told.append(tell(run))
        except (BucketDenied, BucketUnreachable):
            raise
        except UsageError as error:
            damaged.append(error.message)
        except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
            damaged.append(f"the records of run `{run.id}` do not fit together ({type(error).__name__} {error})")
    return told, damaged


def refuse_damaged(damaged: list[str]) -> None:
    """Raises UsageError when there is a message about a damaged record."""
    if damaged:
        raise UsageError("; ".join(damaged), "move it away; `cloudtrain sweep` finds what such a run may have rented")


def all_runs(store: Store) -> list[Run]:
    """Every run of the state, newest first. Raises UsageError when one of them cannot be read."""
    runs, damaged = readable_runs(store)
    refuse_damaged(damaged)
    return runs


def could_name(text: str) -> bool:
    """Whether a run may have this name, in whatever version it was begun: it stays in the folder of the runs."""
    return text != "" and text.isprintable() and not text.startswith(".") and not {"/", "\\"} & set(text)


def find(store: Store, text: str | None) -> Run:
    """The run with this id or unique beginning; the newest when no id is given.

    Another run's damaged record is no hindrance for one that is named in full. Raises RunNotFound, and UsageError for
    what is no name.
    """
    if text is not None and not could_name(text):
        raise UsageError(f"`{visible(text)}` is no run's name", "`cloudtrain ps -a` lists the runs")
    if text is not None and (named := Run(store, text)).begun:
        return named
    runs, damaged = readable_runs(store)
    if text is None:
        if not runs:
            refuse_damaged(damaged)
            raise RunNotFound("there is no run yet", "`cloudtrain up` starts one")
        return runs[0]
    matches = [run for run in runs if run.id.startswith(text)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RunNotFound(f"`{text}` begins several runs: {', '.join(run.id for run in matches)}", "write more of it")
    close = nearest(text, [run.id for run in runs])
    raise RunNotFound(
        f"no run `{text}` in `{store.url}`",
        f"did you mean `{close}`?" if close else "`cloudtrain ps -a` lists the runs",
    )
