"""One question to a service that hands out tokens: over https or to this machine's own loopback, never redirected.

What travels is secret, so nothing of a request is in an error, and of an answer only what it says went wrong.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from cloudtrain.endpoints import LOOPBACK
from cloudtrain.errors import Unavailable, UsageError, visible

TIMEOUT_S, TRIES, PAUSE_S = 10.0, 3, 0.5
LARGEST_ANSWER_BYTES = 1 << 20
SECRET = re.compile(r"[A-Za-z0-9_+/=.~-]{40,}")  # longer than any name: a token, or a part of one


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> tuple[int, bytes]:
    """Status and answer; a POST when there is a body. Asked again when the service is busy or does not answer.

    Raises UsageError for an address that is no place for a secret, Unavailable without an answer.
    """
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    host = trusted(url)
    proxies = [urllib.request.ProxyHandler({})] if host in LOOPBACK else []
    opener = urllib.request.build_opener(stay_here(), *proxies)
    for attempt in range(1, TRIES + 1):
        request = urllib.request.Request(url, body, dict(headers))  # noqa: S310  # https or loopback: checked
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return int(answer.status), answer.read(LARGEST_ANSWER_BYTES)
        except urllib.error.HTTPError as refused:
            if (refused.code < 500 and refused.code != 429) or attempt == TRIES:
                return refused.code, refused.read(LARGEST_ANSWER_BYTES)
        except (OSError, ValueError, HTTPException):
            if attempt == TRIES:
                raise Unavailable(f"{visible(host)} does not answer when asked for a token", "try again") from None
        time.sleep(PAUSE_S * attempt)
    raise AssertionError("unreachable")


def trusted(url: str) -> str:
    """The host of an address to which a token may be sent. Raises UsageError, which repeats no more than the host."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = None, ""
    if parts is None or not host or parts.username or not (parts.scheme == "https" or host in LOOPBACK):
        raise UsageError(
            f"a token would be sent to `{visible(host or 'nowhere')}`, which is neither https nor this machine",
            "see docs/keyless.md for the variables, and where CI systems set them",
        )
    return host


def stay_here() -> Any:
    """A handler that follows nobody: the bearer of an answer with another address is shown nothing."""
    import urllib.request

    class StayHere(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    return StayHere()


def document(data: bytes) -> dict[str, Any]:
    """A JSON object; {} for anything else."""
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def why(data: bytes) -> str:
    """What a JSON answer says went wrong, without anything that could be a token; "" when it says nothing."""
    said = document(data)
    error = said.get("error")
    if isinstance(error, dict):
        text = f"{error.get('status') or ''}: {error.get('message') or ''}"
    else:
        text = f"{error or ''}: {said.get('error_description') or ''}"
    return visible(SECRET.sub("...", text).strip(": "), 240)
