"""One HTTP call to a provider's REST API, and what its failure means: never sent, refused, or unknown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import ProviderError, Unavailable, Unknown

if TYPE_CHECKING:
    import requests

_kept = threading.local()  # a session of each thread, for reading calls


@contextmanager
def session(*, fresh: bool, simulated: bool) -> Iterator[requests.Session]:
    """A session. Reading calls of a thread share their connection; a mutating one has its own, because on a kept one
    that the other side has closed meanwhile nobody could tell whether the call was sent."""
    import requests

    kept = getattr(_kept, "session", None)
    found = requests.Session() if fresh or kept is None else kept
    found.trust_env = not simulated  # a simulation goes through no proxy
    try:
        yield found
    finally:
        if fresh:
            found.close()
        else:
            _kept.session = found


class Bearer:
    """Puts a token into a request after everything else, so that no .netrc takes its place."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def document(name: str, status: int, text: str, otherwise: type[ProviderError]) -> dict[str, Any]:
    """The JSON object of an answer, figures as decimals. Raises `otherwise` for anything else."""
    import json
    from decimal import Decimal

    try:
        found = json.loads(text, parse_float=Decimal)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise otherwise(f"{name} answered {status} with something that is no document", "try again")
    return found


def send(
    session: requests.Session, method: str, url: str, *, timeout_s: float, mutating: bool, **more: Any
) -> requests.Response:
    """The answer, whatever its status below 500 and but for 429.

    Raises Unavailable when the call was not sent or not taken, and when a reading one failed; Unknown when a mutating
    one was sent and may have been performed. Never repeats.
    """
    import requests

    try:
        reply = session.request(method, url, timeout=timeout_s, allow_redirects=False, **more)
    except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as error:
        raise Unavailable(f"{_host(url)} cannot be reached ({type(error).__name__})", "try again") from None
    except requests.exceptions.RequestException as error:
        if mutating and not _refused(error):
            raise Unknown(f"{_host(url)} was asked and gave no answer ({type(error).__name__})") from None
        raise Unavailable(f"{_host(url)} does not answer ({type(error).__name__})", "try again") from None
    if reply.status_code == 429:
        raise Unavailable(f"{_host(url)} asks us to slow down (429)", "try again in a minute")
    if reply.status_code >= 500:
        kind = Unknown if mutating else Unavailable
        raise kind(f"{_host(url)} failed ({reply.status_code})", "try again")
    return reply


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).netloc


def _refused(error: Exception) -> bool:
    """Whether no connection was made, so that nothing can have been sent."""
    from urllib3.exceptions import NewConnectionError

    causes: list[object] = [error]
    while causes:
        cause = causes.pop()
        if isinstance(cause, NewConnectionError | ConnectionRefusedError):
            return True
        causes += [c for c in (*getattr(cause, "args", ()), getattr(cause, "reason", None)) if isinstance(c, Exception)]
    return False
