"""How long a rented machine may last at the most: as long as the addresses live that it was given.

A signature lasts a week; one that was made with temporary credentials ends with these, and one by a key that Google
keeps is good for twelve hours.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import NamedTuple

from cloudtrain.errors import UsageError, visible
from cloudtrain.signing import gcs, urls
from cloudtrain.state import credentials
from cloudtrain.state.address import Address
from cloudtrain.units import SECONDS_PER_HOUR, hours, rfc3339

SHIPPING_S = 600.0  # after the deadline, for the last upload
LEAST_S = 600.0  # a run that must end sooner is not begun
EXPIRATION = credentials.ENDS  # what `aws configure export-credentials --format env` sets, and `keyless` too


class Limit(NamedTuple):
    """The latest deadline in seconds since the epoch, why, and what a person should know ("" for nothing)."""

    deadline: float
    why: str
    warning: str = ""


def limit(state: str, now: float) -> Limit:
    """Of a run that is begun now. Raises UsageError, BucketDenied."""
    address = urls.bucket_of(state)
    week = Limit(now + urls.LONGEST_S - SHIPPING_S, "signed addresses live for 7 days")
    if address.scheme == "gs":
        by_iam = isinstance(gcs.signer(address), gcs.IamSigner)
        why = "Google vouches for the signatures of its IAM service for 12 hours"
        return Limit(now + gcs.IAM_SIGNATURE_S - SHIPPING_S, why) if by_iam else week
    if not urls.signer(address).token:
        return week
    end = credentials_end(address)
    if end is None:
        message = "the credentials of the state are temporary, and do not say until when: the run ends with them"
        return week._replace(warning=f"{message}; {EXPIRATION} would say")
    found = Limit(end - SHIPPING_S, f"the temporary credentials of the state end at {rfc3339(end)}")
    return min(week, found, key=lambda each: each.deadline)


def credentials_end(address: Address) -> float | None:
    """When the client's temporary credentials for Amazon end, in seconds since the epoch; None when unknown.

    What the SDK knows of credentials that it renews goes before what the environment says. Raises UsageError.
    """
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        held = getattr(credentials.amazon(address), "credentials", None)
        found = getattr(held, "_expiry_time", None)  # which the SDK does not publish
        if isinstance(found, datetime):
            return found.timestamp()
    return said_end()


def said_end() -> float | None:
    """The end as the environment says it, quoted or not. Raises UsageError for what is no time."""
    text = os.environ.get(EXPIRATION, "").strip().strip("\"'").strip()  # a line of an env file may be quoted
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{EXPIRATION} is `{visible(text)}`, which is no time", "write it like 2026-11-30T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def refuse_unknown(state: str, now: float, accept_risk: bool) -> str:
    """What a person should know of the credentials of the state, "" for nothing.

    Raises UsageError when nobody knows until when they are good and that risk was not accepted: a machine whose
    addresses end before it does trains for nothing.
    """
    if "://" not in state:
        return ""
    warning = limit(state, now).warning
    if warning and not accept_risk:
        raise UsageError(warning, f"set {EXPIRATION} to their end, or `up --accept-risk` starts it all the same")
    return warning


def within(state: str, deadline: float, likely_s: float | None, now: float) -> tuple[float, str]:
    """The deadline that the run can have, and why it is earlier than asked for ("" when it is not).

    Raises UsageError with the longest possible when a run that likely takes `likely_s` would not end by then.
    """
    if "://" not in state:  # no machine is reached from a folder: refused where its ticket is made
        return deadline, ""
    found = limit(state, now)
    if deadline <= found.deadline:
        return deadline, ""
    left_s = found.deadline - now
    if left_s < LEAST_S:
        raise UsageError(f"no run can begin: {found.why}", "renew the credentials, or use ones that last")
    if likely_s is not None and likely_s > left_s:
        longest = f"{int(left_s / SECONDS_PER_HOUR)}h" if left_s >= SECONDS_PER_HOUR else f"{int(left_s / 60)}m"
        raise UsageError(
            f"the run likely takes {hours(likely_s)}, and {found.why}",
            f"--max-hours {longest} is the longest, and `cloudtrain up` then resumes from the last checkpoint; "
            "--segments lets `cloudtrain poll` go on by itself, on another machine with renewed credentials",
        )
    return found.deadline, found.why
