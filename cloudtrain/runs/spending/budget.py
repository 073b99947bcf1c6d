"""The limits of a state, in `budgets.json`: read, set, and tightened by who starts a run.

A document that cannot be read, or that holds anything we do not know, is an error and never "no limit".
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import DamagedRecord, UsageError, nearest, visible
from cloudtrain.settings import zones
from cloudtrain.state.store import read_record, write_record

if TYPE_CHECKING:
    from cloudtrain.records import BudgetsRecord
    from cloudtrain.state.protocol import Store

KEY = "budgets.json"


def read(store: Store) -> BudgetsRecord | None:
    """The limits; None where nobody has ever set one. Raises UsageError for a document that is not right."""
    from cloudtrain.records import BudgetsRecord

    place = store.place(KEY)
    again = f"nothing is started until it is right: repair `{place}`, or remove it and set the limits again"
    try:
        found = read_record(store, KEY, BudgetsRecord)
    except DamagedRecord as error:
        raise UsageError(error.message, again) from None
    if found is None:
        return None
    for name in found.model_extra or {}:
        close = nearest(name, sorted(BudgetsRecord.model_fields))
        raise UsageError(
            f"`{place}` has the key `{visible(name)}`, which is no limit that is known",
            f"did you mean `{close}`? {again}" if close else again,
        )
    try:
        zones.zone(found.timezone)
    except UsageError as error:
        raise UsageError(f"`{place}`: {error.message}", f"{error.hint} {again}") from None
    return found


def change(store: Store, **changes: Any) -> BudgetsRecord:
    """Set some of `run_usd`, `week_usd`, `month_usd` (None: no limit) and `timezone`, and return all of them.

    Raises UsageError for a time zone that there is none of, and as `read`.
    """
    from cloudtrain.records import BudgetsRecord

    if "timezone" in changes:
        zones.zone(changes["timezone"])
    made = (read(store) or BudgetsRecord()).replace(**changes)
    write_record(store, KEY, made)
    return made


def in_force(store: Store, month_usd: Decimal | None) -> BudgetsRecord:
    """The limits for one start: the state's, and its own for the month, which can only tighten. Raises as `read`."""
    from cloudtrain.records import BudgetsRecord

    found = read(store) or BudgetsRecord()
    if month_usd is None:
        return found
    return found.replace(month_usd=month_usd if found.month_usd is None else min(month_usd, found.month_usd))


def is_limited(limits: BudgetsRecord) -> bool:
    """Whether any of them is a limit."""
    return any(each is not None for each in (limits.run_usd, limits.week_usd, limits.month_usd))
