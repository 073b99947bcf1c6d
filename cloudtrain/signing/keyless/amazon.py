"""Amazon: the job's identity exchanged for a role's keys by `AssumeRoleWithWebIdentity`, as long as the role allows.

Source: AWS Security Token Service API reference. The call is not signed; the answer is XML. Roles allow sessions of one
to twelve hours, one if nobody has raised it, and STS does not tell how much: it is found by asking.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

from cloudtrain import endpoints
from cloudtrain.errors import Unavailable, UsageError, visible
from cloudtrain.signing.keyless import identity
from cloudtrain.state import credentials, token_request
from cloudtrain.state.address import REGIONS
from cloudtrain.state.errors import BucketDenied

ROLE, AUDIENCE, ENDPOINT = "AWS_ROLE_ARN", "sts.amazonaws.com", "AWS_ENDPOINT_URL"
KEY, SECRET, TOKEN, END = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    "AWS_CREDENTIAL_EXPIRATION",
)
HOUR_S: Final = 3600
LONGEST_HOURS, LEAST_HOURS = 12, 1
FRESH_S = 600.0  # keys that are younger are not exchanged again
ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):iam::\d{12}:role/(?:[\w+=,.@/-]+/)?([\w+=,.@-]+)")
TRUST = "the role's trust policy has to name this repository, branch and audience: see docs/keyless.md"
HINTS = {
    "AccessDenied": TRUST,
    "InvalidIdentityToken": f"the token must be for the audience {AUDIENCE}, and its issuer a provider in IAM: {TRUST}",
    "IDPRejectedClaim": TRUST,
    "ExpiredTokenException": "identity tokens live for minutes at GitHub, for the job's time at GitLab: start it again",
}


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What STS gave, until when, when it was asked, and for how many hours."""

    access: str
    secret: str
    token: str
    ends: float
    taken: float
    hours: int


_lock = threading.Lock()
_keys: Keys | None = None  # this process's own


def take() -> tuple[str, ...]:
    """The role's keys, in the environment; see `keyless.take`."""
    global _keys  # noqa: PLW0603  # once per process
    if is_ours():  # a program that lives longer than they do
        renew_late()
        return ()
    with _lock:
        if not wanted():
            return ()
        _keys = exchange()
        publish(_keys)
        credentials.renewal = renew_late
        return () if _keys.hours == LONGEST_HOURS else (advice(_keys.hours),)


def renew(age_s: float = FRESH_S) -> None:
    """Other keys when ours are older than that; they stay when the job's identity cannot be exchanged any more."""
    global _keys  # noqa: PLW0603  # see `take`
    with _lock:
        if _keys is None or not is_ours() or time.time() - _keys.taken < age_s:
            return
        try:
            _keys = exchange(_keys.hours)
        except (BucketDenied, Unavailable):
            return
        publish(_keys)


def renew_late() -> None:
    """For a client that stays: once half of their time is over."""
    if _keys is not None:
        renew(_keys.hours * HOUR_S / 2)


def wanted() -> bool:
    """Whether the environment asks for it: a role, a token, and no key that a person has set. Raises BucketDenied."""
    if not os.environ.get(ROLE) or os.environ.get(KEY) or os.environ.get("AWS_PROFILE"):
        return False
    if identity.source() is None:
        if identity.in_ci():
            raise BucketDenied(f"{ROLE} is set, and this job has neither keys nor an identity token", identity.NONE)
        return False
    return True


def is_ours() -> bool:
    """Whether the keys in the environment are those that this process has exchanged."""
    return _keys is not None and os.environ.get(KEY) == _keys.access


def lasting() -> tuple[float, int] | None:
    """When ours end (seconds since the epoch), and for how many hours they were given; None for none of ours."""
    return (_keys.ends, _keys.hours) if _keys is not None and is_ours() else None


def publish(keys: Keys) -> None:
    """Where every client looks first."""
    end = datetime.fromtimestamp(keys.ends).astimezone().isoformat()
    with credentials.keys_change:
        os.environ.update({KEY: keys.access, SECRET: keys.secret, TOKEN: keys.token, END: end})


