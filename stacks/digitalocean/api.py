"""DigitalOcean's API v2: one call, all pages of a list, and what its answers mean.

Facts: the public OpenAPI description of API v2 and public clients (2026). No call of ours to the real one was made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cloudtrain.endpoints import override
from cloudtrain.errors import (
    Balance,
    MissingCredentials,
    NoCapacity,
    NotFound,
    Permission,
    ProviderError,
    Quota,
    Rejected,
    Unavailable,
    Unknown,
    visible,
)
from cloudtrain.providers import Timing, effective_timing

from .._lifecycle import http

if TYPE_CHECKING:
    pass

URL, TOKEN = "CLOUDTRAIN_DIGITALOCEAN_URL", "DIGITALOCEAN_TOKEN"
CONSOLE = "https://cloud.digitalocean.com"
TOKENS_PAGE = f"{CONSOLE}/account/api/tokens"
LIMIT_PAGE = f"{CONSOLE}/account/team/droplet_limit_increase"
BILLING_PAGE = f"{CONSOLE}/account/billing"
READ_TRIES = 3
PER_PAGE = "200"  # the most that is allowed
PAGES_AT_MOST = 1000
# A list may lag: public clients bear with 404 for 90 s after a droplet is made. 5,000 calls an hour are allowed.
REAL = Timing(request_s=60.0, in_flight_s=180.0, consistency_s=90.0, poll_s=5.0)
_accounts: dict[tuple[str, str], str] = {}  # (address, token) -> whose it is; a process has one or two


def base_url() -> str:
    """Where the API is: DigitalOcean's, or a simulation on this machine."""
    return override(URL) or "https://api.digitalocean.com"


def pace() -> Timing:
    """How long things take, short in a simulation."""
    return effective_timing(REAL, override(URL) is not None)


def token() -> str:
    """The API token. Raises MissingCredentials when DIGITALOCEAN_TOKEN is unset or cannot be one."""
    text = os.environ.get(TOKEN, "").strip()
    if not text:
        raise MissingCredentials(f"{TOKEN} is not set", f"make one that may read and write at {TOKENS_PAGE}")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise MissingCredentials(f"{TOKEN} has characters that no token has", f"copy it again from {TOKENS_PAGE}")
    return text


def account() -> str:
    """The team that the token is of, or the account where it is of no team. Asked once. Raises provider errors."""
    asked = base_url(), token()
    if asked not in _accounts:
        found = read("/v2/account")["account"]
        team = found.get("team") or {}
        _accounts[asked] = str(team.get("uuid") or found["uuid"])
    return _accounts[asked]


def check_place(place: Mapping[str, Any]) -> None:
    """Raises MissingCredentials when the place is another account's: what this token sees proves nothing about it."""
    if str(place["account"]) != account():
        raise MissingCredentials(
            f"it was made in another DigitalOcean team ({visible(str(place['account']), 40)}) than {TOKEN} is of",
            f"export a token of that team: {TOKENS_PAGE}",
        )


