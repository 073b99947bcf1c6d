"""The fake AWS's buckets: moto's S3, for a state that lies in one. The call's name is `S3.PutObject` and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.rehearsal.aws_wire import Refused, backend, part, scope, whole_moto
from cloudtrain.rehearsal.front import Reply, Request

if TYPE_CHECKING:
    from cloudtrain.rehearsal.aws import AwsCloud

OBJECT_CALLS = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject", "HEAD": "HeadObject"}
BUCKET_CALLS = {"GET": "ListObjectsV2", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}
NOT_SENT_ON = ("host", "connection", "expect", "transfer-encoding")


def is_for_s3(request: Request) -> bool:
    """Whether the request was signed for S3."""
    return scope(request)[2] == "s3"


def name_of(request: Request) -> str:
    """`S3.PutObject` for a path below a bucket, `S3.ListObjectsV2` for the bucket itself."""
    inside = request.path.strip("/").partition("/")[2]
    if request.method == "POST":
        return "S3.DeleteObjects"
    return f"S3.{(OBJECT_CALLS if inside else BUCKET_CALLS).get(request.method, '?')}"


def answer(cloud: AwsCloud, request: Request, known: bool) -> Reply:
    """moto's answer, with every header both ways: conditions and ranges live there. `known`: the access key is."""
    if not known:
        words = "The AWS Access Key Id you provided does not exist in our records."
        return refusal(Refused("InvalidAccessKeyId", words, 403))
    if cloud.faults.take(name_of(request), "permission"):
        return refusal(Refused("AccessDenied", "Access Denied", 403))
    builder = part("werkzeug.test").EnvironBuilder(
        path=request.target,
        base_url=f"https://s3.{scope(request)[1]}.amazonaws.com",
        method=request.method,
        headers={
            **{name: value for name, value in request.headers.items() if name not in NOT_SENT_ON},
            "x-moto-account-id": cloud.account,
        },
        data=request.body,
    )
    chunks, status, headers = part("werkzeug.test").run_wsgi_app(whole_moto(), builder.get_environ())
    body = b"".join(chunks)
    if request.method == "HEAD":
        body = bytes(int(headers.get("Content-Length", 0)))  # not sent, but its length is
    return Reply(int(status.split()[0]), body, dict(headers))


def refusal(error: Refused) -> Reply:
    """An error as S3 writes it."""
    xml = f"<Error><Code>{error.code}</Code><Message>{error.message}</Message></Error>"
    return Reply(error.status, xml.encode(), {"Content-Type": "application/xml"})


def make_bucket(cloud: AwsCloud, name: str, region: str = "us-east-1") -> None:
    """A bucket of the account, empty."""
    backend("s3", cloud.account, "aws").create_bucket(name, region)


def forget_buckets(account: str) -> None:
    """Give the names of an account's buckets back: they are everybody's."""
    owners = part("moto.s3.models").s3_backends.bucket_accounts
    for name in [name for name, (_, owner) in owners.items() if owner == account]:
        owners.pop(name, None)


def objects(cloud: AwsCloud, bucket: str) -> dict[str, bytes]:
    """Everything that lies in a bucket: key -> bytes."""
    keys = backend("s3", cloud.account, "aws").buckets[bucket].keys
    return {name: keys[name].value for name in list(keys)}
