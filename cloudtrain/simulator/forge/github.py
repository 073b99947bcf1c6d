"""A fake GitHub: issues, comments, pull requests and workflows of one repository, with a job's token and a user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.forge.base import FakeForge, Refusal, Text, Token, given, page_of, reply
from cloudtrain.simulator.http_server import Reply, Request

REPOSITORY = "octo/tunes"
JOB_TOKEN = "ghs_PLANTED-SECRET-GITHUB-job"  # noqa: S105  # planted, to be found where it must not be
USER_TOKEN = "ghp_PLANTED-SECRET-GITHUB-user"  # noqa: S105
APP = "github-actions[bot]"
LONGEST, LONGEST_TITLE = 65_536, 256
ROOT = f"/repos/{REPOSITORY}"
NUMBER = r"(\d+)"


class FakeGitHub(FakeForge):
    """`workflows` are (path, state). `limit` is how it slows a client down: 403 or 429."""

    def reset(self, clock: Clock | None = None) -> None:
        super().reset(clock)
        rights = {"issues": "write", "pull_requests": "write", "actions": "read", "contents": "read"}
        self.tokens = {JOB_TOKEN: Token(APP, rights, app=True), USER_TOKEN: Token("octo", dict(rights))}
        self.workflows: list[tuple[str, str]] = [(".github/workflows/cloudtrain-smoke.yml", "active")]
        self.limit = 403

    def environment(self) -> dict[str, str]:
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_TOKEN": JOB_TOKEN,
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REF_NAME": "main",
        }

    def refuse(self, kind: str) -> Reply:
        if kind == "unavailable":
            return reply({"message": "Server Error"}, 502)
        headers = {"Retry-After": "60", "X-RateLimit-Remaining": "0"}
        return reply({"message": "API rate limit exceeded for installation."}, self.limit, headers)

    def admitted(self, request: Request) -> Token:
        if not request.headers.get("user-agent"):
            raise Refusal(403, {"message": "Request forbidden by administrative rules."})
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme not in ("Bearer", "token") or token not in self.tokens:
            raise Refusal(401, {"message": "Bad credentials"})
        if request.headers.get("x-github-api-version") != "2022-11-28":
            raise Refusal(400, {"message": "the version is not supported"})
        return self.tokens[token]

    def routes(self) -> list[tuple[str, str, Callable[..., Reply]]]:
        return [
            ("GET", "/user", self._user),
            ("GET", f"{ROOT}/issues", self._list_issues),
            ("POST", f"{ROOT}/issues", self._open),
            ("GET", f"{ROOT}/issues/{NUMBER}", self._show),
            ("PATCH", f"{ROOT}/issues/{NUMBER}", self._change),
            ("GET", f"{ROOT}/issues/{NUMBER}/comments", self._comments),
            ("POST", f"{ROOT}/issues/{NUMBER}/comments", self._comment),
            ("PATCH", f"{ROOT}/issues/comments/{NUMBER}", self._change_comment),
            ("GET", f"{ROOT}/pulls", self._pulls),
            ("GET", f"{ROOT}/actions/workflows", self._list_workflows),
        ]

    def _user(self, request: Request, token: Token) -> Reply:
        if token.app:
            raise Refusal(403, {"message": "Resource not accessible by integration"})
        return reply({"login": token.login, "id": 1, "type": "User"})

    def _allow(self, token: Token, how: str, *rights: str) -> None:
        """Raises Refusal 403 unless the token has one of the rights."""
        held = {token.rights.get(right) for right in rights}
        if not held & {"write", how}:
            raise Refusal(403, {"message": "Resource not accessible by integration"})

    def _of_issue(self, token: Token, how: str, text: Text | None = None) -> None:
        self._allow(token, how, "issues", *(["pull_requests"] if text is not None and text.is_request else []))
        if not self.issues_on and not (text is not None and text.is_request):
            raise Refusal(410, {"message": "Issues has been disabled in this repository."})

    def _list_issues(self, request: Request, token: Token) -> Reply:
        self._of_issue(token, "read")
        state = request.query.get("state", ["open"])[0]
        found = [each for each in reversed(self.texts) if state == "all" or each.is_open == (state == "open")]
        return self._paged(request, [document(each) for each in found])

    def _open(self, request: Request, token: Token) -> Reply:
        body = given(request, {"title": str, "body": str, "labels": list, "assignees": list}, ("title",))
        self._of_issue(token, "write")
        check(body)
        self.written(body.get("body", ""))
        return reply(document(self.add(token.login, body.get("body", ""), title=body["title"])), 201)

    def _show(self, request: Request, token: Token, number: str) -> Reply:
        found = self.numbered(number, requests=True)
        self._of_issue(token, "read", found)
        return reply(document(found))

    def _change(self, request: Request, token: Token, number: str) -> Reply:
        found = self.numbered(number, requests=True)
        body = given(request, {"title": str, "body": str, "state": str, "state_reason": str}, ())
        self._of_issue(token, "write", found)
        check(body)
        if body.get("state", "open") not in ("open", "closed"):
            raise Refusal(422, {"message": "Validation Failed", "errors": [{"field": "state", "code": "invalid"}]})
        self.changed("issue", found, token.login)
        self.written(body.get("body", ""))
        found.body = body.get("body", found.body)
        found.is_open = body.get("state", "open" if found.is_open else "closed") == "open"
        return reply(document(found))

    def _comments(self, request: Request, token: Token, number: str) -> Reply:
        found = self.numbered(number, requests=True)
        self._of_issue(token, "read", found)
        return self._paged(request, [document(each) for each in found.comments])

    def _comment(self, request: Request, token: Token, number: str) -> Reply:
        found = self.numbered(number, requests=True)
        body = given(request, {"body": str}, ("body",))
        self._of_issue(token, "write", found)
        check(body)
        self.written(body["body"])
        return reply(document(self.comment_on(found, token.login, body["body"])), 201)

    def _change_comment(self, request: Request, token: Token, number: str) -> Reply:
        body = given(request, {"body": str}, ("body",))
        for text in self.texts:
            for found in (each for each in text.comments if str(each.number) == number):
                self._of_issue(token, "write", text)
                check(body)
                self.changed("comment", found, token.login)
                found.body = body["body"]
                return reply(document(found))
        raise Refusal(404, {"message": "Not Found"})

    def _pulls(self, request: Request, token: Token) -> Reply:
        self._allow(token, "read", "pull_requests")
        head = request.query.get("head", [""])[0]
        if head and ":" not in head:
            raise Refusal(422, {"message": "head is OWNER:BRANCH"})
        found = [each for each in self.texts if each.is_request and each.is_open]
        return self._paged(request, [document(each) for each in found if not head or head == f"octo:{each.branch}"])

    def _list_workflows(self, request: Request, token: Token) -> Reply:
        self._allow(token, "read", "actions")
        rows = [{"id": n, "name": path, "path": path, "state": state} for n, (path, state) in enumerate(self.workflows)]
        return self._paged(request, rows, "workflows")

    def _paged(self, request: Request, rows: Sequence[Any], key: str = "") -> Reply:
        """A page. Its links lead to another host, as GitHub's lead to another path."""
        number, size = page_of(request)
        part, headers = list(rows[(number - 1) * size : number * size]), {}
        if len(rows) > number * size:
            query = {name: values[0] for name, values in request.query.items()} | {"page": str(number + 1)}
            last = urlencode({**query, "page": str(-(-len(rows) // size))})
            links = (f'<https://elsewhere.invalid/x?{urlencode(query)}>; rel="next"',)
            headers["Link"] = ", ".join((*links, f'<https://elsewhere.invalid/x?{last}>; rel="last"'))
        return reply({"total_count": len(rows), key: part} if key else part, headers=headers)


def check(body: dict[str, Any]) -> None:
    """Raises Refusal 422 for what is too long."""
    for name, most in (("body", LONGEST), ("title", LONGEST_TITLE)):
        if len(body.get(name, "")) > most:
            message = f"{name} is too long (maximum is {most} characters)"
            raise Refusal(422, {"message": "Validation Failed", "errors": [{"field": name, "message": message}]})


def document(text: Text) -> dict[str, Any]:
    """An issue or a comment, as GitHub shows it: carriage returns, and null for no text."""
    kind = "pull" if text.is_request else "issues"
    found = {
        "id": text.number,
        "number": text.number,
        "title": text.title,
        "body": text.body.replace("\n", "\r\n") or None,
        "state": "open" if text.is_open else "closed",
        "user": {"login": text.author, "type": "Bot" if text.author.endswith("[bot]") else "User"},
        "html_url": f"https://github.invalid/{REPOSITORY}/{kind}/{text.number}",
    }
    return {**found, "pull_request": {"url": "x"}} if text.is_request else found
