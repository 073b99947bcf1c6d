"""A job's identity becomes a role's keys, as long as the role allows, once, and says what is wrong when it does not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from cloudtrain.errors import Unavailable, UsageError
from cloudtrain.signing import expiry, keyless, urls
from cloudtrain.signing.keyless import amazon, identity
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.ci_identity import GithubTokens
from cloudtrain.simulator.clock import Clock
from cloudtrain.state import credentials, token_request
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.errors import BucketDenied
from tests.keyless_world import ARN, Amazon, amazon_world, enter_amazon, secrets_in
from tests.patience import PATIENCE_S

HOUR = 3600.0


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[AwsCloud, GithubTokens]]:
    with amazon_world() as world:
        yield world


@pytest.fixture
def world(made: tuple[AwsCloud, GithubTokens], monkeypatch: pytest.MonkeyPatch) -> Amazon:
    """A role that allows twelve hours."""
    monkeypatch.setattr(token_request, "PAUSE_S", 0.0)
    return enter_amazon(made, monkeypatch, Clock())


def asked(world: Amazon) -> int:
    """How often STS was asked."""
    return world.cloud.calls.count("AssumeRoleWithWebIdentity")


def test_bucket_addresses_and_expiry_use_the_roles_keys(world: Amazon) -> None:
    """One exchange for all, and a second call does nothing."""
    assert keyless.take() == ()
    assert keyless.take() == ()
    assert asked(world) == 1
    ObjectFolder(world.state).write("runs/r/a", b"hello")
    with urlopen(urls.get_url(world.state, "runs/r/a", time.time(), 60.0), timeout=PATIENCE_S) as answer:
        assert answer.read() == b"hello"
    now = time.time()
    assert expiry.limit(world.state, now).deadline == pytest.approx(now + 12 * HOUR - expiry.SHIPPING_S, abs=60)
    assert expiry.refuse_unknown(world.state, now, accept_risk=False) == ""


def test_the_sdk_uses_the_same_keys(world: Amazon) -> None:
    """As the stacks make their clients."""
    import boto3

    keyless.take()
    session = boto3.session.Session().client("sts", region_name="us-east-1", endpoint_url=world.cloud.url)
    assert session.get_caller_identity()["Account"] == world.cloud.account


@pytest.mark.parametrize("allowed", range(1, 12))
def test_a_role_that_allows_less_gives_what_it_allows(world: Amazon, allowed: int) -> None:
    """Found in few questions, with the one command that raises it."""
    world.role.longest_s = int(allowed * HOUR)
    (told,) = keyless.take()
    assert "aws iam update-role --role-name nights --max-session-duration 43200" in told
    end = expiry.said_end()
    assert end == pytest.approx(time.time() + allowed * HOUR, abs=60)
    assert asked(world) <= 6


def test_keys_that_are_set_win(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does a profile, or nothing to exchange: no question is asked."""
    for name, value in ((amazon.KEY, "AKIAOWN"), ("AWS_PROFILE", "mine")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert keyless.take() == ()
    monkeypatch.delenv(amazon.ROLE)
    assert keyless.take() == ()
    assert (asked(world), world.issuer.calls) == (0, [])


def test_gitlabs_file_and_variable_are_sources_too(
    world: Amazon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a question to anybody but STS."""
    token = world.issuer.token(amazon.AUDIENCE)
    for name in (identity.URL, identity.BEARER, "GITHUB_ACTIONS"):
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text(token + "\n")
    for name, value in ((identity.FILE, str(tmp_path / "token")), (identity.VARIABLE, token)):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            keyless.take()
            assert os.environ.pop(amazon.KEY).startswith("ASIA")
    assert (asked(world), world.issuer.calls) == (2, [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sub": "repo:somebody/fine-tunes:ref:refs/heads/other"}, "AccessDenied"),
        ({"sub": "repo:another/fine-tunes:ref:refs/heads/main"}, "AccessDenied"),
        ({"sub": "repo:somebody/fine-tunes:pull_request"}, "AccessDenied"),
        ({"aud": "https://github.com/somebody"}, "InvalidIdentityToken"),
        ({"exp": 1}, "ExpiredTokenException"),
    ],
)
def test_a_job_that_is_not_trusted_ends_with_4(world: Amazon, wrong: dict[str, object], message: str) -> None:
    """Branch, repository, a pull request, audience, time: each named by STS, and no secret with it."""
    world.issuer.claims |= wrong
    with pytest.raises(BucketDenied, match=message) as told:
        keyless.take()
    assert told.value.exit_code == 4
    assert "`nights`" in told.value.message
    assert not secrets_in(told.value.message + told.value.hint)
    assert amazon.KEY not in os.environ


def test_a_role_that_is_not_there_is_not_authorized(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """STS does not tell which roles there are."""
    monkeypatch.setenv(amazon.ROLE, ARN.replace("nights", "others"))
    with pytest.raises(BucketDenied, match="AccessDenied"):
        keyless.take()


def test_what_is_no_role_is_refused_before_anything_is_sent(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how one is written."""
    monkeypatch.setenv(amazon.ROLE, "nights")
    with pytest.raises(UsageError, match="is no role"):
        keyless.take()
    assert world.issuer.calls == []


def test_a_job_without_the_permission_is_told_which(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI; elsewhere a role in the environment is nothing to us."""
    monkeypatch.delenv(identity.BEARER)
    with pytest.raises(BucketDenied) as told:
        keyless.take()
    assert "id-token: write" in told.value.hint
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert keyless.take() == ()


def test_a_wrong_bearer_gets_no_token(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it shown."""
    monkeypatch.setenv(identity.BEARER, "PLANTED-SECRET-WRONG")
    with pytest.raises(BucketDenied, match="401") as told:
        keyless.take()
    assert not secrets_in(told.value.message)


@pytest.mark.parametrize(
    "url", ["http://example.com/token?a=1", "ftp://127.0.0.1/x", "https://u:p@example.com/", "http://[::1"]
)
def test_the_jobs_right_is_sent_over_https_only(world: Amazon, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Or to this machine."""
    if url.startswith("ftp"):
        url = "ftp://example.com/x"
    monkeypatch.setenv(identity.URL, url)
    with pytest.raises(UsageError, match="neither https nor this machine"):
        keyless.take()


def test_a_busy_service_is_asked_again(world: Amazon) -> None:
    """A silent one ends with 7."""
    world.issuer.faults.add("GetIdToken", "unavailable")
    world.cloud.faults.add("AssumeRoleWithWebIdentity", "unavailable")
    keyless.take()
    assert amazon.KEY in os.environ
    os.environ.pop(amazon.KEY)
    for _ in range(token_request.TRIES):
        world.cloud.faults.add("AssumeRoleWithWebIdentity", "dropped")
    with pytest.raises(Unavailable):
        keyless.take()


def test_a_client_that_stays_gets_new_keys_in_time(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket's client asks again by itself; addresses and SDK read the environment."""
    clock = Clock(time.time())
    for each in (world.cloud, world.issuer):
        each.clock = clock
    monkeypatch.setattr(time, "time", clock.now)
    keyless.take()
    first = os.environ[amazon.KEY]
    credentials.keys_of_now()
    assert os.environ[amazon.KEY] == first
    clock.advance(7 * HOUR)
    found = credentials.keys_of_now()
    assert found["access_key_id"] == os.environ[amazon.KEY] != first
    assert expiry.said_end() == pytest.approx(world.cloud.clock.now() + 12 * HOUR, abs=60)


def test_keys_stay_when_the_job_may_not_ask_again(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their end is known: a machine that would outlive them is refused elsewhere."""
    keyless.take()
    first = os.environ[amazon.KEY]
    world.issuer.claims["sub"] = "repo:another/one:ref:refs/heads/main"
    amazon.renew(age_s=0.0)
    assert os.environ[amazon.KEY] == first


def test_the_region_cannot_lead_elsewhere(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a part of a host's name."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert amazon.sts_url() == "https://sts.eu-central-1.amazonaws.com/"
    monkeypatch.setenv("AWS_REGION", "cn-north-1")
    assert amazon.sts_url() == "https://sts.cn-north-1.amazonaws.com.cn/"
    monkeypatch.setenv("AWS_REGION", "x.evil.example/")
    with pytest.raises(UsageError, match="no region"):
        amazon.sts_url()


def test_a_program_has_new_keys_at_its_next_call(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """`take` renews what is half over."""
    clock = Clock(time.time())
    for each in (world.cloud, world.issuer):
        each.clock = clock
    monkeypatch.setattr(time, "time", clock.now)
    keyless.take()
    first = os.environ[amazon.KEY]
    clock.advance(7 * HOUR)
    keyless.take()
    assert os.environ[amazon.KEY] != first
