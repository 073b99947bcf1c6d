"""Downloads one small file: over https from hosts that may answer, or from this machine; bounded in size and time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

from cloudtrain.endpoints import LOOPBACK
from cloudtrain.errors import CloudtrainError, Unavailable, UsageError, visible

T = TypeVar("T")
SILENCE_S = 10.0  # to connect, and between two parts of an answer
MOST_REDIRECTS = 4
PART_BYTES = 1 << 16
HINT = "nothing was taken from it"


class Answer(NamedTuple):
    """A file, and what the server calls this version of it ("" when it does not)."""

    data: bytes
    etag: str


class Door:
    """A folder at an address that somebody named: its host, and `hosts` over https, may answer."""

    def __init__(self, address: str, hosts: Collection[str], seconds: float) -> None:
        """`seconds` are for all of its files. Raises UsageError for what is neither https nor on this machine."""
        self.address = address.strip().rstrip("/")
        self._end = monotonic() + seconds
        self._hosts = hosts
        self._named = _parts(self.address)
        named = self._named
        local = named is not None and named.hostname in LOOPBACK
        if named is None or not (named.scheme == "https" or (local and named.scheme == "http")):
            raise UsageError(
                f"`{visible(self.address)}` is no address that prices are taken from", "write https://HOST/FOLDER"
            )
        self._local = local

    def get(self, name: str, most_bytes: int, etag: str = "") -> Answer | None:
        """The file of that name; None when it is still the one with that etag.

        Raises UsageError for what must not be taken, and Unavailable when nothing (whole) came in time.
        """
        given_up = threading.Event()
        left_s = self._end - monotonic()
        return _within(left_s, partial(self._get, f"{self.address}/{name}", most_bytes, etag, given_up), given_up)

    def _get(self, url: str, most_bytes: int, etag: str, given_up: threading.Event) -> Answer | None:
        import urllib.error
        import urllib.request
        from http.client import HTTPException

        request = urllib.request.Request(url, headers={"User-Agent": "cloudtrain"})  # noqa: S310  # checked
        if etag:
            request.add_header("If-None-Match", etag)
        try:
            with self._opener().open(request, timeout=SILENCE_S) as answer:
                return Answer(_body(answer, most_bytes, given_up), answer.headers.get("ETag", ""))
        except urllib.error.HTTPError as refused:
            with refused:
                if refused.code == 304:
                    return None
                raise self._refusal(refused.code, url) from None
        except (OSError, ValueError, HTTPException) as error:
            raise Unavailable(f"{self._host} does not answer ({type(error).__name__})", "try again") from None

    @property
    def _host(self) -> str:
        return visible(str(self._named and self._named.netloc))

    def _refusal(self, status: int, url: str) -> CloudtrainError:
        if status == 429 or status >= 500:
            return Unavailable(f"{self._host} answers {status}", "try again in a minute")
        return UsageError(f"{self._host} answers {status} for `{visible(url, 200)}`", "is it the right address?")

    def _opener(self) -> Any:
        """Sends to this machine past every proxy, and follows a redirect only to who may answer."""
        import urllib.request

        door = self

        class Redirects(urllib.request.HTTPRedirectHandler):
            max_redirections = MOST_REDIRECTS

            def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
                door._may_answer(newurl)
                return super().redirect_request(req, fp, code, msg, headers, newurl)

        return urllib.request.build_opener(Redirects, *([urllib.request.ProxyHandler({})] if self._local else []))

    def _may_answer(self, url: str) -> None:
        """Raises UsageError for a redirect to any other place."""
        to = _parts(url)
        if to is not None and self._named is not None:
            same = (to.scheme, to.netloc) == (self._named.scheme, self._named.netloc)
            if same or (to.scheme == "https" and to.hostname in self._hosts and to.port in (None, 443)):
                return
        elsewhere = visible(to.netloc if to else url)
        raise UsageError(f"{self._host} sends on to `{elsewhere}`, which is not followed", HINT)


def _parts(url: str) -> SplitResult | None:
    """The parts of an address; None where it is none, or would carry a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    good = url.isascii() and url.isprintable() and " " not in url and parts.hostname and "@" not in parts.netloc
    return parts if good else None


def _body(answer: Any, most_bytes: int, given_up: threading.Event) -> bytes:
    said = answer.headers.get("Content-Length", "")
    length = int(said) if said.isdecimal() and len(said) < 20 else None
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(PART_BYTES):
        size += len(part)
        if size > most_bytes:
            raise UsageError(f"the catalogue's file is larger than {most_bytes / 1e6:g} MB", HINT)
        if given_up.is_set():
            raise TimeoutError
        parts.append(part)
    if length is not None and size != length:
        raise Unavailable("the catalogue's file was cut short", "try again")
    return b"".join(parts)


def _within(seconds: float, call: Callable[[], T], given_up: threading.Event) -> T:
    """What the call returns or raises. Raises Unavailable once the time is up.

    In a thread, because nothing else bounds a name that is not resolved and headers that come a byte at a time.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:
            done.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        found, error = done.get(timeout=max(0.0, seconds))
    except queue.Empty:
        given_up.set()
        raise Unavailable("the catalogue did not arrive in time", "try again") from None
    if isinstance(error, CloudtrainError):
        raise error from None
    if error is not None:
        raise error
    return found  # type: ignore[return-value]  # the call's
