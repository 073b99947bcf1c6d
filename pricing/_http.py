"""Asks a provider's price interface for one JSON document: bounded in time and size, numbers as decimals.

Every fault becomes a provider error whose sentence names the provider. What an answer says is not judged here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from cloudtrain.endpoints import override
from cloudtrain.errors import MissingCredentials, Permission, Rejected, Unavailable, visible

MOST_BYTES = 32 << 20
TRIES = 4
_PART = 1 << 16
_WAIT_S = 0.5  # before the first repeat, doubled for each; a Retry-After of the provider's counts instead


class Patience:
    """How long a refresh may still take: one deadline for all of its requests."""

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds, 0 when none are left."""
        return max(0.0, self._end - monotonic())


class Door:
    """One provider's interface. `variable` names the environment variable by which a fake on loopback takes its place.

    `headers` go with every request and are in no message; `key` says what to set when they are not accepted.
    """

    def __init__(self, name: str, address: str, variable: str, headers: Mapping[str, str], key: str = "") -> None:
        self.name = name
        self.address = override(variable) or address
        self.is_fake = override(variable) is not None
        self.headers = dict(headers)
        self.key = key

    def get(self, path: str, patience: Patience, **params: str) -> dict[str, Any]:
        """The document at `path`, a path or an address of the same host (the next page).

        Raises MissingCredentials, Permission, Rejected and Unavailable.
        """
        return self._asked("GET", path, patience, params, None)

    def post(self, path: str, patience: Patience, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a request with a JSON body that changes nothing."""
        return self._asked("POST", path, patience, {}, body)

    def _asked(
        self, method: str, path: str, patience: Patience, params: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        url = self._url(path)
        for attempt in range(1, TRIES + 1):
            status, text, wait_s = self._once(method, url, patience, params, body)
            if status == 200:
                return self._document(text)
            if not (status == 429 or status >= 500):
                raise self._refused(status, text)
            wait_s = min(_WAIT_S * 2 ** (attempt - 1) if wait_s is None else wait_s, 30.0)
            if attempt == TRIES or wait_s >= patience.left_s:
                raise Unavailable(f"{self.name} answers {status}", "try again in a minute")
            sleep(wait_s)
        raise AssertionError("the loop returns or raises")

    def _url(self, path: str) -> str:
        """The address of a path; a whole address counts only where it leads to the same host."""
        if not path.startswith(("http://", "https://")):
            return self.address + path
        ours, theirs = urlsplit(self.address), urlsplit(path)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise Unavailable(f"{self.name} names a next page on another host", "nothing was taken from it")
        return path

    def _once(
        self, method: str, url: str, patience: Patience, params: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> tuple[int, bytes, float | None]:
        """Status, body, and the seconds that the provider asks to wait."""
        import requests

        left_s = patience.left_s
        if not left_s:
            raise self._too_slow()
        with self._reachable(), requests.Session() as session:
            session.trust_env = not self.is_fake
            session.auth = _Headers(self.headers)  # as one's own, or a .netrc would take its place
            reply = session.request(
                method,
                url,
                params=params,
                json=body,
                timeout=min(20.0, left_s),
                stream=True,
                allow_redirects=False,
            )
            with reply:
                return reply.status_code, self._read(reply, patience), _seconds(reply.headers.get("Retry-After"))

    def _read(self, reply: Any, patience: Patience) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in reply.iter_content(_PART):
            size += len(part)
            if size > MOST_BYTES:
                raise Unavailable(f"{self.name} answers with more than {MOST_BYTES >> 20} MiB", "nothing was taken")
            if not patience.left_s:
                raise self._too_slow()
            parts.append(part)
        return b"".join(parts)

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        import requests

        try:
            yield
        except requests.exceptions.RequestException as error:
            raise Unavailable(f"{self.name} does not answer ({type(error).__name__})", "try again") from None

    def _too_slow(self) -> Unavailable:
        return Unavailable(f"{self.name} did not answer in time", "try again, or give it longer with --timeout")

    def _document(self, text: bytes) -> dict[str, Any]:
        try:
            found = json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unavailable(f"{self.name} answers with what is no JSON object", "nothing was taken from it")
        return found

    def _refused(self, status: int, text: bytes) -> Exception:
        """What an answer that is neither good nor busy means; a provider that says it in its own way adds to it."""
        if status == 401:
            return MissingCredentials(f"{self.name} does not accept the key", self.key)
        if status == 403:
            return Permission(f"{self.name} does not let this key read its prices", self.key)
        return Rejected(f"{self.name} answers {visible(str(status))}", "nothing was taken from it")


class _Headers:
    """Puts headers into a request after everything else that requests would put there."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: Any) -> Any:
        request.headers.update(self._headers)
        return request


def _no_number(text: str) -> Decimal:
    raise ValueError(text)


def _seconds(text: str | None) -> float | None:
    """What Retry-After asks for, in seconds; None without one, or for a date."""
    return float(text) if text is not None and text.isdecimal() and len(text) < 6 else None


def dollars(value: Any) -> Decimal | None:
    """A price above zero, as a number or as text; None for anything else (0 is "not offered" everywhere)."""
    if isinstance(value, str) and len(value) <= 30:
        try:
            value = Decimal(value)
        except ArithmeticError:
            return None
    return value if isinstance(value, Decimal) and value.is_finite() and value > 0 else None
