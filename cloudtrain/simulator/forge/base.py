"""What both fake forges have: issues, requests, comments, tokens with rights, and what no client of ours may cause."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import Faults, FaultTable
from cloudtrain.simulator.http_server import Front, Reply, Request

PAGE = 2
MENTION = re.compile(r"(?<![\w`])@([A-Za-z0-9][\w-]*)")


class Refusal(Exception):
    """An answer that is none: status, document, headers."""

    def __init__(self, status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(document))
        self.status, self.document, self.headers = status, document, headers or {}


@dataclass
class Token:
    """Who has it, and what it may do: right -> read or write. `app`: of a CI job, and may not ask who it is."""

    login: str
    rights: Mapping[str, str] = field(default_factory=dict)
    app: bool = False


@dataclass
class Text:
    """An issue, a request or a comment."""

    number: int
    author: str
    body: str
    title: str = ""
    is_open: bool = True
    is_request: bool = False
    branch: str = ""
    comments: list[Text] = field(default_factory=list)


class FakeForge(Front):
    """A repository with issues and requests. `trespasses` are changes of what another has written; `mentioned` are
    people who got a message because of a text; `commands` are lines that the forge took for orders."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.fault_table: FaultTable = []
        self.reset(self.clock)

    def reset(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.faults, self.slow_s = Faults(), 0.0
        self.calls.clear()
        self.tokens: dict[str, Token] = {}
        self.texts: list[Text] = []
        self.issues_on = True
        self.trespasses: list[str] = []
        self.mentioned: list[str] = []
        self.commands: list[str] = []
        self.redirect = ""  # where every request is sent instead
        self._numbers = 0

    def add(self, author: str, body: str, **more: Any) -> Text:
        """Somebody's issue or request."""
        self._numbers += 1
        made = Text(self._numbers, author, body, **more)
        self.texts.append(made)
        return made

    def comment_on(self, on: Text, author: str, body: str) -> Text:
        """Somebody's comment."""
        self._numbers += 1
        made = Text(self._numbers + 1000, author, body)
        on.comments.append(made)
        return made

    @property
    def issues(self) -> list[Text]:
        """Without the requests."""
        return [each for each in self.texts if not each.is_request]

    def written(self, text: str) -> None:
        """What a new text causes."""
        self.mentioned += MENTION.findall(text)

    def changed(self, what: str, text: Text, by: str) -> None:
        """Somebody changes a text."""
        if text.author != by:
            self.trespasses.append(f"{what} {text.number} of {text.author}, by {by}")

    def numbered(self, number: str, requests: bool) -> Text:
        """An issue, or a request. Raises Refusal 404."""
        for each in self.texts:
            if str(each.number) == number and each.is_request <= requests:
                return each
        raise Refusal(404, {"message": "Not Found"})

    def mutates(self, call: str) -> bool:
        return call.split(" ", maxsplit=1)[0] in ("POST", "PATCH", "PUT")

    def call_of(self, request: Request) -> str:
        return f"{request.method} {request.path}"

    def routes(self) -> list[tuple[str, str, Callable[..., Reply]]]:
        """(method, pattern of a path, answer)."""
        raise NotImplementedError

    def admitted(self, request: Request) -> Token:
        """Whose token it is. Raises Refusal."""
        raise NotImplementedError

    def perform(self, call: str, request: Request) -> Reply:
        if self.redirect:
            return Reply(301, b"{}", {"Location": self.redirect})
        try:
            token = self.admitted(request)
            for method, pattern, answer in self.routes():
                found = re.fullmatch(pattern, request.path)
                if found and method == request.method:
                    return answer(request, token, *found.groups())
            raise Refusal(404, {"message": "Not Found"})
        except Refusal as refusal:
            return reply(refusal.document, refusal.status, refusal.headers)


def reply(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer in JSON."""
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})


def page_of(request: Request) -> tuple[int, int]:
    """(number of the page, rows on it): a client may ask for more than it gets. Raises Refusal 422."""
    try:
        number, size = int(request.query.get("page", ["1"])[0]), int(request.query.get("per_page", ["30"])[0])
    except ValueError:
        raise Refusal(422, {"message": "page and per_page are numbers"}) from None
    if number < 1 or not 1 <= size <= 100:
        raise Refusal(422, {"message": "page or per_page is out of range"})
    return number, min(size, PAGE)


def given(request: Request, known: Mapping[str, type], needed: tuple[str, ...]) -> dict[str, Any]:
    """The body: an object with these members and no other. Raises Refusal 400 and 422."""
    if request.headers.get("content-type") != "application/json":
        raise Refusal(415, {"message": "Unsupported media type"})
    try:
        body = json.loads(request.body)
    except ValueError:
        raise Refusal(400, {"message": "Problems parsing JSON"}) from None
    if not isinstance(body, dict):
        raise Refusal(422, {"message": "the body is no object"})
    for name, value in body.items():
        if name not in known or not isinstance(value, known[name]):
            raise Refusal(422, {"message": "Validation Failed", "errors": [{"field": name, "code": "invalid"}]})
    for name in needed:
        if not body.get(name):
            raise Refusal(422, {"message": "Validation Failed", "errors": [{"field": name, "code": "missing_field"}]})
    return body
