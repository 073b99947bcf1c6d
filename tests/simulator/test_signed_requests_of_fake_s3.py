"""The fake S3 lets a presigned address and a form do what was signed, in its time, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config

from cloudtrain.simulator.aws import ACCESS_KEY, SECRET_KEY, AwsCloud
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.cloud_with_bucket import Together
from cloudtrain.simulator.runpod import RunpodCloud
from tests.patience import PATIENCE_S

PREFIX = "runs/r1/"


@pytest.fixture(scope="module")
def together() -> Iterator[Together]:
    """RunPod's machines with AWS's buckets."""
    both = Together(RunpodCloud(Clock()))
    yield both
    both.stop()


@pytest.fixture
def cloud(together: Together) -> AwsCloud:
    together.reset()
    together.bucket("state")
    return together.buckets


def client(cloud: AwsCloud, secret: str = SECRET_KEY) -> Any:
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": secret}
    return boto3.client("s3", region_name="us-east-1", endpoint_url=cloud.url, config=config, **keys)


def form(cloud: AwsCloud, secret: str = SECRET_KEY, largest: int = 1000) -> dict[str, Any]:
    conditions = [["starts-with", "$key", PREFIX], ["content-length-range", 0, largest]]
    made = client(cloud, secret).generate_presigned_post(
        "state", PREFIX + "${filename}", Conditions=conditions, ExpiresIn=3600
    )
    assert made["url"] == f"{cloud.url}/state"
    return dict(made)


def send(form: dict[str, Any], key: str, data: bytes = b"hello", **more: str) -> requests.Response:
    fields = {**form["fields"], "key": key, **more}
    return requests.post(form["url"], data=fields, files={"file": ("name.txt", data)}, timeout=PATIENCE_S)


def refused(reply: requests.Response, status: int, words: str) -> bool:
    return reply.status_code == status and words in reply.text


def test_a_form_keeps_what_it_brings_byte_by_byte(cloud: AwsCloud, together: Together) -> None:
    data = bytes(range(256)) + b"\r\n--\r\n"
    reply = send(form(cloud), PREFIX + "log/0", data)
    assert reply.status_code == 204
    assert together.objects("state") == {PREFIX + "log/0": data}
    assert "S3.PostObject" in cloud.calls


def test_a_form_may_take_its_key_from_the_files_name(cloud: AwsCloud, together: Together) -> None:
    assert send(form(cloud), PREFIX + "${filename}").status_code == 204
    assert list(together.objects("state")) == [PREFIX + "name.txt"]


@pytest.mark.parametrize(
    ("key", "size", "more", "answer"),
    [
        ("runs/r2/log", 1, {}, (403, "Policy Condition failed")),
        (PREFIX + "x", 1001, {}, (400, "EntityTooLarge")),
        (PREFIX + "x", 1, {"acl": "public-read"}, (403, "Extra input fields: acl")),
        (PREFIX + "x", 1, {"x-amz-signature": "0" * 64}, (403, "SignatureDoesNotMatch")),
        (PREFIX + "x", 1, {"policy": "bm8="}, (403, "SignatureDoesNotMatch")),
    ],
)
def test_a_form_outside_its_policy_is_refused_and_keeps_nothing(
    cloud: AwsCloud, together: Together, key: str, size: int, more: dict[str, str], answer: tuple[int, str]
) -> None:
    assert refused(send(form(cloud), key, b"x" * size, **more), *answer)
    assert not together.objects("state")


def test_a_form_with_wrong_key_bucket_or_time_is_refused(cloud: AwsCloud) -> None:
    assert refused(send(form(cloud, "wrong"), PREFIX + "x"), 403, "SignatureDoesNotMatch")
    there = {**form(cloud), "url": f"{cloud.url}/other"}
    assert refused(send(there, PREFIX + "x"), 403, "Policy Condition failed")
    early = form(cloud)
    cloud.clock.advance(3601)
    assert refused(send(early, PREFIX + "x"), 403, "Policy expired")


def test_a_presigned_address_gives_its_object_and_ranges_of_it(cloud: AwsCloud) -> None:
    client(cloud).put_object(Bucket="state", Key="a b/ü+%", Body=b"0123456789")
    url = client(cloud).generate_presigned_url("get_object", {"Bucket": "state", "Key": "a b/ü+%"}, 60)
    assert requests.get(url, timeout=PATIENCE_S).content == b"0123456789"
    part = requests.get(url, headers={"Range": "bytes=3-5"}, timeout=PATIENCE_S)
    assert (part.status_code, part.content) == (206, b"345")


def test_a_presigned_address_is_404_until_its_object_exists(cloud: AwsCloud) -> None:
    url = client(cloud).generate_presigned_url("get_object", {"Bucket": "state", "Key": "kill"}, 60)
    assert refused(requests.get(url, timeout=PATIENCE_S), 404, "NoSuchKey")
    client(cloud).put_object(Bucket="state", Key="kill", Body=b"")
    assert requests.get(url, timeout=PATIENCE_S).status_code == 200


def test_a_presigned_address_allows_one_key_verb_and_time(cloud: AwsCloud) -> None:
    client(cloud).put_object(Bucket="state", Key="a", Body=b"a")
    client(cloud).put_object(Bucket="state", Key="b", Body=b"b")
    url = client(cloud).generate_presigned_url("get_object", {"Bucket": "state", "Key": "a"}, 60)
    assert refused(
        requests.get(url.replace("/state/a?", "/state/b?"), timeout=PATIENCE_S), 403, "SignatureDoesNotMatch"
    )
    assert refused(requests.put(url, data=b"x", timeout=PATIENCE_S), 403, "SignatureDoesNotMatch")
    assert refused(requests.get(url + "&response-content-type=x", timeout=PATIENCE_S), 403, "SignatureDoesNotMatch")
    assert refused(requests.get(url.replace("X-Amz-Date=", "X-Amz-When="), timeout=PATIENCE_S), 400, "six parameters")
    cloud.clock.advance(61)
    assert refused(requests.get(url, timeout=PATIENCE_S), 403, "Request has expired")


def test_faults_meet_forms_and_presigned_addresses(cloud: AwsCloud) -> None:
    cloud.faults.add("S3.PostObject", "unavailable")
    assert refused(send(form(cloud), PREFIX + "x"), 503, "SlowDown")
    assert send(form(cloud), PREFIX + "x").status_code == 204
    cloud.faults.add("S3.PostObject", "lost_reply")
    with pytest.raises(requests.ConnectionError):
        send(form(cloud), PREFIX + "y")


def test_a_cloud_and_its_buckets_share_environment_clock_and_ledger(cloud: AwsCloud, together: Together) -> None:
    assert {"RUNPOD_API_KEY", "CLOUDTRAIN_RUNPOD_URL", "AWS_ENDPOINT_URL"} <= set(together.environment())
    assert together.fake.clock is cloud.clock
    assert len(together.secrets()) == 2
    together.fake.ledger.open("pod1", "pod", 1.0)
    cloud.ledger.open("i-1", "instance", 1.0)
    assert sorted(together.leftovers()) == ["instance i-1", "pod pod1"]


def test_a_fake_aws_keeps_its_buckets_itself(cloud: AwsCloud) -> None:
    assert Together(cloud).buckets is cloud
    with pytest.raises(ValueError, match="same clock"):
        Together(RunpodCloud(Clock(1.0)), cloud)
