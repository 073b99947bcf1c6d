"""Signed addresses for a machine that has no credentials: one object to read, or one prefix to write below.

Signature version 4, by hand: the SDKs sign with the time of now, and the ticket's address must be the same in a repeat
of the call that makes the machine. Source: Amazon S3 API reference, "Authenticating Requests" (query parameters, POST).
Google's buckets are signed for in `presign_gs`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.signing import gcs, sigv4
from cloudtrain.signing.sigv4 import Signing
from cloudtrain.state import credentials
from cloudtrain.state.address import Address, parse

LONGEST_S = 7 * 86400  # Amazon's limit for a signature
AFTER_DEADLINE_S = 900.0  # a machine ships for ten minutes more, by the clock of the bucket
TICKET_AFTER_S = 3600.0  # in user data: a repeat of the create, by whatever version, has to be the same call
LARGEST_POST_BYTES = 5 << 30  # Amazon's limit for an object that is sent in one request
ALGORITHM = "AWS4-HMAC-SHA256"


class Signer(NamedTuple):
    """An access key. `token` is "" for one that does not expire."""

    access: str
    secret: str
    token: str = ""


def bucket_of(url: str) -> Address:
    """The bucket of a state that a rented machine can reach. Raises UsageError for any other state."""
    if not url.startswith(("s3://", "gs://")):
        raise UsageError(
            "a rented machine can only reach a state in a bucket",
            "set CLOUDTRAIN_STATE to s3://bucket/prefix or gs://bucket/prefix",
        )
    return parse(url)


def check(url: str) -> None:
    """Whether addresses of this state can be signed. Raises UsageError, BucketDenied."""
    address = bucket_of(url)
    if address.scheme == "gs":
        gcs.signer(address)
    else:
        signer(address)


def signer(address: Address) -> Signer:
    """The client's own key, out of the environment or Amazon's chain. Raises BucketDenied without one."""
    own = credentials.keys_of_environment()
    if own[0]:
        return Signer(*own)
    found: Mapping[str, Any] = credentials.amazon(address)()
    return Signer(found["access_key_id"], found["secret_access_key"], found.get("token") or "")


def ticket_url(inputs: Mapping[str, Any]) -> str:
    """The address at which the machine of these inputs fetches its ticket: the same for the same inputs and key.

    Raises UsageError when the state is in no bucket, BucketDenied without credentials.
    """
    boot = inputs["boot"]
    state = boot.get("state") or _state_of_settings()
    seconds = float(inputs["expires"]) + TICKET_AFTER_S - float(boot["signed_at"])
    return get_url(state, boot["ticket"], float(boot["signed_at"]), seconds)


def _state_of_settings() -> str:
    from cloudtrain import settings

    return settings.load().state


def get_url(state: str, key: str, signed_at: float, seconds: float) -> str:
    """An address that reads one document of the state, for `seconds` from `signed_at` on (a week at the most)."""
    address = bucket_of(state)
    lasting = int(min(LONGEST_S, max(1.0, seconds)))
    return sigv4.url(signing(address, signed_at), base_url(address), full_key(address, key), lasting)


def post_policy(state: str, prefix: str, now: float, until: float) -> dict[str, Any]:
    """What lets its bearer write anything below `prefix` of the state (it ends with a slash), and nothing else.

    {"url", "fields", "prefix"}: a form has the fields, then `key` (which begins with `prefix`), then `file`.
    """
    address = bucket_of(state)
    largest = gcs.LARGEST_POST_BYTES if address.scheme == "gs" else LARGEST_POST_BYTES
    ends = min(until, now + LONGEST_S), largest
    return sigv4.form(signing(address, now), base_url(address), address.bucket, full_key(address, prefix), ends)


def signing(address: Address, at: float) -> Signing:
    """How the client signs for this bucket at a time in seconds since the epoch. Raises BucketDenied without a key."""
    day, moment = stamps(at)
    if address.scheme == "gs":
        return gcs.signing(address, moment)
    who = signer(address)
    scope = f"{day}/{region(address)}/s3/aws4_request"
    return Signing(ALGORITHM, "X-Amz", who.access, scope, moment, partial(signature, who, scope), who.token)


def full_key(address: Address, key: str) -> str:
    """A state's key as the bucket knows it."""
    return f"{address.prefix}/{key}" if address.prefix else key


def base_url(address: Address) -> str:
    """Where the bucket answers. At Amazon's one with dots in its name has no certificate of its own."""
    if address.scheme == "gs":
        return gcs.base_url(address)
    if address.endpoint:
        return f"{address.endpoint}/{address.bucket}"
    if "." in address.bucket:
        return f"https://s3.{region(address)}.amazonaws.com/{address.bucket}"
    return f"https://{address.bucket}.s3.{region(address)}.amazonaws.com"


def region(address: Address) -> str:
    """The bucket's region; where nobody says it, the one that every client assumes."""
    return address.region or "us-east-1"


def stamps(at: float) -> tuple[str, str]:
    """Day and moment as a signature writes them."""
    moment = datetime.fromtimestamp(int(at), UTC).strftime("%Y%m%dT%H%M%SZ")
    return moment[:8], moment


def signature(who: Signer, scope: str, text: str) -> str:
    """Of a text, with the key of the scope."""
    key = f"AWS4{who.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def without_signature(text: str) -> str:
    """A text in which signed addresses have lost what makes them valid."""
    return re.sub(r"(https?://[^\s?\"']+)\?[^\s\"']*", r"\1", text)
