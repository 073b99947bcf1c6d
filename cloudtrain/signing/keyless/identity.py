"""Who a CI job is: the signed token that GitHub or GitLab gives it, for one audience."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from cloudtrain.errors import visible
from cloudtrain.state import token_request
from cloudtrain.state.errors import BucketDenied

URL, BEARER = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
FILE, VARIABLE = "AWS_WEB_IDENTITY_TOKEN_FILE", "CLOUDTRAIN_ID_TOKEN"
NONE = (
    "GitHub: give the job `permissions: id-token: write`. GitLab: give it `id_tokens: CLOUDTRAIN_ID_TOKEN: aud: ...`. "
    "See docs/keyless.md"
)


class Source(NamedTuple):
    """Where the token comes from, and the name of the variable that says so."""

    kind: Literal["file", "variable", "github"]
    name: str


def source() -> Source | None:
    """Where this job's token comes from; None where nothing gives one."""
    if os.environ.get(FILE):
        return Source("file", FILE)
    if os.environ.get(VARIABLE):
        return Source("variable", VARIABLE)
    return Source("github", URL) if os.environ.get(URL) and os.environ.get(BEARER) else None


def in_ci() -> bool:
    """Whether this is a job of a CI system."""
    return any(os.environ.get(name) for name in ("GITHUB_ACTIONS", "GITLAB_CI"))


def request_url(audience: str) -> str:
    """Where GitHub gives the token for an audience."""
    base = os.environ[URL]
    return f"{base}{'&' if '?' in base else '?'}audience={quote(audience, safe='')}"


def token(where: Source, audience: str) -> str:
    """The job's token. Raises BucketDenied when there is none, Unavailable, UsageError."""
    if where.kind == "variable":
        found = os.environ[VARIABLE].strip()
    elif where.kind == "file":
        path = os.environ[FILE]
        try:
            found = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BucketDenied(f"{FILE}: `{visible(path)}` cannot be read ({type(error).__name__})", NONE) from None
    else:
        headers = {"Authorization": f"Bearer {os.environ[BEARER]}", "Accept": "application/json"}
        status, answer = token_request.ask(request_url(audience), None, headers)
        found = str(token_request.document(answer).get("value") or "") if status == 200 else ""
        if not found:
            raise BucketDenied(f"GitHub gives this job no identity token ({status})", NONE)
    if not found:
        raise BucketDenied(f"the identity token in {where.name} is empty", NONE)
    return found
