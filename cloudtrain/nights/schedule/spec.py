"""What a spec has to be so that a tick somewhere else can start it: valid, with its data in the same repository."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule.options import BY_FORGE, Schedule
from cloudtrain.nights.schedule.place import Place, inside, uncommitted

OFFLINE = "HF_HUB_OFFLINE"


def check(schedule: Schedule, place: Place) -> list[str]:
    """Read the spec and its data as `up` does, without network. Returns what is worth a sentence.

    Raises UsageError for whatever `up` would refuse, and for data that a checkout somewhere else would not have.
    """
    from cloudtrain.runs.prepare import SpecFile
    from cloudtrain.spec import dataset
    from cloudtrain.spec import schema as specs
    from cloudtrain.trainer import parquet

    path = place.root / schedule.spec
    spec = specs.load(path, [])
    paths = [Path(each) for each in (spec.data.path, spec.data.eval_path) if each]
    dataset.check(
        paths[0],
        eval_path=paths[1] if len(paths) > 1 else None,
        eval_fraction=spec.data.eval_fraction,
        expected_format=spec.data.format,
        train_on=spec.train_on,
        parquet=parquet.records,
    )
    doubts = []
    if schedule.ci in BY_FORGE:
        needed = [schedule.spec, *(inside(each, place, "the data") for each in paths)]
        doubts = [f"`{path}` is not known to git: commit it" for path in uncommitted(needed, place)]
    return doubts + unknown_model(spec.model, SpecFile(path).place("model"))


def unknown_model(model: str, where: str) -> list[str]:
    """A sentence for an id of the hub of which nothing is known here yet. Raises UsageError for what names no model."""
    from cloudtrain.models import registry
    from cloudtrain.models.counted import UncountedError

    try:
        with offline():
            registry.find(model)
    except UncountedError:
        return []  # whoever starts it has it counted
    except UsageError as error:
        if model.count("/") == 1 and not os.path.isabs(model) and not model.startswith("."):
            return [f"{where}: nothing is known here of `{model}`; the first tick asks the hub"]
        raise UsageError(f"{where}: {error.message}", error.hint) from None
    return []


@contextmanager
def offline() -> Iterator[None]:
    """While it is open nobody asks the hub."""
    before = os.environ.get(OFFLINE)
    os.environ[OFFLINE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OFFLINE]
        else:
            os.environ[OFFLINE] = before
