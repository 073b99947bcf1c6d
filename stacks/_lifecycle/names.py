"""Names, tags and tokens of what a run makes: pure, and the same for the same plan, so a repeat makes no second one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cloudtrain.providers import run_key

if TYPE_CHECKING:
    from cloudtrain.plan import Plan

RUN, KEY, OWNER, EXPIRES = "cloudtrain-run", "cloudtrain-key", "cloudtrain-owner", "cloudtrain-exp"


def label(text: str) -> str:
    """`text` as every cloud accepts it as a tag's value: lower case, digits, dash, underscore, at most 63."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:63].strip("-_") or "x"


def resource_name(run: str, attempt: int, role: str) -> str:
    """Unique per run, attempt and role, and a valid name everywhere: `ct-3f9a2c01-1-machine`."""
    return f"ct-{run_key(run)}-{attempt}-{label(role).replace('_', '-')}"


def token(run: str, attempt: int, role: str) -> str:
    """An idempotency token of 40 hexadecimal digits."""
    import hashlib  # a quote loads this module and needs no token: two milliseconds

    return hashlib.sha256(f"{run}/{attempt}/{role}".encode()).hexdigest()[:40]


def request_id(run: str, attempt: int, role: str) -> str:
    """The token as a UUID, for APIs that insist on one."""
    import uuid

    return str(uuid.UUID(token(run, attempt, role)[:32], version=4))


def tags(run: str, owner: str, expires: float) -> dict[str, str]:
    """What everything taggable carries from the call that makes it."""
    return {RUN: label(run), KEY: run_key(run), OWNER: label(owner), EXPIRES: str(int(expires))}


def base_inputs(plan: Plan, role: str, place: Mapping[str, str], owner: str) -> dict[str, Any]:
    """The inputs that every resource has. `expires` is the plan's absolute deadline."""
    return {
        "run": plan.run,
        "attempt": plan.attempt,
        "role": role,
        "name": resource_name(plan.run, plan.attempt, role),
        "token": token(plan.run, plan.attempt, role),
        "place": dict(place),
        "expires": plan.deadline,
        "tags": tags(plan.run, owner, plan.deadline),
    }
