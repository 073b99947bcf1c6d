"""The fakes of both token exchanges refuse what the real services refuse, also when nobody of ours asks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.ci_identity import BEARER, GithubTokens
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.iam import EMAIL, PROVIDER, SCOPE, IamCloud
from cloudtrain.simulator.gcp.storage import GcsCloud
from tests.keyless_world import ARN, Amazon, amazon_world, enter_amazon, enter_google, google_world
from tests.patience import PATIENCE_S


@pytest.fixture(scope="module")
def amazon_made() -> Iterator[tuple[AwsCloud, GithubTokens]]:
    with amazon_world() as world:
        yield world


@pytest.fixture(scope="module")
def google_made() -> Iterator[tuple[GcsCloud, IamCloud, GithubTokens]]:
    with google_world() as world:
        yield world


@pytest.fixture
def amazon(amazon_made: tuple[AwsCloud, GithubTokens], monkeypatch: pytest.MonkeyPatch) -> Amazon:
    return enter_amazon(amazon_made, monkeypatch, Clock(), hours=1)


@pytest.fixture
def iam(google_made: tuple[GcsCloud, IamCloud, GithubTokens], monkeypatch: pytest.MonkeyPatch) -> IamCloud:
    return enter_google(google_made, monkeypatch, Clock()).iam


def assume(world: Amazon, headers: dict[str, str] | None = None, **changes: str) -> tuple[int, str]:
    """Status and answer of the call with some parameters changed."""
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ARN,
        "RoleSessionName": "cloudtrain-1",
        "WebIdentityToken": world.issuer.token("sts.amazonaws.com"),
        "DurationSeconds": "3600",
        **changes,
    }
    sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    body = urlencode({name: value for name, value in form.items() if value})
    answer = requests.post(world.cloud.url, body, headers=sent, timeout=PATIENCE_S)
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"DurationSeconds": "3601"}, "exceeds the MaxSessionDuration"),
        ({"DurationSeconds": "899"}, "ValidationError"),
        ({"DurationSeconds": "43201"}, "ValidationError"),
        ({"RoleArn": ""}, "MissingParameter"),
        ({"RoleSessionName": "a b"}, "ValidationException"),
        ({"WebIdentityToken": "a.b.c"}, "InvalidIdentityToken"),
        ({"RoleArn": ARN + "x"}, "AccessDenied"),
    ],
)
def test_sts_refuses_what_is_malformed(amazon: Amazon, changes: dict[str, str], code: str) -> None:
    """And takes the same call without the change."""
    assert assume(amazon)[0] == 200
    status, text = assume(amazon, **changes)
    assert status in (400, 403)
    assert code in text


def test_another_issuers_token_is_not_believed(amazon: Amazon) -> None:
    """Its signature is another one."""
    other = GithubTokens(amazon.cloud.clock)
    try:
        assert "InvalidIdentityToken" in assume(amazon, WebIdentityToken=other.token("sts.amazonaws.com"))[1]
    finally:
        other.stop()


def test_a_roles_keys_end(amazon: Amazon) -> None:
    """With their token, and with nobody else's."""
    import boto3
    from botocore.exceptions import ClientError

    text = assume(amazon)[1]
    keys = {
        name: text.partition(f"<{name}>")[2].partition("<")[0]
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    }

    def who(token: str) -> Any:
        pair = {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]}
        client = boto3.client(
            "sts", region_name="us-east-1", endpoint_url=amazon.cloud.url, aws_session_token=token, **pair
        )
        return client.get_caller_identity()

    assert who(keys["SessionToken"])["Account"] == amazon.cloud.account
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        who("another")
    amazon.cloud.clock.advance(3601)
    with pytest.raises(ClientError, match="ExpiredToken"):
        who(keys["SessionToken"])


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Authorization": f"bearer {BEARER}"}, "/token?api-version=2.0&audience=a", 200),
        ({"Authorization": "bearer wrong"}, "/token?api-version=2.0&audience=a", 401),
        ({}, "/token?api-version=2.0&audience=a", 401),
        ({"Authorization": f"bearer {BEARER}"}, "/other?api-version=2.0", 404),
    ],
)
def test_github_gives_a_token_to_the_bearer_alone(
    amazon: Amazon, headers: dict[str, str], path: str, status: int
) -> None:
    """For the audience that was asked for."""
    answer = requests.get(amazon.issuer.url + path, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == status
    if status == 200:
        assert amazon.issuer.checked(answer.json()["value"], amazon.cloud.clock.now())["aud"] == "a"


def exchange(iam: IamCloud, **changes: str) -> dict[str, Any]:
    """The answer of Google's token exchange with some parameters changed."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": f"//iam.googleapis.com/{PROVIDER}",
        "scope": SCOPE,
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "subject_token": iam.issuer.token(f"https://iam.googleapis.com/{PROVIDER}"),
        **changes,
    }
    found: dict[str, Any] = requests.post(f"{iam.url}/v1/token", form, timeout=PATIENCE_S).json()
    return found


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"audience": "//iam.googleapis.com/projects/1"}, "invalid_target"),
        ({"grant_type": "password"}, "invalid_request"),
        ({"subject_token_type": "jwt"}, "invalid_request"),
        ({"scope": ""}, "invalid_scope"),
        ({"subject_token": "a.b.c"}, "invalid_grant"),
    ],
)
def test_googles_exchange_refuses_what_is_malformed(iam: IamCloud, changes: dict[str, str], code: str) -> None:
    """And takes the same call without the change."""
    assert "access_token" in exchange(iam)
    assert exchange(iam, **changes)["error"] == code


def call(iam: IamCloud, verb: str, token: str, body: Any, email: str = EMAIL) -> tuple[int, dict[str, Any]]:
    """Status and answer of a call to the account."""
    answer = requests.post(
        f"{iam.url}/v1/projects/-/serviceAccounts/{email}:{verb}",
        body if isinstance(body, str) else json.dumps(body),
        headers={"Authorization": f"Bearer {token}"},
        timeout=PATIENCE_S,
    )
    return answer.status_code, answer.json()


def test_only_its_own_token_signs_for_an_account(iam: IamCloud) -> None:
    """The job's may become it; with the role of a creator it signs too; without any token nothing is done."""
    job = exchange(iam)["access_token"]
    payload = {"payload": base64.b64encode(b"text").decode()}
    assert call(iam, "signBlob", job, payload)[0] == 403
    status, given = call(iam, "generateAccessToken", job, {"scope": [SCOPE]})
    assert status == 200
    own = given["accessToken"]
    assert call(iam, "signBlob", own, payload)[0] == 200
    assert call(iam, "signBlob", own, payload, "other@simulation-project.iam.gserviceaccount.com")[0] == 403
    assert call(iam, "signBlob", "none", payload)[0] == 401
    iam.trust.creators = set()
    assert call(iam, "signBlob", own, payload)[0] == 403
    iam.clock.advance(3601)
    assert call(iam, "signBlob", own, payload)[0] == 401


@pytest.mark.parametrize("body", [{"payload": "not base64!"}, {"payload": ""}, {"bytes": "YQ=="}, "no json"])
def test_a_payload_that_is_not_base64_is_refused(iam: IamCloud, body: Any) -> None:
    """400, as the API says."""
    job = exchange(iam)["access_token"]
    own = call(iam, "generateAccessToken", job, {"scope": [SCOPE]})[1]["accessToken"]
    assert call(iam, "signBlob", own, body)[0] == 400


def test_a_token_lives_an_hour_at_the_most(iam: IamCloud) -> None:
    """And needs a scope."""
    job = exchange(iam)["access_token"]
    assert call(iam, "generateAccessToken", job, {"scope": [SCOPE], "lifetime": "3601s"})[0] == 400
    assert call(iam, "generateAccessToken", job, {"lifetime": "60s"})[0] == 400
