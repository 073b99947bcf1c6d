"""A fake GitLab: issues and notes of one project; it obeys lines that begin with a slash, as the real one does."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.forge.base import FakeForge, Refusal, Text, Token, given, page_of, reply
from cloudtrain.simulator.http_server import Reply, Request

PROJECT = "4711"
TOKEN = "glpat-PLANTED-SECRET-GITLAB"  # noqa: S105  # planted, to be found where it must not be
JOB_TOKEN = "glcbt-PLANTED-SECRET-GITLAB-job"  # noqa: S105
BOT = "project_4711_bot_0a1b"
LONGEST = 1_000_000
ROOT = f"/api/v4/projects/{PROJECT}"
NUMBER = r"(\d+)"
COMMAND = re.compile(r"^\s*/(\w+)", re.MULTILINE)


class FakeGitLab(FakeForge):
    """The project. A token has `api` (everything) or `read_api`; a job's own token may ask who it is, and no more."""

    def reset(self, clock: Clock | None = None) -> None:
        super().reset(clock)
        self.tokens = {TOKEN: Token(BOT, {"api": "write"}), JOB_TOKEN: Token("somebody", {}, app=True)}

    def environment(self) -> dict[str, str]:
        return {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": f"{self.url}/api/v4",
            "CI_PROJECT_ID": PROJECT,
            "CI_COMMIT_REF_NAME": "main",
            "GITLAB_TOKEN": TOKEN,
            "CI_JOB_TOKEN": JOB_TOKEN,
        }

    def refuse(self, kind: str) -> Reply:
        if kind == "unavailable":
            return reply({"message": "502 Bad Gateway"}, 502)
        return reply({"message": "429 Too Many Requests"}, 429, {"Retry-After": "60"})

    def admitted(self, request: Request) -> Token:
        own, job = (request.headers.get(name, "") for name in ("private-token", "job-token"))
        token = self.tokens.get(own or job)
        if token is None or token.app != bool(job) or "authorization" in request.headers:
            raise Refusal(401, {"message": "401 Unauthorized"})
        if token.app and request.path != "/api/v4/job":
            raise Refusal(401, {"message": "401 Unauthorized"})
        if request.method != "GET" and token.rights.get("api") != "write":
            raise Refusal(403, {"error": "insufficient_scope", "scope": "api"})
        return token

    def routes(self) -> list[tuple[str, str, Callable[..., Reply]]]:
        notes = rf"{ROOT}/(issues|merge_requests)/{NUMBER}/notes"
        return [
            ("GET", "/api/v4/user", lambda request, token: reply({"id": 1, "username": token.login})),
            ("GET", "/api/v4/job", lambda request, token: reply({"id": 1, "user": {"username": token.login}})),
            ("GET", f"{ROOT}/issues", self._list_issues),
            ("POST", f"{ROOT}/issues", self._open),
            ("GET", f"{ROOT}/issues/{NUMBER}", lambda request, token, n: reply(issue(self._issue(n)))),
            ("PUT", f"{ROOT}/issues/{NUMBER}", self._change),
            ("GET", notes, self._notes),
            ("POST", notes, self._note),
            ("PUT", rf"{notes}/{NUMBER}", self._change_note),
            ("GET", f"{ROOT}/merge_requests", self._requests),
        ]

    def written(self, text: str) -> None:
        super().written(text)
        self.commands += COMMAND.findall(text)

    def _issue(self, number: str) -> Text:
        if not self.issues_on:
            raise Refusal(403, {"message": "403 Forbidden"})
        return self.numbered(number, requests=False)

    def _of(self, kind: str, number: str) -> Text:
        if kind == "issues":
            return self._issue(number)
        found = self.numbered(number, requests=True)
        if not found.is_request:
            raise Refusal(404, {"message": "404 Not found"})
        return found

    def _list_issues(self, request: Request, token: Token) -> Reply:
        if not self.issues_on:
            raise Refusal(403, {"message": "403 Forbidden"})
        return paged(request, [issue(each) for each in reversed(self.issues)])

    def _open(self, request: Request, token: Token) -> Reply:
        body = given(request, {"title": str, "description": str, "labels": str}, ("title",))
        if not self.issues_on:
            raise Refusal(403, {"message": "403 Forbidden"})
        check(body.get("description", ""))
        self.written(body.get("description", ""))
        return reply(issue(self.add(token.login, body.get("description", ""), title=body["title"])), 201)

    def _change(self, request: Request, token: Token, number: str) -> Reply:
        found = self._issue(number)
        body = given(request, {"title": str, "description": str, "state_event": str}, ())
        if body.get("state_event", "close") not in ("close", "reopen"):
            raise Refusal(400, {"error": "state_event does not have a valid value"})
        check(body.get("description", ""))
        self.changed("issue", found, token.login)
        self.written(body.get("description", ""))
        found.body = body.get("description", found.body)
        found.is_open = {"close": False, "reopen": True}.get(body.get("state_event", ""), found.is_open)
        return reply(issue(found))

    def _notes(self, request: Request, token: Token, kind: str, number: str) -> Reply:
        rows = [note(each) for each in self._of(kind, number).comments]
        system = {"id": 1, "body": "changed the description", "system": True, "author": {"username": BOT}}
        return paged(request, [system, *rows])

    def _note(self, request: Request, token: Token, kind: str, number: str) -> Reply:
        body = given(request, {"body": str}, ("body",))
        check(body["body"])
        found = self._of(kind, number)
        self.written(body["body"])
        return reply(note(self.comment_on(found, token.login, body["body"])), 201)

    def _change_note(self, request: Request, token: Token, kind: str, number: str, id_: str) -> Reply:
        body = given(request, {"body": str}, ("body",))
        check(body["body"])
        for found in self._of(kind, number).comments:
            if str(found.number) == id_:
                self.changed("note", found, token.login)
                if found.author != token.login:
                    raise Refusal(403, {"message": "403 Forbidden"})
                self.written(body["body"])
                found.body = body["body"]
                return reply(note(found))
        raise Refusal(404, {"message": "404 Not found"})

    def _requests(self, request: Request, token: Token) -> Reply:
        branch = request.query.get("source_branch", [""])[0]
        found = [each for each in self.texts if each.is_request and each.is_open]
        return paged(request, [issue(each) for each in found if not branch or branch == each.branch])


def check(text: str) -> None:
    """Raises Refusal 400 for a text that is too long."""
    if len(text) > LONGEST:
        raise Refusal(400, {"message": {"note": [f"is too long (maximum is {LONGEST} characters)"]}})


def paged(request: Request, rows: Sequence[Any]) -> Reply:
    """A page; its header names the next one, and is empty on the last."""
    number, size = page_of(request)
    more = str(number + 1) if len(rows) > number * size else ""
    headers = {"X-Next-Page": more, "X-Page": str(number), "X-Per-Page": str(size)}
    return reply(list(rows[(number - 1) * size : number * size]), headers=headers)


def issue(text: Text) -> dict[str, Any]:
    """An issue or a merge request, as GitLab shows it: `id` is the whole site's, `iid` the project's."""
    return {
        "id": text.number + 90_000,
        "iid": text.number,
        "title": text.title,
        "description": text.body or None,
        "state": "opened" if text.is_open else "closed",
        "author": {"id": 1, "username": text.author},
        "web_url": f"https://gitlab.invalid/octo/tunes/-/issues/{text.number}",
    }


def note(text: Text) -> dict[str, Any]:
    """A note, as GitLab shows it."""
    return {"id": text.number, "body": text.body, "system": False, "author": {"username": text.author}}
