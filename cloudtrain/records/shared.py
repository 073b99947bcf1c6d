"""Documents that belong to no single run, or to whoever holds one."""

from __future__ import annotations

from collections.abc import Mapping

from cloudtrain.records.form import Record, StateId


class StateRecord(Record):
    """`state.json`: which state this is. `created` is epoch seconds."""

    id: StateId
    created: float


class FullPlacesRecord(Record):
    """`places.json`: place -> epoch seconds until which it is believed to be full."""

    until: Mapping[str, float]

    @classmethod
    def upgraded(cls, data: bytes) -> bytes:
        """It was the map alone."""
        return data if b'"until"' in data else b'{"until": %s}' % data


class LeaseRecord(Record):
    """`client.lock` in a bucket: who holds the run. `beat` is another one at every renewal."""

    owner: str
    machine: str
    host: str
    pid: int
    user: str
    time: float
    beat: str
