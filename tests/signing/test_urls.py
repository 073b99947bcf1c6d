"""Signed addresses: the same as Amazon's own SDK makes, the same every time, and for nothing else."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.signing import urls

STATE = "s3://bucket-x/team?region=eu-west-1"
INPUTS = {
    "boot": {"state": STATE, "ticket": "runs/r/tickets/1.json", "signed_at": 1_800_000_000},
    "expires": 1_800_003_600,
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access key, and no endpoint."""
    for name in ("AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


@pytest.mark.parametrize("token", ["", "a token/with+signs=="])
def test_an_address_is_the_one_that_amazons_sdk_makes(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Byte for byte, with a session token too."""
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    if token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    moment = datetime.fromisoformat("2027-01-15T08:00:00")
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moment)
    request = AWSRequest("GET", "https://bucket-x.s3.eu-west-1.amazonaws.com/team/runs/r/tickets/1.json")
    keys = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token or None)
    botocore.auth.S3SigV4QueryAuth(keys, "s3", "eu-west-1", expires=7200).add_auth(request)
    ours, theirs = (sorted(url.partition("?")[2].split("&")) for url in (urls.ticket_url(INPUTS), request.url))
    assert ours == theirs
    assert urls.ticket_url(INPUTS).partition("?")[0] == request.url.partition("?")[0]


def test_the_tickets_address_is_the_same_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat of the call that makes the machine is the same request."""
    first = urls.ticket_url(INPUTS)
    monkeypatch.setattr("time.time", lambda: 1_900_000_000.0)
    assert urls.ticket_url(INPUTS) == first


def test_no_signature_is_asked_for_longer_than_amazon_allows() -> None:
    """A week, whatever the run's deadline."""
    url = urls.get_url(STATE, "a", 0.0, 30 * 86400.0)
    assert "X-Amz-Expires=604800&" in url


def test_a_policy_allows_one_runs_prefix_until_its_end() -> None:
    """What it says is what was meant: this bucket, below this prefix, not later."""
    made: dict[str, Any] = urls.post_policy(STATE, "runs/r/", 1_800_000_000.0, 1_800_003_600.0)
    policy = json.loads(base64.b64decode(made["fields"]["policy"]))
    assert policy["expiration"] == "2027-01-15T09:00:00Z"
    assert {"bucket": "bucket-x"} in policy["conditions"]
    assert ["starts-with", "$key", "team/runs/r/"] in policy["conditions"]
    assert made["prefix"] == "team/runs/r/"
    assert made["url"] == "https://bucket-x.s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("url", ["/home/me/state", "file:///state"])
def test_a_state_that_no_machine_can_reach_is_refused(url: str) -> None:
    """With what to set instead."""
    with pytest.raises(UsageError) as told:
        urls.bucket_of(url)
    assert "a rented machine can only reach a state in a bucket" in told.value.message
    assert "CLOUDTRAIN_STATE" in told.value.hint


def test_a_bucket_with_dots_is_not_named_in_the_host() -> None:
    """No certificate fits such a host."""
    assert urls.get_url("s3://a.bucket.x", "k", 0.0, 60.0).startswith(
        "https://s3.us-east-1.amazonaws.com/a.bucket.x/k?"
    )
