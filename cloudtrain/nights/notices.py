"""Tell a forge what a tick did: one issue for each schedule or one comment on a request, kept up to date in place.

Nothing here fails a night: what was not told is a sentence, stays in the state, and the next tick tries again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from cloudtrain.errors import CloudtrainError, visible
from cloudtrain.nights import wording
from cloudtrain.nights.forges import github, gitlab
from cloudtrain.nights.forges.http import TIMEOUT_S, Refused, checked, opener
from cloudtrain.nights.outcome import OUTCOMES, Tick
from cloudtrain.state import identity
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import read_record, write_record

if TYPE_CHECKING:
    from cloudtrain.nights.forges.forge import Forge, Note
    from cloudtrain.records import NoticesRecord

Where = Literal["issue", "pr"]
BAD: Final = frozenset({"failed", "leak", "missed"})
GOOD: Final = frozenset({"finished", "unchanged"})
LONGEST_MESSAGE: Final = 2000
LONGEST_KEPT: Final = 200_000  # characters of a text that waits in the state to be told


class Found(NamedTuple):
    """Of the texts with our marker: ours, and a sentence about those that somebody else wrote."""

    ours: Note | None
    others: str


def tell(store: Store, tick: Tick, body_markdown: str, where: Where, environment: Mapping[str, str]) -> str:
    """Tell the forge, and say in a sentence what was done; "" when there was nothing to tell.

    A bad outcome opens the schedule's issue, or brings it up to date and opens it again; a good one closes it. With
    `where` "pr" every outcome but "not due" goes into one comment. What an earlier tick could not tell is told now.
    """
    try:
        with store.hold(_lock(tick.schedule)):
            return _tell(store, tick, body_markdown, where, environment)
    except AlreadyThere:
        return "another tick of this schedule is telling"
    except Refused as refused:
        return refused.sentence
    except CloudtrainError as error:
        return f"nothing was told: {error.message}"


def workflow_warning(environment: Mapping[str, str], store: Store | None = None, schedule: str = "") -> str:
    """That GitHub has switched off a file that `cloudtrain schedule` wrote, or ""; with a store kept for `ps`.

    A token that may not ask (`permissions: actions: read`) learns nothing, and what was known stays.
    """
    if not environment.get("GITHUB_REPOSITORY"):
        return ""
    try:
        found = github.GitHub(environment).disabled()
        said = ""
        if found:
            again = "`gh workflow enable` with the file's name switches it on again"
            said = f"GitHub does not run {', '.join(found)}: {again}"
    except Refused:
        return ""
    if store is not None:
        with contextlib.suppress(CloudtrainError), store.hold(_lock(schedule)):
            if said != kept_warning(store, schedule):
                write_record(store, _key(schedule), _known(store, schedule).replace(workflow=said))
    return said


def kept_warning(store: Store, schedule: str) -> str:
    """What the last tick that could ask learned of the schedule's file. Raises DamagedRecord."""
    return _known(store, schedule).workflow


