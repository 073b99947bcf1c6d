"""What notices need of a forge, whichever it is: its issues, and the comments on its requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Note(NamedTuple):
    """An issue, or a comment on a request: its number, who wrote it, its text, whether it is open, its page."""

    number: int
    author: str
    body: str
    is_open: bool = True
    url: str = ""


class Forge(Protocol):
    """What the notices need of a forge. Every call raises `http.Refused`.

    A request is what changes are proposed in: GitHub's pull request, GitLab's merge request.
    """

    name: str
    longest: int  # characters of a body
    a_request: str  # what it calls a request

    def me(self) -> str:
        """Who the token is."""

    def issue(self, number: int) -> Note | None:
        """One issue; None when there is none of that number."""

    def issues(self) -> Iterator[Note]:
        """Every issue, newest first, open or not."""

    def open_issue(self, title: str, body: str) -> Note:
        """A new issue."""

    def change_issue(self, number: int, body: str, is_open: bool) -> None:
        """Replace its text, and open or close it."""

    def remark(self, number: int, line: str) -> None:
        """Add a comment to an issue."""

    def request(self) -> int | None:
        """The request of the run, or the open one of its branch; None when there is none."""

    def comments(self, request: int) -> Iterator[Note]:
        """Every comment on a request."""

    def comment(self, request: int, body: str) -> Note:
        """A new comment on a request."""

    def change_comment(self, request: int, number: int, body: str) -> None:
        """Replace the text of a comment."""
