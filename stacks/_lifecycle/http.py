"""One HTTP call to a provider's REST API, and what its failure means: never sent, refused, or unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudtrain.errors import Unavailable, Unknown

if TYPE_CHECKING:
    import requests


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
