"""The model hub, asked small things before anything is made: a newest commit, a right to read, a tokenizer's files.

It is not asked while HF_HUB_OFFLINE is set (a simulation sets it), nor where HF_ENDPOINT names another hub: a token is
for one of them. No error holds a token.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from cloudtrain import endpoints
from cloudtrain.errors import UsageError

if TYPE_CHECKING:
    import urllib.request

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
HUB = "https://huggingface.co"
TIMEOUT_S = 10.0  # to connect, and between two parts of an answer
LARGEST_ANSWER_BYTES = 16 * 2**20
COMMIT = re.compile(r"[0-9a-f]{40}")
TOKEN = re.compile(r"[A-Za-z0-9_.-]{8,400}")


class Unasked(Exception):
    """The hub was not asked, or did not answer; the text says why."""


class Repository(NamedTuple):
    """A repository's newest commit, the names of its files there, and whether its owner wants a licence accepted."""

    commit: str
    files: tuple[str, ...]
    gated: bool


def repository(hub_id: str, token: str | None) -> Repository:
    """What a repository holds now. Raises Unasked."""
    with _get(f"/api/models/{quote(hub_id)}/revision/main", token) as answer:
        if answer.status != 200:
            raise Unasked(f"the hub does not show `{hub_id}` ({answer.status})")
        document = answer.document()
    commit, files = document.get("sha"), document.get("siblings")
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
        raise Unasked("the hub's answer names no commit")
    names = (file.get("rfilename") for file in files if isinstance(file, dict)) if isinstance(files, list) else ()
    return Repository(commit, tuple(name for name in names if isinstance(name, str)), bool(document.get("gated")))


def may_read(hub_id: str, token: str | None) -> bool:
    """Whether the token may download from the repository: for a gated one its owner accepted the licence. Unasked."""
    with _get(f"/api/models/{quote(hub_id)}/auth-check", token) as answer:
        if answer.status in (200, 401, 403):
            return bool(answer.status == 200)
        raise Unasked(f"the hub answers {answer.status}")


def file(hub_id: str, commit: str, name: str, token: str | None, limit: int) -> bytes:
    """A file of a commit, up to a size. Raises Unasked."""
    with _get(f"/{quote(hub_id)}/resolve/{commit}/{quote(name)}", token) as answer:
        if answer.status != 200:
            raise Unasked(f"the hub does not hand out `{name}` ({answer.status})")
        return answer.content(limit)


def own_token() -> str | None:
    """The token of this machine's user: of HF_TOKEN, else the one that `hf auth login` has left."""
    for name in TOKEN_VARIABLES:
        if text := os.environ.get(name, "").strip():
            return text
    with suppress(OSError, UnicodeDecodeError):
        return _first_word(Path(_token_file())) or None
    return None


def own_token_place() -> str:
    """The variable or the file that holds it, as `handed_over` takes it; "" where there is none."""
    named = next((name for name in TOKEN_VARIABLES if os.environ.get(name, "").strip()), "")
    return named or (_token_file() if own_token() else "")


def _token_file() -> str:
    home = os.environ.get("HF_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("HF_TOKEN_PATH") or os.path.join(home or os.path.join(cache, "huggingface"), "token")


def handed_over(source: str) -> str:
    """The token in the variable or the file that `source` names. Raises UsageError, which never shows it."""
    name = "the variable or file of --hub-token-from"
    if source.startswith("hf_") and source not in os.environ:
        raise UsageError(
            "--hub-token-from takes the name of a variable or a file, and this looks like a token itself",
            "other users and the shell's history see a command line: revoke that token, put a new one in a variable",
        )
    token = os.environ.get(source, "").strip()
    if not token:
        try:
            token = _first_word(Path(source).expanduser())
        except (OSError, UnicodeDecodeError, ValueError):
            hint = "`--hub-token-from HF_TOKEN` reads a variable, `--hub-token-from FILE` a file"
            raise UsageError(f"`{source}` is no variable that is set, and no file that can be read", hint) from None
    if not TOKEN.fullmatch(token):
        raise UsageError(
            f"{name} holds no token", "a read-only token is made in the hub's settings and begins with hf_"
        )
    return token


def _first_word(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(4096).decode().strip()


def _get(path: str, token: str | None) -> Answer:
    """One question; its answer is not read yet. Raises Unasked."""
    if os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on"):
        raise Unasked("HF_HUB_OFFLINE is set")
    try:
        base = endpoints.override("HF_ENDPOINT") or HUB
    except UsageError:
        raise Unasked("HF_ENDPOINT names another hub") from None
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    request = urllib.request.Request(base + path)  # noqa: S310  # https, or this machine's own loopback
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        return Answer(urllib.request.build_opener(_redirects()).open(request, timeout=TIMEOUT_S))
    except urllib.error.HTTPError as refused:
        return Answer(refused)
    except (OSError, ValueError, HTTPException):
        raise Unasked("the hub cannot be reached") from None


def _redirects() -> urllib.request.HTTPRedirectHandler:
    """Follows an answer that sends elsewhere, and shows the token to the same server alone."""
    import urllib.request
    from urllib.parse import urlsplit

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            request = super().redirect_request(req, fp, code, msg, headers, newurl)
            shown = req.get_header("Authorization")
            if request is not None and shown and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
                request.add_unredirected_header("Authorization", shown)
            return request

    return Redirects()


class Answer:
    """An answer of the hub: its status, and its body in pieces. A context manager."""

    def __init__(self, response: Any) -> None:
        self.response = response

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.response.close()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(self.response.status)

    def content(self, limit: int) -> bytes:
        """The body, up to a size. Raises Unasked."""
        from http.client import HTTPException

        try:
            found: bytes = self.response.read(limit + 1)
        except (OSError, ValueError, HTTPException):
            raise Unasked("the hub's answer was cut short") from None
        if len(found) > limit:
            raise Unasked("the hub's answer is too large")
        return found

    def document(self) -> dict[str, Any]:
        """The body as a JSON object. Raises Unasked."""
        try:
            found = json.loads(self.content(LARGEST_ANSWER_BYTES))
        except (ValueError, RecursionError):
            raise Unasked("the hub's answer is no JSON") from None
        if not isinstance(found, dict):
            raise Unasked("the hub's answer is no object")
        return found
