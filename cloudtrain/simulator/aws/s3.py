"""The fake AWS's buckets: moto's S3, for a state that lies in one. The call's name is `S3.PutObject` and so on."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from urllib.parse import unquote

from cloudtrain.simulator.aws import s3_signed as signed
from cloudtrain.simulator.aws.account import AwsAccount
from cloudtrain.simulator.aws.wire import Refused, backend, part, scope, whole_moto
from cloudtrain.simulator.http_server import Reply, Request

OBJECT_CALLS = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject", "HEAD": "HeadObject"}
BUCKET_CALLS = {"GET": "ListObjectsV2", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}
NOT_SENT_ON = ("host", "connection", "expect", "transfer-encoding")


def is_for_s3(request: Request) -> bool:
    """Whether the request was signed for S3: in a header, in its address, or in a form."""
    return scope(request)[2] == "s3" or signed.is_presigned(request) or signed.is_form(request)


def name_of(request: Request) -> str:
    """`S3.PutObject` for a path below a bucket, `S3.ListObjectsV2` for the bucket itself."""
    inside = request.path.strip("/").partition("/")[2]
    if signed.is_form(request):
        return "S3.PostObject"
    if request.method == "POST":
        return "S3.DeleteObjects"
    return f"S3.{(OBJECT_CALLS if inside else BUCKET_CALLS).get(request.method, '?')}"


def answer(cloud: AwsAccount, request: Request, keys_of: signed.KeysOf) -> Reply:
    """moto's answer, with every header both ways: conditions and ranges live there. `keys_of`: whose keys are good."""
    try:
        if cloud.faults.take(name_of(request), "permission"):
            raise Refused("AccessDenied", "Access Denied", 403)
        if signed.is_form(request):
            return _keep(cloud, request, signed.check_form(request, keys_of, cloud.clock.now()))
        if signed.is_presigned(request):
            request = signed.check_presigned(request, keys_of, cloud.clock.now())
        elif cloud.checks_signing_time and signed.is_skewed(request, cloud.clock.now()):
            raise Refused(
                "RequestTimeTooSkewed",
                "The difference between the request time and the server's time is too large.",
                403,
            )
        else:
            keys_of(scope(request)[0], request.headers.get("x-amz-security-token", ""))
    except Refused as error:
        return refusal(error)
    return _ask_moto(cloud, request)


def _keep(cloud: AwsAccount, request: Request, upload: signed.Upload) -> Reply:
    """What a form has brought, under its key."""
    bucket = unquote(request.path).strip("/")
    if bucket not in backend("s3", cloud.account, "aws").buckets:
        raise Refused("NoSuchBucket", "The specified bucket does not exist", 404)
    wanted = upload.fields.get("x-amz-checksum-sha256")
    if wanted and wanted != b64encode(sha256(upload.data).digest()).decode():
        raise Refused("BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    kept = backend("s3", cloud.account, "aws").put_object(bucket, upload.key, upload.data)
    kept.set_metadata({"Content-Type": upload.fields.get("content-type", "binary/octet-stream")})
    status = upload.fields.get("success_action_status", "")
    return Reply(int(status) if status in ("200", "201") else 204, headers={"ETag": kept.etag})


def _ask_moto(cloud: AwsAccount, request: Request) -> Reply:
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


def make_bucket(cloud: AwsAccount, name: str, region: str = "us-east-1") -> None:
    """A bucket of the account, empty."""
    backend("s3", cloud.account, "aws").create_bucket(name, region)


def objects(cloud: AwsAccount, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """Everything that lies in a bucket, below a prefix if one is given: key -> bytes."""
    with cloud.clock.lock:  # whoever writes or deletes holds it
        keys = backend("s3", cloud.account, "aws").buckets[bucket].keys
        return {name: keys[name].value for name in list(keys) if name.startswith(prefix)}