def notify(url: str, tick: Tick) -> str:
    """Post what a tick did as JSON to an address, which may be a secret: of it only the host is ever said."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    address = url.strip()
    try:
        checked(address, "the address to notify")
    except Refused as refused:
        return refused.sentence
    host = urlsplit(address).hostname
    message = tick.message[:LONGEST_MESSAGE]
    line = " ".join(filter(None, ("cloudtrain", tick.schedule, tick.date, tick.outcome, message)))
    document = {**tick._asdict(), "message": message, "exit_code": tick.exit_code, "text": line}
    head = {"Content-Type": "application/json", "User-Agent": "cloudtrain"}
    request = urllib.request.Request(address, json.dumps(document).encode(), head, method="POST")  # noqa: S310  # checked
    try:
        with opener(address).open(request, timeout=TIMEOUT_S):
            return f"{host} was notified"
    except urllib.error.HTTPError as refused_:
        with refused_:
            return f"{host} does not take the notification ({refused_.status})"
    except (OSError, ValueError, HTTPException):
        return f"{host} does not answer to the notification"


def of_run(environment: Mapping[str, str]) -> Forge | None:
    """The forge whose CI system runs this; None where none does. Raises Refused."""
    if environment.get("GITHUB_REPOSITORY"):
        return github.GitHub(environment)
    return gitlab.GitLab(environment) if environment.get("CI_PROJECT_ID") else None


def _tell(store: Store, tick: Tick, markdown: str, where: Where, environment: Mapping[str, str]) -> str:
    """The same under the lease. What is to be told is written down first: a tick may be killed anywhere."""
    from cloudtrain.records import PendingNotice

    known = _known(store, tick.schedule)
    due: PendingNotice | None = known.pending
    if tick.outcome in (BAD | GOOD if where == "issue" else set(OUTCOMES) - {"not due"}):
        words = {"outcome": tick.outcome, "date": tick.date, "run": tick.run, "message": tick.message}
        due = PendingNotice(where=where, body=markdown[:LONGEST_KEPT], **words)
        if where == "issue" and tick.outcome in GOOD and known.issue is None and known.pending is None:
            return ""  # there is none to close
    if due is None:
        return ""
    forge = of_run(environment)
    if forge is None:
        return "nothing was told: neither GITHUB_REPOSITORY nor CI_PROJECT_ID says which repository this is"
    if due != known.pending:
        known = known.replace(pending=due)
        write_record(store, _key(tick.schedule), known)
    mark = wording.marker(tick.schedule, identity.of(store))
    text = wording.body(mark, due.body, forge.longest)
    if due.where == "pr":
        said = _commented(forge, mark, text)
    elif due.outcome in BAD:
        said, known = _opened(forge, tick.schedule, known, mark, text)
    else:
        said = _closed(forge, known, mark, text, wording.good_line(due.outcome, due.date, due.run))
    write_record(store, _key(tick.schedule), known.replace(pending=None))
    return said


def _opened(forge: Forge, schedule: str, known: NoticesRecord, mark: str, text: str) -> tuple[str, NoticesRecord]:
    """The schedule's issue, open and up to date; what was done, and what is known now."""
    found = _issue(forge, known, mark)
    issue = found.ours
    if issue is None:
        made = forge.open_issue(wording.title(schedule), text)
        said, issue = f"opened issue {made.number} {made.url}", made
    elif not _same(issue.body, text) or not issue.is_open:
        forge.change_issue(issue.number, text, is_open=True)
        said = f"{'brought up to date' if issue.is_open else 'opened again'}: issue {issue.number} {issue.url}"
    else:
        said = f"issue {issue.number} says so already"
    known = known.replace(issue=issue.number, author=issue.author)
    return "; ".join(filter(None, (said.rstrip(), found.others))), known


def _closed(forge: Forge, known: NoticesRecord, mark: str, text: str, line: str) -> str:
    """Close the schedule's issue with a line, if there is one that is open."""
    found = _issue(forge, known, mark)
    issue = found.ours
    if issue is None or not issue.is_open:
        return found.others
    forge.change_issue(issue.number, text, is_open=False)
    forge.remark(issue.number, line)
    return "; ".join(filter(None, (f"closed issue {issue.number} {issue.url}".rstrip(), found.others)))


def _commented(forge: Forge, mark: str, text: str) -> str:
    """The one comment on the run's request, up to date."""
    request = forge.request()
    if request is None:
        return f"nothing was told: no open {forge.a_request} belongs to this run's branch"
    found = _ours(forge.comments(request), mark, {forge.me()}, f"comment on {forge.a_request} {request}")
    if found.ours is None:
        forge.comment(request, text)
        said = f"commented on {forge.a_request} {request}"
    elif not _same(found.ours.body, text):
        forge.change_comment(request, found.ours.number, text)
        said = f"brought the comment on {forge.a_request} {request} up to date"
    else:
        said = f"the comment on {forge.a_request} {request} says so already"
    return "; ".join(filter(None, (said, found.others)))


def _issue(forge: Forge, known: NoticesRecord, mark: str) -> Found:
    """The schedule's issue: the one that is remembered, else the newest with the marker."""
    mine = {forge.me(), known.author} - {""}
    if known.issue is not None:
        remembered = forge.issue(known.issue)
        if remembered is not None and remembered.author in mine and wording.is_marked(remembered.body, mark):
            return Found(remembered, "")
    return _ours(forge.issues(), mark, mine, "issue")


def _ours(notes: Iterator[Note], mark: str, mine: set[str], what: str) -> Found:
    """The first with the marker that is ours. Another author's is not touched, whatever it says."""
    others: list[str] = []
    for note in notes:
        if wording.is_marked(note.body, mark):
            if note.author in mine:
                return Found(note, "; ".join(others))
            others.append(f"{what} {note.number} of `{visible(note.author)}` carries our marker and is left alone")
    return Found(None, "; ".join(others))


def _same(there: str, text: str) -> bool:
    """Whether it says the same; forges keep ends of lines in their own way."""
    return there.replace("\r\n", "\n").strip() == text.strip()


def _lock(schedule: str) -> str:
    return f"nights/{schedule}/notices.lock"


def _key(schedule: str) -> str:
    return f"nights/{schedule}/notices.json"


def _known(store: Store, schedule: str) -> NoticesRecord:
    from cloudtrain.records import NoticesRecord

    return read_record(store, _key(schedule), NoticesRecord) or NoticesRecord()
