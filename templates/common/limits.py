"""What a back end cannot do, held against a job: the list `cannot` of its `backend.json`.

Standard library only and no other module of ours: the client asks before a machine is rented, the trainer once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """A field of a job whose value the back end has not, why not, and which values it has."""

    field: str
    value: Any
    why: str
    only: tuple[Any, ...]


def refusal(cannot: Iterable[Mapping[str, Any]], job: Mapping[str, Any]) -> Refusal | None:
    """The first limit ({"field", "only", "why"}) that the job goes beyond; a field that it lacks is at its default."""
    for limit in cannot:
        value = _value(job, limit["field"])
        if value is not _ABSENT and value not in limit["only"]:
            return Refusal(limit["field"], value, limit["why"], tuple(limit["only"]))
    return None


_ABSENT = object()


def _value(job: Any, field: str) -> Any:
    for part in field.split("."):
        if not isinstance(job, Mapping) or part not in job:
            return _ABSENT
        job = job[part]
    return job
