"""Asks a provider's price interface for one JSON document: bounded in time and size, numbers as decimals.

Every fault becomes a provider error whose sentence names the provider. What an answer says is not judged here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cloudtrain.endpoints import override
from cloudtrain.errors import MissingCredentials, Permission, Rejected, Unavailable, visible

HIGHEST_USD = 1_000_000  # an hour; as in what a price list may hold
MOST_BYTES = 32 << 20
MOST_PAGES = 300
MOST_TEXT = 4096
TRIES = 4
_PART = 1 << 16
_WAIT_S = 0.5  # before the first repeat, doubled for each; a Retry-After of the provider's counts instead

T = TypeVar("T", dict[str, Any], list[Any])


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
        return self._document(self._asked("GET", path, patience, params, None), dict)

    def get_list(self, path: str, patience: Patience, **params: str) -> list[Any]:
        """The same where the document is a bare list; `null` is an empty one."""
        return self._document(self._asked("GET", path, patience, params, None), list)

    def post(self, path: str, patience: Patience, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same for a request with a JSON body that changes nothing."""
        return self._document(self._asked("POST", path, patience, {}, body), dict)

    def _asked(
        self, method: str, path: str, patience: Patience, params: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> bytes:
        url = self._url(path)
        for attempt in range(1, TRIES + 1):
            status, text, wait_s = self._once(method, url, patience, params, body)
            if status == 200:
                return text
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
        if _host(path) != _host(self.address):
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
        """The body, looking at the clock each time that something of it arrives, however little that is."""
        parts: list[bytes] = []
        size = 0
        # `read` waits until it has all that it was asked for: a body that drips in would never let go of it
        some = getattr(reply.raw, "read1", reply.raw.read)
        while part := some(_PART, decode_content=True):
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
        import urllib3

        try:
            yield
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Unavailable(f"{self.name} does not answer ({type(error).__name__})", "try again") from None

    def _too_slow(self) -> Unavailable:
        return Unavailable(f"{self.name} did not answer in time", "try again, or give it longer with --timeout")

    def _document(self, text: bytes, kind: type[T]) -> T:
        try:
            found = json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise self.odd("what is no JSON") from None
        if found is None and kind is list:
            return kind()
        if not isinstance(found, kind):
            raise self.odd("JSON of another form than expected")
        return found

    def odd(self, what: str) -> Unavailable:
        """The error for an answer that is none: "it answers with ..."."""
        return Unavailable(f"{self.name} answers with {what}", "nothing was taken from it")

    def _refused(self, status: int, text: bytes) -> Exception:
        """What an answer that is neither good nor busy means; a provider that says it in its own way adds to it."""
        if status == 401:
            return MissingCredentials(f"{self.name} does not accept the key", self.key)
        if status == 403:
            return Permission(f"{self.name} does not let this key read its prices", self.key)
        return Rejected(f"{self.name} answers {visible(str(status))}", "nothing was taken from it")


class Pages:
    """The pages of one list: each is asked for once, and there is an end to them."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._had: set[str] = set()

    def following(self, page: object) -> str:
        """What names the next page; "" after the last. Raises Unavailable for one that was had, or is none."""
        if page is None or page == "":
            return ""
        if not isinstance(page, str) or not is_plain(page) or page in self._had or len(self._had) >= MOST_PAGES:
            raise self._door.odd("pages without an end")
        self._had.add(page)
        return page


class _Headers:
    """Puts headers into a request after everything else that requests would put there."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: Any) -> Any:
        request.headers.update(self._headers)
        return request


def _no_number(text: str) -> Decimal:
    raise ValueError(text)


def _host(address: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port; the last two None where they are no such thing, which equals nothing of ours."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
        return parts.scheme, parts.hostname if parts.username is None else None, port
    except ValueError:
        return "", None, None


def _seconds(text: str | None) -> float | None:
    """What Retry-After asks for, in seconds; None without one, or for a date."""
    return float(text) if text is not None and text.isdecimal() and len(text) < 6 else None


def is_plain(text: str) -> bool:
    """Whether a provider's text may be sent back or shown: an id, a page, and nothing that does something."""
    return text.isascii() and text.isprintable() and len(text) <= MOST_TEXT


def dollars(value: Any) -> Decimal | None:
    """A price above zero, as a number or as text; None for anything else (0 is "not offered" everywhere)."""
    if isinstance(value, str) and len(value) <= 30:
        try:
            value = Decimal(value)
        except ArithmeticError:
            return None
    return value if isinstance(value, Decimal) and value.is_finite() and 0 < value < HIGHEST_USD else None


def asked_price(value: Any) -> Decimal | None:
    """The same where nothing and 0 mean "not offered". Raises ValueError for what is neither that nor a price."""
    usd = dollars(value)
    if usd is None and not (value is None or value == 0 or (isinstance(value, str) and _is_zero(value))):
        raise ValueError("this is no price")
    return usd


def _is_zero(text: str) -> bool:
    return bool(text) and not text.strip("0.") and text.count(".") < 2
