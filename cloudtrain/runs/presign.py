"""Signed addresses for a machine that has no credentials: one object to read, or one prefix to write below.

Signature version 4, by hand: the SDKs sign with the time of now, and the ticket's address must be the same in a repeat
of the call that makes the machine. Source: Amazon S3 API reference, "Authenticating Requests" (query parameters, POST).
Google's buckets are signed for in `presign_gs`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from cloudtrain.errors import UsageError
from cloudtrain.runs import presign_gs
from cloudtrain.runs.store_address import Address, parse

LONGEST_S = 7 * 86400  # Amazon's limit for a signature
AFTER_DEADLINE_S = 3600.0
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
        presign_gs.signer(address)
    else:
        signer(address)


def signer(address: Address) -> Signer:
    """The client's own key, out of the environment or Amazon's chain. Raises BucketDenied without one."""
    if access := os.environ.get("AWS_ACCESS_KEY_ID"):
        return Signer(access, os.environ.get("AWS_SECRET_ACCESS_KEY", ""), os.environ.get("AWS_SESSION_TOKEN", ""))
    from cloudtrain.runs.store_bucket import amazon_credentials

    found: Mapping[str, Any] = amazon_credentials(address)()
    return Signer(found["access_key_id"], found["secret_access_key"], found.get("token") or "")


def ticket_url(inputs: Mapping[str, Any]) -> str:
    """The address at which the machine of these inputs fetches its ticket: the same for the same inputs and key.

    Raises UsageError when the state is in no bucket, BucketDenied without credentials.
    """
    boot = inputs["boot"]
    state = boot.get("state") or _state_of_settings()
    seconds = float(inputs["expires"]) + AFTER_DEADLINE_S - float(boot["signed_at"])
    return get_url(state, boot["ticket"], float(boot["signed_at"]), seconds)


def _state_of_settings() -> str:
    from cloudtrain import settings

    return settings.load().state


def get_url(state: str, key: str, signed_at: float, seconds: float) -> str:
    """An address that reads one document of the state, for `seconds` from `signed_at` on (a week at the most)."""
    address = bucket_of(state)
    day, moment = stamps(signed_at)
    lasting = int(min(LONGEST_S, max(1.0, seconds)))
    if address.scheme == "gs":
        return presign_gs.get_url(address, full_key(address, key), moment, lasting)
    who, base = signer(address), base_url(address)
    scope = f"{day}/{region(address)}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{who.access}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(lasting),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": who.token} if who.token else {}),
    }
    _, _, rest = base.partition("://")
    host, _, root = rest.partition("/")
    path = "/" + "/".join(part for part in (root, quote(full_key(address, key), safe="/~-._")) if part)
    parameters = "&".join(f"{name}={quote(query[name], safe='~-._')}" for name in sorted(query))
    canonical = "\n".join(("GET", path, parameters, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"))
    to_sign = "\n".join((ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    scheme = base.partition("://")[0]
    return f"{scheme}://{host}{path}?{parameters}&X-Amz-Signature={signature(who, scope, to_sign)}"


def post_policy(state: str, prefix: str, now: float, until: float) -> dict[str, Any]:
    """What lets its bearer write anything below `prefix` of the state (it ends with a slash), and nothing else.

    {"url", "fields", "prefix"}: a form has the fields, then `key` (which begins with `prefix`), then `file`.
    """
    address = bucket_of(state)
    day, moment = stamps(now)
    until = min(until, now + LONGEST_S)
    if address.scheme == "gs":
        return presign_gs.post_policy(address, full_key(address, prefix), moment, until)
    who = signer(address)
    scope = f"{day}/{region(address)}/s3/aws4_request"
    fields = {
        "x-amz-algorithm": ALGORITHM,
        "x-amz-credential": f"{who.access}/{scope}",
        "x-amz-date": moment,
        **({"x-amz-security-token": who.token} if who.token else {}),
    }
    end = datetime.fromtimestamp(until, UTC)
    policy = {
        "expiration": end.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "conditions": [
            {"bucket": address.bucket},
            ["starts-with", "$key", full_key(address, prefix)],
            ["content-length-range", 0, LARGEST_POST_BYTES],
            *({name: value} for name, value in fields.items()),
        ],
    }
    encoded = base64.b64encode(json.dumps(policy).encode()).decode()
    return {
        "url": base_url(address),
        "fields": {**fields, "policy": encoded, "x-amz-signature": signature(who, scope, encoded)},
        "prefix": full_key(address, prefix),
    }


def full_key(address: Address, key: str) -> str:
    """A state's key as the bucket knows it."""
    return f"{address.prefix}/{key}" if address.prefix else key


def base_url(address: Address) -> str:
    """Where the bucket answers. With dots in its name it has no certificate of its own."""
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
