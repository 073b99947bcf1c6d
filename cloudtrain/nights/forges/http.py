"""One request to a forge's REST API: https or loopback alone, no redirect followed, and each refusal as a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from cloudtrain.endpoints import LOOPBACK
from cloudtrain.errors import visible

TIMEOUT_S = 20.0  # to connect, and between two parts of an answer
LARGEST_ANSWER_BYTES = 32 * 2**20
TOO_MANY = 429  # also where a forge says it with 403, which else means that the token may not
PAGE, PAGES_AT_MOST = 100, 100
TOKEN = re.compile(r"[A-Za-z0-9_.~+/=-]{4,1000}")  # what a token may look like, so that it makes no second header
_NEXT = re.compile(r"<([^>]*)>\s*;[^,]*\brel=\"?next\"?")


class Refused(Exception):
    """It was not done. `status` is the answer's, 0 without one; `sentence` says what a person can do."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.sentence, self.status = sentence, status


class Answer(NamedTuple):
    """A good answer: its JSON, and its headers in lower case."""

    document: Any
    headers: Mapping[str, str]


class Api:
    """An API at one address, which alone gets the token. `rights` is what to do when the token may not."""

    def __init__(self, name: str, address: str, headers: Mapping[str, str], rights: str) -> None:
        self.name, self.rights = name, rights
        self.base = checked(address, f"{name}'s address")
        self._headers = dict(headers)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Answer:
        """What is at a path. Raises Refused."""
        return self._send("GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The object that a writing call answers with. Raises Refused."""
        document = self._send(method, path, body).document
        if not isinstance(document, dict):
            raise self._strange()
        return document

    def pages(self, path: str, query: Mapping[str, Any] | None = None, key: str = "") -> Iterator[dict[str, Any]]:
        """Every object of a list (under `key`, if it has one), over all pages. Raises Refused.

        Of an address that leads to the next page only the query is taken: the token goes to no other place.
        """
        asked: dict[str, Any] = {**(query or {}), "per_page": PAGE}
        for _ in range(PAGES_AT_MOST):
            answer = self.get(path, asked)
            found = answer.document.get(key) if key and isinstance(answer.document, dict) else answer.document
            if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
                raise self._strange()
            yield from found
            following = next_query(answer.headers, asked)
            if following is None or following == asked:
                return
            asked = following
        raise Refused(f"{self.name}'s list does not end")

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        import urllib.error
        import urllib.request
        from http.client import HTTPException

        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)  # noqa: S310  # checked above
        request.add_header("User-Agent", "cloudtrain")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)
        try:
            with opener(self.base).open(request, timeout=TIMEOUT_S) as answer:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(self._document(answer.read(LARGEST_ANSWER_BYTES + 1)), headers)
        except urllib.error.HTTPError as refused:
            with refused:
                raise self._refusal(refused) from None
        except (OSError, ValueError, HTTPException):
            raise Refused(f"{self.name} does not answer: the next tick tries again") from None

    def _document(self, data: bytes) -> Any:
        if len(data) > LARGEST_ANSWER_BYTES:
            raise Refused(f"{self.name}'s answer is too large")
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self._strange() from None

    def _strange(self) -> Refused:
        return Refused(f"{self.name} answers with something else than was asked for")

    def _refusal(self, answer: Any) -> Refused:
        """What a status says, without repeating a word that could hold a token."""
        status, headers = int(answer.status), answer.headers
        wait = headers.get("Retry-After", "")
        if status == 429 or (status == 403 and (wait or headers.get("X-RateLimit-Remaining") == "0")):
            after = f" for {wait} s" if wait.isdigit() else ""
            return Refused(f"{self.name} asks to wait{after} ({status}): the next tick tries again", TOO_MANY)
        if 300 <= status < 400:
            return Refused(
                f"{self.name} sends elsewhere ({status}), which is not followed: it may have a new name", status
            )
        if status >= 500:
            return Refused(f"{self.name} has a failure ({status}): the next tick tries again", status)
        said = {
            401: f"{self.name} does not accept the token (401): {self.rights}",
            403: f"the token may not do that at {self.name} (403): {self.rights}",
            404: f"{self.name} shows no such thing to the token (404): {self.rights}",
            410: f"issues are switched off in this repository at {self.name} (410): allow them, or take --comment pr",
            422: f"{self.name} does not take what was sent (422)",
        }
        return Refused(said.get(status, f"{self.name} answers {status}"), status)


def checked(address: str, what: str) -> str:
    """The address without a slash at its end. Raises Refused unless it is https, or on this machine."""
    text = address.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Refused(f"{what} is no address") from None
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
    if not safe or not host or "@" in parts.netloc or not text.isascii() or not text.isprintable() or " " in text:
        shown = visible(f"{parts.scheme}://{host or ''}")
        raise Refused(f"{what} ({shown}) is neither https nor on this machine: nothing is sent there")
    return text


def opener(address: str) -> Any:
    """Sends without following a redirect; to this machine past every proxy, which would see the token."""
    return _opener(urlsplit(address).hostname in LOOPBACK)


@cache
def _opener(local: bool) -> Any:
    import urllib.request

    class Nowhere(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    return urllib.request.build_opener(Nowhere, *([urllib.request.ProxyHandler({})] if local else []))


def next_query(headers: Mapping[str, str], asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """The query of the next page: by a link as GitHub gives, or by the number that GitLab gives; None on the last."""
    if number := headers.get("x-next-page", "").strip():
        return {**asked, "page": number}
    found = _NEXT.search(headers.get("link", ""))
    return dict(parse_qsl(urlsplit(found[1]).query)) if found else None


def text(document: Mapping[str, Any], *path: str) -> str:
    """A text in a document, "" for null. Raises Refused when there is none."""
    found: Any = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else found
    if found is not None and not isinstance(found, str):
        raise Refused(f"the forge's answer has no `{'.'.join(path)}`")
    return found or ""


def number(document: Mapping[str, Any], name: str) -> int:
    """A number in a document. Raises Refused when there is none."""
    found = document.get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise Refused(f"the forge's answer has no `{name}`")
    return found