def advice(given_hours: int) -> str:
    """What makes the role last longer."""
    return (
        f"the role gives credentials of {given_hours} h, and a run's machine lives no longer than they do: "
        f"`aws iam update-role --role-name {role_name()} --max-session-duration {LONGEST_HOURS * HOUR_S}` makes it "
        f"{LONGEST_HOURS} h"
    )


def role_name() -> str:
    """The role's name without its path. Raises UsageError for what is no address of a role."""
    found = ARN.fullmatch(os.environ.get(ROLE, ""))
    if not found:
        raise UsageError(
            f"{ROLE} is `{visible(os.environ.get(ROLE, ''))}`, which is no role",
            "write it like arn:aws:iam::123456789012:role/cloudtrain",
        )
    return found[2]


def exchange(hours: int = LONGEST_HOURS) -> Keys:
    """Keys for so many hours, or for as many as the role allows. Raises BucketDenied, Unavailable, UsageError."""
    role_name()
    where = identity.source()
    if where is None:
        raise BucketDenied("this job has no identity token", identity.NONE)
    token = identity.token(where, AUDIENCE)
    best = asked(token, hours)
    if best is not None:
        return best
    allowed, refused = LEAST_HOURS, hours  # every role allows an hour
    best = asked(token, allowed)
    while refused - allowed > 1:
        middle = (allowed + refused) // 2
        if (longer := asked(token, middle)) is None:
            refused = middle
        else:
            best, allowed = longer, middle
    if best is None:
        raise BucketDenied("Amazon gives the role no session of an hour", TRUST)
    return best


def asked(token: str, hours: int) -> Keys | None:
    """One question to STS; None when that is longer than the role allows."""
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": os.environ[ROLE],
        "RoleSessionName": session_name(),
        "WebIdentityToken": token,
        "DurationSeconds": str(hours * HOUR_S),
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    now = time.time()
    status, answer = token_request.ask(sts_url(), urlencode(form).encode(), headers)
    text = answer.decode(errors="replace")
    if status == 200:
        access, secret, session = (member(text, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
        try:
            return Keys(
                access, secret, session, datetime.fromisoformat(member(text, "Expiration")).timestamp(), now, hours
            )
        except ValueError:
            raise BucketDenied("Amazon's answer to the exchange of the job's token holds no credentials", "") from None
    code = member(text, "Code") or str(status)
    if code == "ValidationError" and re.search(r"durationSeconds|MaxSessionDuration", text, re.IGNORECASE):
        return None
    if status >= 500 or code in ("Throttling", "IDPCommunicationError"):
        raise Unavailable(f"Amazon's token service cannot answer now ({visible(code)})", "try again in a minute")
    said = visible(token_request.SECRET.sub("...", member(text, "Message")), 200)
    raise BucketDenied(
        f"Amazon refuses to exchange the job's token for role `{role_name()}`: {said} ({visible(code)})",
        HINTS.get(code, TRUST),
    )


def member(xml: str, name: str) -> str:
    """The text of the first element of that name; "" without one."""
    found = re.search(rf"<{name}>([^<]*)</{name}>", xml)
    return found[1].strip() if found else ""


def session_name() -> str:
    """By which CloudTrail knows the job."""
    number = next((os.environ[name] for name in ("GITHUB_RUN_ID", "CI_JOB_ID") if os.environ.get(name)), "job")
    return "cloudtrain-" + re.sub(r"[^\w.-]", "", number)[:48]


def sts_url() -> str:
    """The region's own token service; a simulation's fake."""
    if moved := endpoints.override(ENDPOINT):
        return f"{moved}/"
    region = next((os.environ[name] for name in REGIONS if os.environ.get(name)), "us-east-1")
    if not re.fullmatch(r"[a-z]{2,5}(-[a-z]+)+-\d", region):
        raise UsageError(f"`{visible(region)}` is no region of Amazon's", f"set {REGIONS[0]} to one like eu-west-1")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://sts.{region}.{suffix}/"
