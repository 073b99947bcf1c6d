"""GitHub's REST API: issues, comments on a pull request, and whether GitHub has switched a workflow off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cloudtrain.nights.forges.forge import Note
from cloudtrain.nights.forges.http import TOKEN, Api, Refused, number, text

ADDRESS = "https://api.github.com"
APP = "github-actions[bot]"  # who the token of a workflow's job is
REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
RIGHTS: Final = (
    "give the job `permissions: issues: write` (for --comment pr `pull-requests: write`), and GITHUB_TOKEN to the step"
)
DISABLED: Final = {
    "disabled_inactivity": "nothing happened in the repository for 60 days",
    "disabled_fork": "it is in a fork",
    "disabled_manually": "by hand",
}
OURS: Final = re.compile(r"\.github/workflows/cloudtrain-[^/]+\.ya?ml")


class GitHub:
    """The repository of a run. Raises Refused without a token, or for an address that a token must not go to."""

    name = "GitHub"
    longest = 65_536
    a_request = "pull request"

    def __init__(self, environment: Mapping[str, str]) -> None:
        token, repository = environment.get("GITHUB_TOKEN", "").strip(), environment.get("GITHUB_REPOSITORY", "")
        if not token:
            raise Refused(f"GITHUB_TOKEN is not set: {RIGHTS}")
        if not TOKEN.fullmatch(token):
            raise Refused("GITHUB_TOKEN has characters that no token has")
        if not REPOSITORY.fullmatch(repository) or {".", ".."} & set(repository.split("/")):
            raise Refused("GITHUB_REPOSITORY is not OWNER/NAME")
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self.api = Api(self.name, environment.get("GITHUB_API_URL") or ADDRESS, headers, RIGHTS)
        self.root = f"/repos/{repository}"
        self._owner = repository.split("/")[0]
        self._environment = environment

    def me(self) -> str:
        """The token's user; a job's own token may not ask, and is the app of GitHub Actions."""
        try:
            return text(_object(self.api.get("/user").document), "login")
        except Refused as refused:
            if refused.status in (403, 404):
                return APP
            raise

    def issue(self, number: int) -> Note | None:
        try:
            return _note(_object(self.api.get(f"{self.root}/issues/{number}").document), "number")
        except Refused as refused:
            if refused.status in (301, 404, 410):  # moved to another repository, or deleted
                return None
            raise

    def issues(self) -> Iterator[Note]:
        query = {"state": "all", "sort": "created", "direction": "desc"}
        found = self.api.pages(f"{self.root}/issues", query)
        return (_note(each, "number") for each in found if "pull_request" not in each)

    def open_issue(self, title: str, body: str) -> Note:
        return _note(self.api.send("POST", f"{self.root}/issues", {"title": title, "body": body}), "number")

    def change_issue(self, number: int, body: str, is_open: bool) -> None:
        state = {"state": "open"} if is_open else {"state": "closed", "state_reason": "completed"}
        self.api.send("PATCH", f"{self.root}/issues/{number}", {"body": body, **state})

    def remark(self, number: int, line: str) -> None:
        self.api.send("POST", f"{self.root}/issues/{number}/comments", {"body": line})

    def request(self) -> int | None:
        found = re.fullmatch(r"refs/pull/(\d+)/.*", self._environment.get("GITHUB_REF", ""))
        if found:
            return int(found[1])
        branch = self._environment.get("GITHUB_HEAD_REF") or self._environment.get("GITHUB_REF_NAME", "")
        if not branch:
            return None
        query = {"head": f"{self._owner}:{branch}", "state": "open"}
        return next((number(each, "number") for each in self.api.pages(f"{self.root}/pulls", query)), None)

    def comments(self, request: int) -> Iterator[Note]:
        return (_note(each, "id") for each in self.api.pages(f"{self.root}/issues/{request}/comments"))

    def comment(self, request: int, body: str) -> Note:
        return _note(self.api.send("POST", f"{self.root}/issues/{request}/comments", {"body": body}), "id")

    def change_comment(self, request: int, number: int, body: str) -> None:
        self.api.send("PATCH", f"{self.root}/issues/comments/{number}", {"body": body})

    def disabled(self) -> list[str]:
        """Our workflow files that GitHub does not run, each with why. Raises Refused."""
        found = self.api.pages(f"{self.root}/actions/workflows", key="workflows")
        here = re.match(rf"{re.escape(self.root.removeprefix('/repos/'))}/([^@]+)@", self._ref())
        named = [(text(each, "path"), text(each, "state")) for each in found]
        return [
            f"{path} ({DISABLED.get(state, state.replace('_', ' '))})"
            for path, state in named
            if state.startswith("disabled") and (OURS.fullmatch(path) or (here and path == here[1]))
        ]

    def _ref(self) -> str:
        return self._environment.get("GITHUB_WORKFLOW_REF", "")


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Refused("GitHub answers with something else than was asked for")
    return document


def _note(document: Mapping[str, Any], id_: str) -> Note:
    return Note(
        number(document, id_),
        text(document, "user", "login") if document.get("user") else "",
        text(document, "body"),
        document.get("state", "open") == "open",
        text(document, "html_url"),
    )