def read(path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
    """GET: the document. Tries thrice. Raises NotFound, Unavailable, MissingCredentials, Permission, Rejected."""
    for left in reversed(range(READ_TRIES)):
        try:
            return http.document("DigitalOcean", *_send("GET", path, query=query), Unavailable)
        except Unavailable:
            if not left:
                raise
            time.sleep(min(2.0, pace().poll_s))
    raise AssertionError("unreachable")


def create(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """POST, once: the document of what was made. Raises any provider error; Unknown when it may exist all the same."""
    return http.document("DigitalOcean", *_send("POST", path, body=body), Unknown)


def delete(path: str) -> None:
    """DELETE, once; what is not there is deleted. Raises any provider error but NotFound."""
    try:
        _send("DELETE", path)
    except NotFound:
        return


def pages(path: str, name: str, query: Mapping[str, str], key: str = "id") -> list[dict[str, Any]]:
    """Every object of a list, over all pages, told apart by `key`. Raises Unavailable for one that may not be whole.

    Pages are counted, so what is deleted meanwhile moves the rest: the total must be the same on every page, and as
    many different objects must have come.
    """
    found: dict[str, dict[str, Any]] = {}
    total: Any = None
    for page in range(1, PAGES_AT_MOST):
        document = read(path, {**query, "per_page": PER_PAGE, "page": str(page)})
        for row in _rows(document, path, name, key):
            found[str(row[key])] = row
        said = document["meta"]["total"]
        if total not in (None, said):
            break
        total = said
        following = ((document.get("links") or {}).get("pages") or {}).get("next")
        if not following:
            if len(found) != total:
                break
            return list(found.values())
        if parse_qs(urlsplit(str(following)).query).get("page") != [str(page + 1)]:
            raise Unavailable(f"DigitalOcean's list of {name} has no page after {page}", "try again")
    raise Unavailable(f"DigitalOcean's list of {name} changed while it was read", "try again")


def _rows(document: Mapping[str, Any], path: str, name: str, key: str) -> Iterator[dict[str, Any]]:
    rows, meta = document.get(name), document.get("meta")
    if not isinstance(rows, list) or not isinstance(meta, dict) or not isinstance(meta.get("total"), int):
        raise Unavailable(f"DigitalOcean's answer to {path} has no list of {name}", "try again")
    if not all(isinstance(row, dict) and row.get(key) for row in rows):
        raise Unavailable(f"DigitalOcean lists {name} without `{key}`", "try again")
    yield from rows


def _send(
    method: str, path: str, *, query: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
) -> tuple[int, str]:
    """Status and text of a good answer; every other one is raised."""
    more: dict[str, Any] = {"auth": http.Bearer(token()), "params": query, "headers": {"Accept": "application/json"}}
    if body is not None:
        more["json"] = body
    mutating = method != "GET"
    with http.session(fresh=mutating, simulated=override(URL) is not None) as session:
        reply = http.send(session, method, base_url() + path, timeout_s=pace().request_s, mutating=mutating, **more)
    if 200 <= reply.status_code < 300:
        return reply.status_code, reply.text
    raise refusal(method, reply.status_code, _detail(reply.text))


def _detail(text: str) -> str:
    """DigitalOcean's message, without the token."""
    try:
        problem = json.loads(text)
        message = str(problem.get("message") or problem.get("id") or "")
    except (ValueError, AttributeError):
        message = text
    return visible(message.replace(os.environ.get(TOKEN, "") or "\n", "***"), 300)


def refusal(method: str, status: int, detail: str) -> ProviderError:
    """The provider error that a status below 500 means. 422 has no code of its own: its words decide."""
    said, words = f"DigitalOcean answers {status}: {detail}", detail.lower()
    if status == 422 and method == "POST":
        if "exceed" in words or "droplet limit" in words:
            return Quota(said, f"ask for more at {LIMIT_PAGE}; a new team may have no GPU Droplets at all")
        if "not available" in words or "unavailable" in words or "capacity" in words:
            return NoCapacity(said, "a size that is listed and full is refused like this: take another offer")
        return Rejected(said)
    if status == 408:
        return Unknown(said, "try again") if method != "GET" else Unavailable(said, "try again")
    if status == 404 and method == "POST":
        return Rejected(said)
    if method == "DELETE" and status in (409, 422):
        return Unavailable(said, "it is locked by another event: try again, or check it in the console")
    kinds: dict[int, tuple[type[ProviderError], str]] = {
        401: (MissingCredentials, f"{TOKEN} is not accepted: make a new one at {TOKENS_PAGE}"),
        402: (Balance, f"see {BILLING_PAGE}"),
        403: (Permission, f"the token must be allowed to read and write droplets and tags: {TOKENS_PAGE}"),
        404: (NotFound, ""),
        409: (Unavailable, "try again"),
    }
    kind, hint = kinds.get(status, (Rejected, ""))
    return kind(said, hint)
