"""Documents of the state for tests: whole records, of which a test says only what it is about."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from cloudtrain.records import IntentRecord, MachineRecord, PriceRecord, RowRecord
from cloudtrain.state.layout import NEWEST
from cloudtrain.state.protocol import Store


def row(**changes: Any) -> RowRecord:
    """A quoted row: this machine for $1 an hour."""
    usual = {
        "provider": "local",
        "offer": "this machine",
        "region": "",
        "zone": "",
        "hardware": "cpu",
        "count": 2,
        "market": "owned",
        "price_usd_per_hour": Decimal("1"),
        "price": PriceRecord(origin="settings", as_of="", source="", confidence=""),
    }
    return RowRecord(**{**usual, **changes})


def intent(**changes: Any) -> IntentRecord:
    """What is wanted of a run on this machine."""
    usual: dict[str, Any] = {
        "run": "mine",
        "identity": "0" * 8,
        "provider": "local",
        "wanted": "up",
        "created": 1.0,
        "deadline": 2e9,
    }
    usual["layout"] = NEWEST
    return IntentRecord(**{**usual, **changes})


def machine(**changes: Any) -> MachineRecord:
    """A machine that stands since 1970."""
    return MachineRecord(**{"id": "box-1", "created": 0.0, **changes})


def put(store: Store, key: str, document: Any) -> None:
    """Write JSON as another version, or another program, would."""
    store.write(key, json.dumps(document).encode())


def raw(store: Store, key: str) -> Any:
    """A document as plain JSON."""
    return json.loads(store.read(key) or b"null")


def begin(store: Store, run: str, **changes: Any) -> None:
    """Let a run have begun."""
    store.write(f"runs/{run}/intent.json", intent(run=run, **changes).as_bytes())
