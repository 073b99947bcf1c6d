"""One issue for each schedule or one comment on a request: kept up to date in place, and never another's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.nights import notices, wording
from cloudtrain.nights.forges import http
from cloudtrain.nights.outcome import OUTCOMES, Tick
from cloudtrain.records import NoticesRecord
from cloudtrain.simulator.forge import github, gitlab
from cloudtrain.simulator.forge.base import FakeForge, Text, Token
from cloudtrain.simulator.forge.github import FakeGitHub
from cloudtrain.simulator.forge.gitlab import FakeGitLab
from cloudtrain.state import identity
from cloudtrain.state.store import LocalFolder, read_record
from tests.records import raw

NAME = "smoke"
FAILED = Tick("failed", NAME, "2026-11-29", "smoke-1a2b", "the job ended with 70")
FINISHED = Tick("finished", NAME, "2026-11-30", "smoke-3c4d", "")


@pytest.fixture
def store(own_world: Path) -> LocalFolder:
    return LocalFolder(own_world / "state")


@pytest.fixture(scope="module", params=[FakeGitHub, FakeGitLab])
def door(request: pytest.FixtureRequest) -> Iterator[FakeForge]:
    fake = request.param()
    yield fake
    fake.stop()


@pytest.fixture
def forge(door: FakeForge) -> FakeForge:
    """Both forges in turn, each as new."""
    door.reset()
    return door


@pytest.fixture
def hub() -> Iterator[FakeGitHub]:
    """GitHub alone."""
    fake = FakeGitHub()
    yield fake
    fake.stop()


def tell(
    store: LocalFolder, forge: FakeForge, tick: Tick, body: str = "# a summary", where: Any = "issue", **more: str
) -> str:
    return notices.tell(store, tick, body, where, {**forge.environment(), **more})


def known(store: LocalFolder) -> NoticesRecord:
    found = read_record(store, f"nights/{NAME}/notices.json", NoticesRecord)
    assert found is not None
    return found


def mine(forge: FakeForge, store: LocalFolder) -> list[Text]:
    """Issues that carry our marker."""
    mark = wording.marker(NAME, identity.of(store))
    return [each for each in forge.issues if each.body.startswith(mark)]


def me(forge: FakeForge) -> str:
    return github.APP if isinstance(forge, FakeGitHub) else gitlab.BOT


def test_bad_night_opens_one_issue_and_good_one_closes_it(store: LocalFolder, forge: FakeForge) -> None:
    assert tell(store, forge, FAILED).startswith("opened issue 1 https://")
    assert "brought up to date: issue 1" in tell(store, forge, FAILED, "# the second night")
    (issue,) = mine(forge, store)
    assert "# the second night" in issue.body
    assert "closed issue 1" in tell(store, forge, FINISHED)
    assert not issue.is_open
    assert [each.body for each in issue.comments] == ["Night of 2026-11-30: finished (run smoke-3c4d). Closed."]
    assert "opened again: issue 1" in tell(store, forge, FAILED._replace(outcome="leak"))
    assert issue.is_open
    assert len(forge.issues) == 1


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_outcome_has_its_effect(store: LocalFolder, forge: FakeForge, outcome: Any) -> None:
    tell(store, forge, FAILED._replace(outcome=outcome))
    assert len(forge.issues) == (outcome in ("failed", "leak", "missed"))


@pytest.mark.parametrize("outcome", ["not due", "started", "going on", "skipped: budget"])
def test_neutral_outcome_asks_the_forge_nothing(store: LocalFolder, forge: FakeForge, outcome: Any) -> None:
    tell(store, forge, FAILED)
    before = len(forge.calls)
    assert tell(store, forge, FINISHED._replace(outcome=outcome)) == ""
    assert len(forge.calls) == before
    assert forge.issues[0].is_open


def test_good_nights_without_an_issue_ask_nothing(store: LocalFolder, forge: FakeForge) -> None:
    assert tell(store, forge, FINISHED) == ""
    assert forge.calls == []


def test_same_text_is_not_sent_again(store: LocalFolder, forge: FakeForge) -> None:
    tell(store, forge, FAILED)
    assert tell(store, forge, FAILED) == "issue 1 says so already"
    assert not [call for call in forge.calls if call.startswith(("PATCH", "PUT"))]


def test_issue_is_found_by_its_marker_past_many_others(store: LocalFolder, forge: FakeForge) -> None:
    tell(store, forge, FAILED)
    for number in range(9):
        forge.add("somebody", f"issue {number}", is_request=number % 2 == 1)
    store.delete(f"nights/{NAME}/notices.json")
    assert "issue 1 " in tell(store, forge, FAILED, "# again")
    assert len(mine(forge, store)) == 1


def test_deleted_issue_is_followed_by_a_new_one(store: LocalFolder, forge: FakeForge) -> None:
    tell(store, forge, FAILED)
    forge.texts.clear()
    assert "opened issue 2" in tell(store, forge, FAILED)
    assert known(store).issue == 2


def test_other_schedule_and_other_state_have_issues_of_their_own(
    store: LocalFolder, forge: FakeForge, tmp_path: Path
) -> None:
    tell(store, forge, FAILED)
    tell(store, forge, FAILED._replace(schedule="smoke2"))
    tell(LocalFolder(tmp_path / "another"), forge, FAILED)
    assert len(forge.issues) == 3


def test_issue_of_another_author_with_our_marker_is_left_alone(store: LocalFolder, forge: FakeForge) -> None:
    theirs = forge.add("mallory", f"{wording.marker(NAME, identity.of(store))}\nmine")
    said = tell(store, forge, FAILED)
    assert "issue 1 of `mallory` carries our marker and is left alone" in said
    assert "opened issue 2" in said
    assert theirs.body.endswith("mine")
    tell(store, forge, FINISHED)
    assert theirs.is_open
    assert forge.trespasses == []


def test_remembered_issue_that_is_not_ours_is_left_alone(store: LocalFolder, forge: FakeForge) -> None:
    tell(store, forge, FAILED)
    forge.texts[0].author = "mallory"
    assert "opened issue 2" in tell(store, forge, FAILED, "# again").replace(" 1 of ", "")
    assert forge.trespasses == []


def test_request_with_the_marker_is_no_issue(store: LocalFolder, forge: FakeForge) -> None:
    request = forge.add(me(forge), wording.marker(NAME, identity.of(store)), is_request=True, branch="main")
    assert "opened issue 2" in tell(store, forge, FAILED)
    assert request.body == wording.marker(NAME, identity.of(store))


def test_answer_that_quotes_the_marker_is_no_notice(store: LocalFolder, forge: FakeForge) -> None:
    forge.add(me(forge), f"> {wording.marker(NAME, identity.of(store))}\nwhat is this?")
    assert "opened issue 2" in tell(store, forge, FAILED)


def test_two_ticks_at_once_open_one_issue(store: LocalFolder, forge: FakeForge) -> None:
    forge.slow_s = 0.2
    said: list[str] = []
    ticks = [threading.Thread(target=lambda: said.append(tell(store, forge, FAILED))) for _ in range(4)]
    for each in ticks:
        each.start()
    for each in ticks:
        each.join()
    assert len(forge.issues) == 1
    assert any(each.startswith("opened issue") for each in said)


@pytest.mark.parametrize("kind", ["lost_reply", "cut", "dropped", "throttled", "unavailable"])
def test_failure_at_any_call_ends_in_one_issue(store: LocalFolder, forge: FakeForge, kind: Any) -> None:
    for call in range(3):
        forge.reset()
        store.delete(f"nights/{NAME}")
        path = ("GET*/user", "GET*/issues", "POST*/issues")[call]
        forge.faults.add(path, kind)
        said = tell(store, forge, FAILED)
        again = tell(store, forge, FAILED._replace(outcome="not due"))
        told = [each for each in (said, again) if each.startswith(("opened issue", "issue 1 says so"))]
        assert len(told) == 1, (path, said, again)
        assert len(forge.issues) == 1, (path, said)
        assert known(store).pending is None


def test_what_was_not_told_is_told_by_the_next_tick(store: LocalFolder, forge: FakeForge) -> None:
    forge.faults.add("*", "unavailable", times=1)
    assert "the next tick tries again" in tell(store, forge, FAILED, "# what failed")
    assert forge.issues == []
    assert "opened issue" in tell(store, forge, Tick("not due", NAME), "# nothing")
    assert "# what failed" in forge.issues[0].body
    assert tell(store, forge, Tick("not due", NAME)) == ""


def test_good_night_after_an_untold_bad_one_opens_nothing(store: LocalFolder, forge: FakeForge) -> None:
    forge.faults.add("*", "unavailable", times=1)
    tell(store, forge, FAILED)
    assert tell(store, forge, FINISHED) == ""
    assert forge.issues == []


def test_client_that_died_after_opening_opens_no_second(
    store: LocalFolder, forge: FakeForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writes = notices.write_record, []

    def dying(*arguments: Any) -> None:
        writes.append(arguments)
        if len(writes) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(notices, "write_record", dying)
    with pytest.raises(KeyboardInterrupt):
        tell(store, forge, FAILED)
    monkeypatch.setattr(notices, "write_record", write)
    assert len(forge.issues) == 1
    assert "closed issue 1" in tell(store, forge, FINISHED)
    assert len(forge.issues) == 1


@pytest.mark.parametrize("status", [403, 429])
def test_limit_of_requests_is_said(store: LocalFolder, hub: FakeGitHub, status: int) -> None:
    hub.limit = status
    hub.faults.add("*", "throttled", times=1)
    assert tell(store, hub, FAILED) == f"GitHub asks to wait for 60 s ({status}): the next tick tries again"


def test_token_without_the_right_is_told_which(store: LocalFolder, forge: FakeForge) -> None:
    for token in forge.tokens.values():
        token.rights = {"issues": "read", "read_api": "write"}
    said = tell(store, forge, FAILED)
    assert "(403)" in said
    assert ("permissions: issues: write" if isinstance(forge, FakeGitHub) else "scope `api`") in said
    assert "\n" not in said


def test_token_that_is_not_known_is_said(store: LocalFolder, forge: FakeForge) -> None:
    forge.tokens.clear()
    assert "does not accept the token (401)" in tell(store, forge, FAILED)


def test_switched_off_issues_are_a_sentence(store: LocalFolder, forge: FakeForge) -> None:
    forge.issues_on = False
    said = tell(store, forge, FAILED)
    assert ("issues are switched off" if isinstance(forge, FakeGitHub) else "(403)") in said


def test_token_of_a_gitlab_job_is_told_what_else_may(store: LocalFolder) -> None:
    lab = FakeGitLab()
    said = tell(store, lab, FAILED, GITLAB_TOKEN="")
    lab.stop()
    assert "GITLAB_TOKEN" in said
    assert "project access token" in said


def test_user_token_of_github_is_its_user(store: LocalFolder, hub: FakeGitHub) -> None:
    tell(store, hub, FAILED, GITHUB_TOKEN=github.USER_TOKEN)
    assert hub.issues[0].author == "octo"
    assert known(store).author == "octo"
    assert "closed issue" in tell(store, hub, FINISHED)


def test_comment_on_the_request_is_kept_up_to_date(store: LocalFolder, forge: FakeForge) -> None:
    forge.add("somebody", "another", is_request=True, branch="other")
    request = forge.add("somebody", "a change", is_request=True, branch="main")
    for number in range(5):
        forge.comment_on(request, "somebody", f"comment {number}")
    assert "commented on" in tell(store, forge, FAILED, "# one", where="pr")
    assert "brought the comment" in tell(store, forge, FINISHED, "# two", where="pr")
    assert "says so already" in tell(store, forge, FINISHED, "# two", where="pr")
    ours = [each for each in request.comments if each.author == me(forge)]
    assert len(ours) == 1
    assert ours[0].body.endswith("# two\n")
    assert not [each for each in forge.texts[0].comments if each.author == me(forge)]


def test_number_of_the_request_comes_from_the_run(store: LocalFolder, forge: FakeForge) -> None:
    request = forge.add("somebody", "a change", is_request=True, branch="elsewhere")
    more = {"GITHUB_REF": f"refs/pull/{request.number}/merge", "CI_MERGE_REQUEST_IID": str(request.number)}
    tell(store, forge, FAILED, where="pr", **more)
    assert len(request.comments) == 1


def test_comment_of_another_author_is_left_alone(store: LocalFolder, forge: FakeForge) -> None:
    request = forge.add("somebody", "a change", is_request=True, branch="main")
    theirs = forge.comment_on(request, "mallory", f"{wording.marker(NAME, identity.of(store))}\nmine")
    said = tell(store, forge, FAILED, where="pr")
    assert "of `mallory` carries our marker and is left alone" in said
    assert theirs.body.endswith("mine")
    assert len(request.comments) == 2
    assert forge.trespasses == []


def test_branch_without_a_request_is_a_sentence(store: LocalFolder, forge: FakeForge) -> None:
    said = tell(store, forge, FAILED, where="pr")
    assert said.startswith("nothing was told: no open ")
    assert said.endswith("belongs to this run's branch")


def test_not_due_leaves_the_comment_alone(store: LocalFolder, forge: FakeForge) -> None:
    assert tell(store, forge, Tick("not due", NAME), where="pr") == ""
    assert forge.calls == []


def test_long_text_is_cut_and_taken(store: LocalFolder, hub: FakeGitHub) -> None:
    tell(store, hub, FAILED, "a line of a summary\n" * 9000)
    body = hub.issues[0].body
    assert 60_000 < len(body) <= 65_536
    assert "cut here" in body


def test_nobody_is_mentioned_and_nothing_is_commanded(store: LocalFolder, forge: FakeForge) -> None:
    tell(store, forge, FAILED, "hello @octo and @all, see #1 and GH-2 and !3\n/close\n  /assign @octo\n")
    tell(store, forge, FINISHED._replace(run="@octo", date="@all"), "@octo\n/label ~x")
    assert forge.mentioned == []
    assert forge.commands == []


@pytest.mark.parametrize("name", ["--><script>", "a--b", "x y", "ü", "@octo", "a`b|c"])
def test_name_of_a_schedule_ends_no_marker(store: LocalFolder, forge: FakeForge, name: str) -> None:
    tick = FAILED._replace(schedule=name)
    notices.tell(store, tick, "# one", "issue", forge.environment())
    notices.tell(store, tick, "# two", "issue", forge.environment())
    (issue,) = forge.issues
    head, _, rest = issue.body.partition("\n")
    assert head.startswith("<!-- cloudtrain-night schedule=")
    assert head.count("--") == 2
    assert head.endswith("-->")
    assert rest == "# two\n"
    assert forge.mentioned == []


@pytest.mark.parametrize(
    "address",
    [
        "http://api.github.com",
        "http://10.0.0.1",
        "ftp://x",
        "https://user:pw@x",
        "https://",
        "x",
        "https://a b",
        "http://127.0.0.1.evil.invalid",
    ],
)
def test_token_goes_nowhere_but_https_or_loopback(store: LocalFolder, forge: FakeForge, address: str) -> None:
    said = tell(store, forge, FAILED, GITHUB_API_URL=address, CI_API_V4_URL=address)
    assert "nothing is sent there" in said or "no address" in said
    assert "pw" not in said
    assert forge.calls == []


def test_redirect_is_not_followed(store: LocalFolder, forge: FakeForge) -> None:
    other = FakeGitHub()
    forge.redirect = f"{other.url}/user"
    said = tell(store, forge, FAILED)
    other.stop()
    assert "sends elsewhere (301), which is not followed" in said
    assert other.calls == []


def test_proxy_does_not_see_a_token_for_this_machine(
    store: LocalFolder, forge: FakeForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FakeGitHub()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    http._opener.cache_clear()
    said = tell(store, forge, FAILED)
    http._opener.cache_clear()
    proxy.stop()
    assert said.startswith("opened issue")
    assert proxy.calls == []


@pytest.mark.parametrize(
    ("lacking", "word"),
    [
        ({"GITHUB_TOKEN": "", "GITLAB_TOKEN": "", "CI_JOB_TOKEN": ""}, "is set"),
        ({"GITHUB_TOKEN": "a\nb", "GITLAB_TOKEN": "a b"}, "characters"),
    ],
)
def test_missing_or_broken_token_is_a_sentence(
    store: LocalFolder, forge: FakeForge, lacking: dict[str, str], word: str
) -> None:
    said = tell(store, forge, FAILED, **lacking)
    assert word in said or "is not set" in said
    assert forge.calls == []


def test_run_outside_of_a_forge_is_a_sentence(store: LocalFolder) -> None:
    assert "neither GITHUB_REPOSITORY nor CI_PROJECT_ID" in notices.tell(store, FAILED, "x", "issue", {})


@pytest.mark.parametrize("repository", ["octo", "octo/tunes/x", "../..", "octo/..", "octo/tu nes"])
def test_name_of_no_repository_is_a_sentence(store: LocalFolder, hub: FakeGitHub, repository: str) -> None:
    assert tell(store, hub, FAILED, GITHUB_REPOSITORY=repository) == "GITHUB_REPOSITORY is not OWNER/NAME"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b"null", b'{"login": 7}', b'[{"number": "x"}]', b"[" * 9999]
)
def test_wrong_answer_of_status_200_is_a_sentence(
    store: LocalFolder, forge: FakeForge, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    from cloudtrain.simulator.http_server import Reply

    monkeypatch.setattr(forge, "answer", lambda _: Reply(200, body))
    said = tell(store, forge, FAILED)
    assert "answer" in said
    assert known(store).pending is not None


def test_damaged_memory_is_a_sentence(store: LocalFolder, forge: FakeForge) -> None:
    store.write(f"nights/{NAME}/notices.json", b"{")
    assert "notices.json" in tell(store, forge, FAILED)


def test_list_without_an_end_is_a_sentence(
    store: LocalFolder, hub: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudtrain.nights.forges.http.PAGES_AT_MOST", 3)
    for number in range(20):
        hub.add("somebody", str(number))
    assert tell(store, hub, FAILED) == "GitHub's list does not end"
    assert len(hub.issues) == 20


def test_no_secret_is_kept_or_said(store: LocalFolder, forge: FakeForge) -> None:
    said = []
    for fault in (None, "unavailable", "throttled", "dropped"):
        if fault:
            forge.faults.add("*", fault)  # type: ignore[arg-type]
        said += [tell(store, forge, FAILED, f"# {fault}"), tell(store, forge, FINISHED)]
    forge.tokens.clear()
    said.append(tell(store, forge, FAILED))
    kept = b"".join(store.read(f"nights/{NAME}/{name}") or b"" for name in store.files(f"nights/{NAME}"))
    texts = "".join(each.body + each.title for each in forge.texts)
    assert "PLANTED-SECRET" not in " ".join(said) + kept.decode() + texts


def test_switched_off_workflow_is_said_and_kept(store: LocalFolder, hub: FakeGitHub) -> None:
    others = [(f".github/workflows/test-{n}.yml", "disabled_inactivity") for n in range(5)]
    hub.workflows = [*others, (".github/workflows/cloudtrain-smoke.yml", "disabled_inactivity")]
    said = notices.workflow_warning(hub.environment(), store, NAME)
    assert ".github/workflows/cloudtrain-smoke.yml (nothing happened in the repository for 60 days)" in said
    assert "test-1" not in said
    assert notices.kept_warning(store, NAME) == said
    hub.workflows = [(".github/workflows/cloudtrain-smoke.yml", "active")]
    assert notices.workflow_warning(hub.environment(), store, NAME) == ""
    assert notices.kept_warning(store, NAME) == ""


def test_own_workflow_of_another_name_counts(hub: FakeGitHub) -> None:
    hub.workflows = [(".github/workflows/night.yml", "disabled_fork")]
    ref = f"{github.REPOSITORY}/.github/workflows/night.yml@refs/heads/main"
    assert "night.yml (it is in a fork)" in notices.workflow_warning({**hub.environment(), "GITHUB_WORKFLOW_REF": ref})
    assert notices.workflow_warning(hub.environment()) == ""


def test_token_that_may_not_ask_keeps_what_was_known(store: LocalFolder, hub: FakeGitHub) -> None:
    hub.workflows = [(".github/workflows/cloudtrain-smoke.yml", "disabled_manually")]
    said = notices.workflow_warning(hub.environment(), store, NAME)
    hub.tokens[github.JOB_TOKEN] = Token(github.APP, {"issues": "write"}, app=True)
    assert notices.workflow_warning(hub.environment(), store, NAME) == ""
    assert notices.kept_warning(store, NAME) == said
    tell(store, hub, FAILED)
    assert notices.kept_warning(store, NAME) == said


def test_laptop_asks_nobody_about_workflows() -> None:
    assert notices.workflow_warning({}) == ""


class Hook(FakeForge):
    """An address that takes notifications."""

    taken: list[Any]

    def perform(self, call: str, request: Any) -> Any:
        from cloudtrain.simulator.forge.base import reply

        if self.redirect:
            return super().perform(call, request)
        self.taken.append(json.loads(request.body))
        return reply("ok", 200 if request.path == "/hook/PLANTED-SECRET" else 404)


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    made.taken = []
    yield made
    made.stop()


def test_notification_has_the_words_of_the_tick(hook: Hook) -> None:
    said = notices.notify(f"{hook.url}/hook/PLANTED-SECRET", FAILED._replace(message="x" * 5000))
    assert said == "127.0.0.1 was notified"
    (document,) = hook.taken
    assert (document["schedule"], document["outcome"], document["exit_code"]) == (NAME, "failed", 100)
    assert document["text"].startswith("cloudtrain smoke 2026-11-29 failed xxx")
    assert len(document["message"]) == 2000


def test_refused_notification_is_a_sentence_without_the_address(hook: Hook) -> None:
    assert (
        notices.notify(f"{hook.url}/other/PLANTED-SECRET", FAILED) == "127.0.0.1 does not take the notification (404)"
    )
    hook.redirect = "http://127.0.0.1:9/PLANTED-SECRET"
    assert notices.notify(f"{hook.url}/hook/PLANTED-SECRET", FAILED) == "127.0.0.1 does not take the notification (301)"
    hook.stop()
    assert notices.notify(f"{hook.url}/hook/PLANTED-SECRET", FAILED) == "127.0.0.1 does not answer to the notification"


@pytest.mark.parametrize(
    "address",
    [
        "http://hooks.invalid/PLANTED-SECRET",
        "PLANTED-SECRET",
        "https://a:PLANTED-SECRET@x/",
        "https://x:PLANTED-SECRET/",
        "",
    ],
)
def test_notification_goes_nowhere_but_https_or_loopback(address: str) -> None:
    said = notices.notify(address, FAILED)
    assert "nothing is sent there" in said or "no address" in said
    assert "PLANTED-SECRET" not in said


def test_record_of_notices_is_plain(store: LocalFolder, forge: FakeForge) -> None:
    tell(store, forge, FAILED)
    assert raw(store, f"nights/{NAME}/notices.json") == {
        "version": 1,
        "issue": 1,
        "author": me(forge),
        "pending": None,
    }
