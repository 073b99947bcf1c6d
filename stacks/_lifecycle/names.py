"""Names, tags and tokens of what a run makes: pure, and the same for the same plan, so a repeat makes no second one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudtrain.providers import run_key

if TYPE_CHECKING:
    from cloudtrain.plan import Plan

RUN, KEY, OWNER, EXPIRES = "cloudtrain-run", "cloudtrain-key", "cloudtrain-owner", "cloudtrain-exp"
A_KEY = "[0-9a-f]{8}(?:[0-9a-f]{8})?"  # in a name; the longer one says whose state it is of


def label(text: str) -> str:
    """`text` as every cloud accepts it as a tag's value: lower case, digits, dash, underscore, at most 63."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:63].strip("-_") or "x"


def key(plan: Plan) -> str:
    """What names and tags call the run: see `providers.run_key`."""
    return run_key(plan.run, plan.state)


def resource_name(plan: Plan, role: str) -> str:
    """Unique per state, run, attempt and role, and a valid name everywhere: `ct-5d0c77a13f9a2c01-1-machine`.

    With an attempt of four digits and the longest role it has 41 characters; the shortest limit is 58, a group's.
    """
    return f"ct-{key(plan)}-{plan.attempt}-{label(role).replace('_', '-')}"


def token(plan: Plan, role: str) -> str:
    """An idempotency token of 40 hexadecimal digits."""
    import hashlib  # a quote loads this module and needs no token: two milliseconds

    begin = f"{plan.state}/" if plan.state else ""
    return hashlib.sha256(f"{begin}{plan.run}/{plan.attempt}/{role}".encode()).hexdigest()[:40]


def request_id(plan: Plan, role: str) -> str:
    """The token as a UUID, for APIs that insist on one."""
    import uuid

    return str(uuid.UUID(token(plan, role)[:32], version=4))


def tags(plan: Plan, owner: str) -> dict[str, str]:
    """What everything taggable carries from the call that makes it."""
    return {RUN: label(plan.run), KEY: key(plan), OWNER: label(owner), EXPIRES: str(int(plan.deadline))}


def base_inputs(plan: Plan, role: str, place: Mapping[str, str], owner: str) -> dict[str, Any]:
    """The inputs that every resource has. `expires` is the plan's absolute deadline."""
    return {
        "run": plan.run,
        "attempt": plan.attempt,
        "role": role,
        "name": resource_name(plan, role),
        "token": token(plan, role),
        "place": dict(place),
        "expires": plan.deadline,
        "tags": tags(plan, owner),
    }
