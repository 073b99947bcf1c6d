"""A run in segments: each machine lives as long as its addresses, and the next goes on from the last checkpoint.

The run keeps its own deadline and what was agreed to; that its addresses have ended is read from the client's records
(`Run.addresses_ended`), and counts as no restart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cloudtrain.errors import MissingCredentials
from cloudtrain.runs.events import Emit, Message
from cloudtrain.settings import now
from cloudtrain.signing import expiry
from cloudtrain.units import rfc3339

if TYPE_CHECKING:
    from cloudtrain.plan import Plan

LEAST_S = 1800.0  # a segment that is shorter would mostly start up; and see `record.EARLY_S`


def first(plan: Plan, state: str, emit: Emit, accept_risk: bool) -> Plan:
    """The plan of the first machine, and what a person should know of it. Raises as `cut` and `refuse_unknown`."""
    if warning := expiry.refuse_unknown(state, now(), accept_risk):
        emit(Message(f"warning: {warning}"))
    made = cut(plan, state, now())
    if made.deadline < made.ends:
        emit(Message(f"the run goes on in segments: {made.deadline_basis.partition(';')[0]}"))
    return made


def cut(plan: Plan, state: str, at: float) -> Plan:
    """The plan with the deadline of its next machine, whose addresses end with the credentials of the state.

    Raises MissingCredentials when these end too soon for a segment, BucketDenied without any.
    """
    found = expiry.limit(state, at)
    if plan.deadline <= found.deadline:
        return replace(plan, run_deadline=plan.deadline)
    if found.deadline - at < LEAST_S:
        raise MissingCredentials(
            f"run `{plan.run}` needs a machine for its next segment, and {found.why}",
            f"with renewed credentials `cloudtrain poll {plan.run}` goes on, by {rfc3339(plan.deadline)} at the latest",
        )
    basis = f"{found.why}; the run goes on in segments"
    return replace(plan, deadline=found.deadline, run_deadline=plan.deadline, deadline_basis=basis)
