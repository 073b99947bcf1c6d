"""RunPod's REST API v2: one call, all pages of a list, and what its answers mean.

Facts: the OpenAPI document of API v2 (August 2026); cursor paging as later clients have seen it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cloudtrain.endpoints import override
from cloudtrain.errors import (
    Balance,
    MissingCredentials,
    NoCapacity,
    NotFound,
    Permission,
    ProviderError,
    Rejected,
    Unavailable,
    Unknown,
    visible,
)
from cloudtrain.providers import Timing, effective_timing

from .._lifecycle import http

if TYPE_CHECKING:
    pass

URL = "CLOUDTRAIN_RUNPOD_URL"
KEYS_PAGE = "https://console.runpod.io/user/settings"
BILLING_PAGE = "https://console.runpod.io/user/billing"
READ_TRIES = 3
PAGES_AT_MOST = 1000
# 60 calls a minute are allowed (RateLimit-Policy in RunPod's documents): polls every 6 s leave room for lists.
REAL = Timing(request_s=60.0, in_flight_s=180.0, consistency_s=30.0, poll_s=6.0)


def base_url() -> str:
    """Where the API is: RunPod's, or a simulation on this machine."""
    return override(URL) or "https://api.runpod.io"


def pace() -> Timing:
    """How long things take, short in a simulation."""
    return effective_timing(REAL, override(URL) is not None)


def key() -> str:
    """The API key. Raises MissingCredentials when RUNPOD_API_KEY is unset or cannot be one."""
    text = os.environ.get("RUNPOD_API_KEY", "").strip()
    if not text:
        raise MissingCredentials("RUNPOD_API_KEY is not set", f"make a key at {KEYS_PAGE} and export it")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise MissingCredentials("RUNPOD_API_KEY has characters that no key has", f"copy it again from {KEYS_PAGE}")
    return text


def key_mark() -> str:
    """Eight digits that tell one API key from another and say nothing about it. Raises MissingCredentials."""
    import hashlib

    return hashlib.sha256(key().encode()).hexdigest()[:8]


def check_place(place: Mapping[str, Any]) -> None:
    """Raises MissingCredentials when the place is another key's: what this one sees proves nothing about it."""
    theirs = str(place.get("key") or "")  # a record of an older version has none
    if theirs and theirs != key_mark():
        raise MissingCredentials(
            f"it was made with another RUNPOD_API_KEY (mark {theirs}) than the present one (mark {key_mark()})",
            "export that key; if it was replaced by this one in the same account, `cloudtrain sweep --provider runpod`",
        )


def read(path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
    """GET: the document. Tries thrice. Raises NotFound, Unavailable, MissingCredentials, Permission, Rejected."""
    for left in reversed(range(READ_TRIES)):
        try:
            return http.document("RunPod", *_send("GET", path, query=query), Unavailable)
        except Unavailable:
            if not left:
                raise
            time.sleep(min(2.0, pace().poll_s))
    raise AssertionError("unreachable")


def create(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """POST, once: the document of what was made. Raises any provider error; Unknown when it may exist all the same."""
    return http.document("RunPod", *_send("POST", path, body=body), Unknown)


def delete(path: str) -> None:
    """DELETE, once; what is not there is deleted. Raises any provider error but NotFound."""
    try:
        _send("DELETE", path)
    except NotFound:
        return


def pages(path: str, name: str, query: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Every object of a list, over all pages. Raises Unavailable rather than give a list that may not be whole."""
    cursor, seen = "", set[str]()
    for _ in range(PAGES_AT_MOST):
        document = read(path, {**(query or {}), **({"cursor": cursor} if cursor else {})})
        rows, pagination = document.get(name), document.get("pagination") or {}
        if not isinstance(rows, list) or not isinstance(pagination, dict):
            raise Unavailable(f"RunPod's answer to {path} has no list of {name}", "try again")
        if not all(isinstance(row, dict) and row.get("id") for row in rows):
            raise Unavailable(f"RunPod lists {name} without an id", "try again")
        yield from rows
        cursor = str(pagination.get("nextCursor") or "")
        if not pagination.get("hasNextPage", bool(cursor)):
            return
        if not cursor or cursor in seen:
            break
        seen.add(cursor)
    raise Unavailable(f"RunPod's list of {name} does not end", "try again")


def _send(
    method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
) -> tuple[int, str]:
    """Status and text of a good answer; every other one is raised."""
    more: dict[str, Any] = {"auth": http.Bearer(key()), "params": query, "headers": {"Accept": "application/json"}}
    if body is not None:
        more["json"] = body
    mutating = method != "GET"
    with http.session(fresh=mutating, simulated=override(URL) is not None) as session:
        reply = http.send(session, method, base_url() + path, timeout_s=pace().request_s, mutating=mutating, **more)
    if 200 <= reply.status_code < 300:
        return reply.status_code, reply.text
    raise refusal(method, reply.status_code, _detail(reply.text))


def _detail(text: str) -> str:
    """RunPod's message, with the single failures of a 422."""
    try:
        problem = json.loads(text)
        message = str(problem.get("detail") or problem.get("title") or "")
        errors = [str(error) for error in problem.get("errors") or []]
    except (ValueError, AttributeError, TypeError):
        message, errors = text, []
    return visible("; ".join([message, *errors]).replace(os.environ.get("RUNPOD_API_KEY", "") or "\n", "***"), 300)


def refusal(method: str, status: int, detail: str) -> ProviderError:
    """The provider error that a status below 500 means."""
    said = f"RunPod answers {status}: {detail}"
    if status == 400 and method == "POST":
        hint = "RunPod answers the same for no capacity and for a broken rule: take another offer, or read its message"
        return NoCapacity(said, hint)
    if status == 408:
        return Unknown(said, "try again") if method != "GET" else Unavailable(said, "try again")
    if status == 404 and method == "POST":
        return Rejected(said)
    if method == "DELETE" and status in (400, 409):
        return Unavailable(said, "it is in use or locked: try again, or check it in the console")
    kinds: dict[int, tuple[type[ProviderError], str]] = {
        401: (MissingCredentials, f"RUNPOD_API_KEY is not accepted: make a new key at {KEYS_PAGE}"),
        402: (Balance, f"an hour of credit must be there at the start: {BILLING_PAGE}"),
        403: (Permission, f"give the key the right to read and write pods at {KEYS_PAGE}, or take another offer"),
        404: (NotFound, ""),
        409: (Unavailable, "try again"),
    }
    kind, hint = kinds.get(status, (Rejected, ""))
    return kind(said, hint)
