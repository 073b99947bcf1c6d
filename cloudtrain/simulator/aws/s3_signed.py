"""Requests to the fake S3 that carry their right in themselves: presigned addresses and forms with a policy.

Both as in "Authenticating Requests: Using Query Parameters" and "POST Policy" of the S3 API reference, with AWS's
signature version 4. Everything is checked: signature, time, key, size, fields that the policy does not cover.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

from cloudtrain.simulator.aws.wire import Refused
from cloudtrain.simulator.http_server import Request

ALGORITHM = "AWS4-HMAC-SHA256"
LONGEST_S = 7 * 24 * 3600
SKEW_S = 900.0
FORM = "multipart/form-data"
UNCOVERED = ("policy", "x-amz-signature", "file")
MISSING = "AuthorizationQueryParametersError"


class Keys(NamedTuple):
    """A pair of keys, and the token of those that end."""

    access: str
    secret: str
    token: str = ""


KeysOf = Callable[[str, str], Keys]  # by access key and token; raises Refused


class Upload(NamedTuple):
    """A form that may pass."""

    key: str
    data: bytes
    fields: Mapping[str, str]


def is_presigned(request: Request) -> bool:
    """Whether the right is in the query."""
    return "X-Amz-Signature" in request.query or "X-Amz-Algorithm" in request.query


def is_form(request: Request) -> bool:
    """Whether it is a form as a browser sends one."""
    return request.method == "POST" and request.headers.get("content-type", "").startswith(FORM)


def check_presigned(request: Request, keys_of: KeysOf, now: float) -> Request:
    """The request without its right, as the owner would send it. Raises Refused."""
    given = {name: values[0] for name, values in request.query.items()}
    names = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
    if any(f"X-Amz-{name}" not in given for name in names) or given["X-Amz-Algorithm"] != ALGORITHM:
        raise Refused(MISSING, "Query-string authentication version 4 requires its six parameters.")
    credential, when = given["X-Amz-Credential"], given["X-Amz-Date"]
    begin, seconds = _moment(when), given["X-Amz-Expires"]
    if not seconds.isdecimal() or not 0 < int(seconds) <= LONGEST_S:
        raise Refused(MISSING, "X-Amz-Expires must be less than a week (in seconds)")
    signed = given["X-Amz-SignedHeaders"].split(";")
    if "host" not in signed:
        raise Refused("AccessDenied", "There were headers present in the request which were not signed", 403)
    canonical = "\n".join(
        [
            *(request.method, request.path, _canonical_query(request.target)),
            *(f"{name}:{request.headers.get(name, '').strip()}" for name in signed),
            *("", ";".join(signed), "UNSIGNED-PAYLOAD"),
        ]
    )
    scope = credential.partition("/")[2]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    keys = keys_of(credential.partition("/")[0], given.get("X-Amz-Security-Token", ""))
    _check_signature(keys, credential, f"{ALGORITHM}\n{when}\n{scope}\n{digest}", given["X-Amz-Signature"], when)
    if now > begin + int(seconds):
        raise Refused("AccessDenied", "Request has expired", 403)
    if begin > now + SKEW_S:
        raise Refused("AccessDenied", "Request is not valid yet", 403)
    return _as_owner(request, credential)


def is_skewed(request: Request, now: float) -> bool:
    """Whether a request that carries its right in a header was signed at another time than this."""
    return abs(_moment(request.headers.get("x-amz-date", "")) - now) > SKEW_S


def _as_owner(request: Request, credential: str) -> Request:
    kept = [part for part in request.target.partition("?")[2].split("&") if not part.startswith("X-Amz-")]
    right = f"{ALGORITHM} Credential={credential}, SignedHeaders=host, Signature=checked"
    query = {name: values for name, values in request.query.items() if not name.startswith("X-Amz-")}
    target = request.path + ("?" + "&".join(kept) if kept else "")
    return request._replace(target=target, query=query, headers={**request.headers, "authorization": right})


def _canonical_query(target: str) -> str:
    pairs = [part.partition("=")[::2] for part in target.partition("?")[2].split("&")]
    decoded = [(unquote(name), unquote_plus(value)) for name, value in pairs if name != "X-Amz-Signature"]
    coded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in decoded)
    return "&".join(f"{name}={value}" for name, value in coded)


def _moment(text: str) -> float:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refused("AccessDenied", "X-Amz-Date must be in the ISO8601 Long Format", 403) from None


def _check_signature(keys: Keys, credential: str, text: str, signature: str, when: str) -> None:
    access, *scope = credential.split("/")
    if access != keys.access:
        raise Refused("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403)
    if len(scope) != 4 or scope[0] != when[:8] or scope[2:] != ["s3", "aws4_request"]:
        raise Refused("InvalidRequest", "Error parsing the credential scope")
    key = f"AWS4{keys.secret}".encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), signature):
        message = "The request signature we calculated does not match the signature you provided."
        raise Refused("SignatureDoesNotMatch", message, 403)


def check_form(request: Request, keys_of: KeysOf, now: float) -> Upload:
    """The upload that a form asks for. Raises Refused."""
    if "content-length" not in request.headers:
        raise Refused("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    fields, data = parts(request)
    for name in ("key", "policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"):
        if name not in fields:
            raise Refused("InvalidArgument", f"Bucket POST must contain a field named '{name}'.")
    signature = fields["x-amz-signature"]
    keys = keys_of(fields["x-amz-credential"].partition("/")[0], fields.get("x-amz-security-token", ""))
    _check_signature(keys, fields["x-amz-credential"], fields["policy"], signature, fields["x-amz-date"])
    try:
        policy = json.loads(b64decode(fields["policy"], validate=True))
        expiration = datetime.fromisoformat(policy["expiration"]).timestamp()
        conditions = policy["conditions"]
    except (ValueError, KeyError, TypeError):
        raise Refused("InvalidPolicyDocument", "Invalid Policy: Invalid JSON.") from None
    if now > expiration:
        raise Refused("AccessDenied", "Invalid according to Policy: Policy expired.", 403)
    bucket = unquote(request.path).strip("/")
    check_conditions(conditions, {**fields, "bucket": bucket}, len(data))
    _check_covered(conditions, fields)
    return Upload(fields["key"], data, fields)


def check_conditions(conditions: list[Any], values: Mapping[str, str], size: int) -> None:
    """Whether a form's fields and the size of its file are what the policy says. Raises Refused."""
    for each in conditions:
        verb, name, wanted = each if isinstance(each, list) else ("eq", *next(iter(each.items())))
        if verb == "content-length-range":
            if size < int(name):
                raise Refused("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
            if size > int(wanted):
                raise Refused("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
            continue
        value = values.get(str(name).removeprefix("$").lower(), "")
        holds = {"eq": value == wanted, "starts-with": value.startswith(str(wanted))}.get(verb, False)
        if not holds:
            message = f'Invalid according to Policy: Policy Condition failed: ["{verb}", "{name}", "{wanted}"]'
            raise Refused("AccessDenied", message, 403)


def _check_covered(conditions: list[Any], fields: Mapping[str, str]) -> None:
    covered = {str(each[1]).removeprefix("$").lower() for each in conditions if isinstance(each, list)}
    covered |= {name.lower() for each in conditions if isinstance(each, dict) for name in each}
    extra = [name for name in fields if name not in covered | set(UNCOVERED) and not name.startswith("x-ignore-")]
    if extra:
        message = f"Invalid according to Policy: Extra input fields: {', '.join(extra)}"
        raise Refused("AccessDenied", message, 403)


def parts(request: Request) -> tuple[dict[str, str], bytes]:
    """The fields before the file, with names in lower case, and the file. S3 does not look at what follows it."""
    fields: dict[str, str] = {}
    for name, filename, content in _multipart(request):
        if name == "file":
            fields = {key: value.replace("${filename}", filename) for key, value in fields.items()}
            return fields, content
        fields[name] = content.decode()
    raise Refused("InvalidArgument", "POST requires exactly one file upload per request.")


def _multipart(request: Request) -> Iterator[tuple[str, str, bytes]]:
    boundary = request.headers["content-type"].partition("boundary=")[2].strip('"')
    body, between = b"\r\n" + request.body, b"\r\n--" + boundary.encode()
    at = body.find(between)
    while boundary and at >= 0 and body[at + len(between) : at + len(between) + 2] == b"\r\n":
        head = body.find(b"\r\n\r\n", at)
        end = body.find(between, head)
        if head < 0 or end < 0:
            break
        yield (*_names(body[at + len(between) : head].decode()), body[head + 4 : end])
        at = end
    else:
        return
    raise Refused("MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.")


def _names(header: str) -> tuple[str, str]:
    found = {"name": "", "filename": ""}
    for line in header.split("\r\n"):
        if line.lower().startswith("content-disposition:"):
            parts = (part.strip().partition("=") for part in line.split(";")[1:])
            found |= {name: value.strip('"') for name, _, value in parts}
    return found["name"].lower(), found["filename"]
