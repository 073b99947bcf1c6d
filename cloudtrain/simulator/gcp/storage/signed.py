"""Who may do what at the fake Cloud Storage: a service account's own token, a signed address, a form with a policy.

As in the Cloud Storage documentation, "V4 signing process" and "Signatures: policy documents", and RFC 7523 for tokens
that a service account signs itself. Everything is checked: signature, time, key, size, fields outside the policy.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode, urlsafe_b64decode
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, unquote, unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from cloudtrain.simulator.aws.s3_signed import FORM, LONGEST_S, SKEW_S, Upload, check_conditions, parts
from cloudtrain.simulator.aws.wire import Refused
from cloudtrain.simulator.http_server import Request

ALGORITHM = "GOOG4-RSA-SHA256"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage.read_write")
LONGEST_TOKEN_S = 3600.0
UNCOVERED = ("policy", "x-goog-signature", "file")
QUERY = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")


class Signs(Protocol):
    """A service account whose signatures can be checked."""

    @property
    def email(self) -> str:
        """Its name."""

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise Refused for a signature that is not the account's."""


class Account(NamedTuple):
    """The one service account that may use the buckets."""

    email: str
    key: rsa.RSAPrivateKey

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise Refused for a signature that is not the account's."""
        try:
            self.key.public_key().verify(signature, text, padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            raise Refused("SignatureDoesNotMatch", "Access denied.", 403) from None


def is_presigned(request: Request) -> bool:
    """Whether the right is in the query."""
    return "X-Goog-Signature" in request.query or "X-Goog-Algorithm" in request.query


def is_form(request: Request) -> bool:
    """Whether it is a form as a browser sends one."""
    return request.method == "POST" and request.headers.get("content-type", "").startswith(FORM)


def check_token(request: Request, account: Account, now: float) -> None:
    """A token that the account has signed itself. Raises Refused."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind != "Bearer" or token.count(".") != 2:
        raise Refused("AccessDenied", "Anonymous caller does not have storage.objects access.", 401)
    signed, _, signature = token.rpartition(".")
    account.verify(signed.encode(), _decoded(signature))
    claims = json.loads(_decoded(signed.partition(".")[2]))
    if claims.get("iss") != account.email or not set(str(claims.get("scope", "")).split()) & set(SCOPES):
        raise Refused("AccessDenied", "The token is for something else.", 403)
    begin, end = float(claims["iat"]), float(claims["exp"])
    if not begin - SKEW_S <= now <= end or end - begin > LONGEST_TOKEN_S:
        raise Refused("AuthenticationRequired", "The token has expired.", 401)


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_presigned(request: Request, account: Signs, now: float) -> None:
    """A signed address. Raises Refused."""
    given = {name: values[0] for name, values in request.query.items()}
    if any(f"X-Goog-{name}" not in given for name in QUERY) or given["X-Goog-Algorithm"] != ALGORITHM:
        raise Refused("InvalidQueryParameterValue", "The signature's six parameters are required.")
    when, seconds = given["X-Goog-Date"], given["X-Goog-Expires"]
    if not seconds.isdecimal() or not 0 < int(seconds) <= LONGEST_S:
        raise Refused("InvalidQueryParameterValue", "X-Goog-Expires must be less than a week.")
    scope = _scope(given["X-Goog-Credential"], when, account)
    signed = given["X-Goog-SignedHeaders"].split(";")
    if "host" not in signed:
        raise Refused("AccessDenied", "The host must be signed.", 403)
    canonical = "\n".join(
        [
            *(request.method, request.target.partition("?")[0], _canonical_query(request.target)),
            *(f"{name}:{request.headers.get(name, '').strip()}" for name in signed),
            *("", ";".join(signed), "UNSIGNED-PAYLOAD"),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    _verify_hex(account, f"{ALGORITHM}\n{when}\n{scope}\n{digest}", given["X-Goog-Signature"])
    begin = _moment(when)
    if now > begin + int(seconds):
        raise Refused("ExpiredToken", "Invalid argument.", 400)
    if begin > now + SKEW_S:
        raise Refused("AccessDenied", "The address is not valid yet.", 403)


def _verify_hex(account: Signs, text: str, signature: str) -> None:
    try:
        raw = bytes.fromhex(signature)
    except ValueError:
        raise Refused("SignatureDoesNotMatch", "Access denied.", 403) from None
    account.verify(text.encode(), raw)


def _scope(credential: str, when: str, account: Signs) -> str:
    """The scope of a credential. Raises Refused when it is somebody else's, or of another day."""
    email, *scope = credential.split("/")
    if email != account.email:
        raise Refused("InvalidAccessKeyId", "There is no such account.", 403)
    if len(scope) != 4 or scope[0] != when[:8] or scope[2:] != ["storage", "goog4_request"]:
        raise Refused("InvalidRequest", "The credential's scope is malformed.")
    return "/".join(scope)


def _moment(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refused("AccessDenied", "The date is malformed.", 403) from None


def _canonical_query(target: str) -> str:
    pairs = [part.partition("=")[::2] for part in target.partition("?")[2].split("&")]
    decoded = [(unquote(name), unquote_plus(value)) for name, value in pairs if name != "X-Goog-Signature"]
    coded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in decoded)
    return "&".join(f"{name}={value}" for name, value in coded)


def check_form(request: Request, account: Signs, now: float) -> Upload:
    """The upload that a form asks for. Raises Refused."""
    fields, data = parts(request)
    for name in ("key", "policy", "x-goog-algorithm", "x-goog-credential", "x-goog-date", "x-goog-signature"):
        if name not in fields:
            raise Refused("InvalidPolicyDocument", f"The form has no field `{name}`.")
    if fields["x-goog-algorithm"] != ALGORITHM:
        raise Refused("InvalidPolicyDocument", "The algorithm is not supported.")
    _scope(fields["x-goog-credential"], fields["x-goog-date"], account)
    _verify_hex(account, fields["policy"], fields["x-goog-signature"])
    try:
        policy = json.loads(b64decode(fields["policy"], validate=True))
        expiration = datetime.fromisoformat(policy["expiration"]).timestamp()
        conditions: list[Any] = policy["conditions"]
    except (ValueError, KeyError, TypeError):
        raise Refused("InvalidPolicyDocument", "The policy cannot be read.") from None
    if now > expiration or expiration - _moment(fields["x-goog-date"]) > LONGEST_S:
        raise Refused("PolicyExpired", "The policy has expired, or lasts longer than a week.", 403)
    check_conditions(conditions, {**fields, "bucket": unquote(request.path).strip("/")}, len(data))
    covered = {str(each[1]).removeprefix("$").lower() for each in conditions if isinstance(each, list)}
    covered |= {name.lower() for each in conditions if isinstance(each, dict) for name in each}
    if extra := [name for name in fields if name not in covered | set(UNCOVERED) and not name.startswith("x-ignore-")]:
        raise Refused("AccessDenied", f"The policy does not cover: {', '.join(extra)}", 403)
    return Upload(fields["key"], data, fields)
