"""GitLab's REST API: issues, and notes on a merge request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from cloudtrain.nights.forges.forge import Note
from cloudtrain.nights.forges.http import TOKEN, Api, Refused, number, text

RIGHTS: Final = (
    "make a project access token with the scope `api` and the role Reporter, and give it to the job as the masked "
    "variable GITLAB_TOKEN; a job's own token may write neither issues nor notes"
)


class GitLab:
    """The project of a run. Raises Refused without a token, or for an address that a token must not go to."""

    name = "GitLab"
    longest = 1_000_000
    a_request = "merge request"

    def __init__(self, environment: Mapping[str, str]) -> None:
        own, job = (environment.get(name, "").strip() for name in ("GITLAB_TOKEN", "CI_JOB_TOKEN"))
        if not (own or job):
            raise Refused(f"neither GITLAB_TOKEN nor CI_JOB_TOKEN is set: {RIGHTS}")
        if not TOKEN.fullmatch(own or job):
            raise Refused("GITLAB_TOKEN has characters that no token has")
        address = environment.get("CI_API_V4_URL", "")
        if not address:
            raise Refused("CI_API_V4_URL is not set")
        self._is_job = not own
        header = {"JOB-TOKEN": job} if self._is_job else {"PRIVATE-TOKEN": own}
        self.api = Api(self.name, address, header, RIGHTS)
        self.root = f"/projects/{quote(environment.get('CI_PROJECT_ID', ''), safe='')}"
        self._environment = environment

    def me(self) -> str:
        if self._is_job:
            return text(_object(self.api.get("/job").document), "user", "username")
        return text(_object(self.api.get("/user").document), "username")

    def issue(self, number: int) -> Note | None:
        try:
            return _issue(_object(self.api.get(f"{self.root}/issues/{number}").document))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def issues(self) -> Iterator[Note]:
        query = {"state": "all", "scope": "all", "order_by": "created_at", "sort": "desc"}
        return (_issue(each) for each in self.api.pages(f"{self.root}/issues", query))

    def open_issue(self, title: str, body: str) -> Note:
        return _issue(self.api.send("POST", f"{self.root}/issues", {"title": title, "description": body}))

    def change_issue(self, number: int, body: str, is_open: bool) -> None:
        event = "reopen" if is_open else "close"
        self.api.send("PUT", f"{self.root}/issues/{number}", {"description": body, "state_event": event})

    def remark(self, number: int, line: str) -> None:
        self.api.send("POST", f"{self.root}/issues/{number}/notes", {"body": line})

    def request(self) -> int | None:
        if (found := self._environment.get("CI_MERGE_REQUEST_IID", "")).isdigit():
            return int(found)
        branch = self._environment.get("CI_COMMIT_REF_NAME", "")
        if not branch:
            return None
        query = {"source_branch": branch, "state": "opened"}
        return next((number(each, "iid") for each in self.api.pages(f"{self.root}/merge_requests", query)), None)

    def comments(self, request: int) -> Iterator[Note]:
        query = {"sort": "asc", "order_by": "created_at"}
        found = self.api.pages(f"{self.root}/merge_requests/{request}/notes", query)
        return (_comment(each) for each in found if each.get("system") is not True)

    def comment(self, request: int, body: str) -> Note:
        return _comment(self.api.send("POST", f"{self.root}/merge_requests/{request}/notes", {"body": body}))

    def change_comment(self, request: int, number: int, body: str) -> None:
        self.api.send("PUT", f"{self.root}/merge_requests/{request}/notes/{number}", {"body": body})


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Refused("GitLab answers with something else than was asked for")
    return document


def _author(document: Mapping[str, Any]) -> str:
    return text(document, "author", "username") if document.get("author") else ""


def _issue(document: Mapping[str, Any]) -> Note:
    is_open = text(document, "state") == "opened"
    return Note(
        number(document, "iid"), _author(document), text(document, "description"), is_open, text(document, "web_url")
    )


def _comment(document: Mapping[str, Any]) -> Note:
    return Note(number(document, "id"), _author(document), text(document, "body"))
