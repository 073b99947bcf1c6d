"""A fake Google Cloud Storage: the XML API as `obstore` and signed requests speak it, strict about who asks.

Pulumi's engine speaks the JSON API and, towards an emulator, sends no credentials: that API (`gcs_json`) is open, but
only for what lies below a folder called `pulumi`. The call's name is `GCS.PutObject` and so on.
"""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from urllib.parse import unquote
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cloudtrain.simulator.aws.wire import Refused
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.iam import IamCloud
from cloudtrain.simulator.gcp.storage import json_api, signed
from cloudtrain.simulator.gcp.storage.buckets import ENGINES, Buckets, Thing, page
from cloudtrain.simulator.http_server import Front, Reply, Request

EMAIL = "simulation@cloudtrain-simulation.iam.gserviceaccount.com"
KEY_ID = "PLANTED-SECRET-GCS"
LEAST_PART_BYTES = 5 << 20
OBJECT_CALLS = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


class GcsCloud(Front):
    """Buckets by name; `account` is the service account whose key file lies at `key_file`.

    With `iam` the account is its one instead: tokens are those that it has given, signatures those of its keys.
    """

    def __init__(self, clock: Clock | None = None, iam: IamCloud | None = None) -> None:
        super().__init__(clock)
        self.iam = iam
        self.account = signed.Account(EMAIL, rsa.generate_private_key(65537, 2048))
        handle, self.key_file = tempfile.mkstemp(prefix="cloudtrain-simulation-", suffix=".json")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(self._key(), file)
        self.reset()

    def reset(self, clock: Clock | None = None) -> None:
        """No bucket, no fault, no call; the door and the key stay."""
        self.clock = self.ledger.clock = clock or self.clock
        self.faults.clear()
        self.calls.clear()
        self.buckets = Buckets(self.clock)
        self.uploads: dict[str, dict[int, bytes]] = {}

    def _key(self) -> dict[str, str]:
        pem = self.account.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "cloudtrain-simulation",
            "private_key_id": KEY_ID,
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "token_uri": f"{self.url}/token",
        }

    def environment(self) -> dict[str, str]:
        host = self.url.removeprefix("http://")  # the engine's client takes no scheme
        own = {"GOOGLE_APPLICATION_CREDENTIALS": self.key_file} if self.iam is None else self.iam.environment()
        return {**own, "STORAGE_EMULATOR_HOST": host}

    @property
    def signs(self) -> signed.Signs:
        """Whose signatures count."""
        return self.iam or self.account

    def stop(self) -> None:
        super().stop()
        if os.path.exists(self.key_file):
            os.unlink(self.key_file)

    def make_bucket(self, name: str) -> None:
        """A bucket of the account, empty."""
        self.buckets.kept[name] = {}

    def objects(self, name: str) -> dict[str, bytes]:
        """Everything that lies in a bucket."""
        with self.clock.lock:
            return {key: thing.data for key, thing in self.buckets.kept[name].items()}

    def leftovers(self) -> list[str]:
        return []  # buckets are the user's own

    def call_of(self, request: Request) -> str:
        if json_api.is_json(request):
            return f"GCS.Json{request.method.title()}"
        if signed.is_form(request):
            return "GCS.PostObject"
        if not request.path.strip("/").partition("/")[2]:
            return "GCS.ListObjects" if request.method == "GET" else "GCS.Bucket"
        return "GCS.Upload" if request.method == "POST" else f"GCS.{OBJECT_CALLS.get(request.method, '?')}"

    def mutates(self, call: str) -> bool:
        return not call.startswith(("GCS.Get", "GCS.Head", "GCS.List", "GCS.JsonGet"))

    def refuse(self, kind: str) -> Reply:
        if kind == "throttled":
            return refusal(Refused("SlowDown", "Reduce the rate of requests.", 429))
        return refusal(Refused("ServiceUnavailable", "Try again.", 503))

    def perform(self, call: str, request: Request) -> Reply:
        try:
            if self.faults.take(call, "permission"):
                raise Refused("AccessDenied", "Access denied.", 403)
            if json_api.is_json(request):
                return json_api.answer(self.buckets, self.url, request)
            bucket, _, key = unquote(request.path).strip("/").partition("/")
            if signed.is_form(request):
                upload = signed.check_form(request, self.signs, self.clock.now())
                thing = self.buckets.keep(bucket, upload.key, upload.data)
                return Reply(204, headers={"ETag": thing.headers()["ETag"]})
            self._check_caller(request, key)
            if not key:
                return self._list(bucket, request)
            return self._object(bucket, key, request)
        except Refused as error:
            return refusal(error)

    def _check_caller(self, request: Request, key: str) -> None:
        if signed.is_presigned(request):
            return signed.check_presigned(request, self.signs, self.clock.now())
        if "authorization" not in request.headers and ENGINES in key and request.method in ("GET", "HEAD"):
            return None
        if self.iam is None:
            return signed.check_token(request, self.account, self.clock.now())
        if self.iam.caller(request) != self.iam.email:
            raise Refused("AccessDenied", "The caller does not have storage.objects access.", 403)
        return None

    def _object(self, bucket: str, key: str, request: Request) -> Reply:
        if "uploads" in request.query or "uploadId" in request.query:
            return self._upload(bucket, key, request)
        if request.method == "PUT":
            made = self.buckets.keep(bucket, key, request.body, request.headers.get("x-goog-if-generation-match"))
            made.meta = {name: value for name, value in request.headers.items() if name.startswith("x-goog-meta-")}
            made.kind = request.headers.get("content-type", made.kind)
            return Reply(200, headers=made.headers())
        found = self.buckets.thing(bucket, key)
        if request.method == "DELETE":
            del self.buckets.kept[bucket][key]
            return Reply(204)
        if request.method == "HEAD":
            return Reply(200, bytes(len(found.data)), found.headers())
        return ranged(found.data, found.headers(), request.headers.get("range", ""))

    def _upload(self, bucket: str, key: str, request: Request) -> Reply:
        """One step of an upload in parts."""
        if "uploads" in request.query:
            self.buckets.things(bucket)
            upload = f"upload-{self.buckets.next_number()}"
            self.uploads[upload] = {}
            name = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
            return xml(f"<InitiateMultipartUploadResult>{name}</InitiateMultipartUploadResult>")
        pieces = self.uploads.get(request.query["uploadId"][0])
        if pieces is None:
            raise Refused("NoSuchUpload", "There is no such upload.", 404)
        if request.method == "DELETE":
            del self.uploads[request.query["uploadId"][0]]
            return Reply(204)
        if request.method == "PUT":
            number = int(request.query["partNumber"][0])
            pieces[number] = request.body
            return Reply(200, headers={"ETag": f'"part-{number}"'})
        ordered = [pieces[number] for number in sorted(pieces)]
        if any(len(piece) < LEAST_PART_BYTES for piece in ordered[:-1]):
            raise Refused("EntityTooSmall", "A part is smaller than 5 MiB.")
        made = self.buckets.keep(bucket, key, b"".join(ordered))
        del self.uploads[request.query["uploadId"][0]]
        etag = made.headers()["ETag"]
        reply = xml(f"<CompleteMultipartUploadResult><ETag>{escape(etag)}</ETag></CompleteMultipartUploadResult>")
        return reply._replace(headers={**reply.headers, "x-goog-generation": str(made.generation)})

    def _list(self, bucket: str, request: Request) -> Reply:
        given = {name: values[0] for name, values in request.query.items()}
        found, folders, more = page(
            self.buckets.things(bucket),
            given.get("prefix", ""),
            given.get("delimiter", ""),
            given.get("continuation-token", ""),
        )
        content = "".join(self._entry(key, self.buckets.kept[bucket][key]) for key in found)
        content += "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        if more:
            content += f"<NextContinuationToken>{escape(more)}</NextContinuationToken>"
        truncated = "true" if more else "false"
        return xml(f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{content}</ListBucketResult>")

    def _entry(self, key: str, thing: Thing) -> str:
        headers = thing.headers()
        when = datetime.fromtimestamp(thing.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return (
            f"<Contents><Key>{escape(key)}</Key><Size>{len(thing.data)}</Size><LastModified>{when}</LastModified>"
            f"<ETag>{escape(headers['ETag'])}</ETag></Contents>"
        )


def ranged(data: bytes, headers: dict[str, str], wanted: str) -> Reply:
    """The content, or the part of it that a Range header asks for."""
    if not wanted.startswith("bytes="):
        return Reply(200, data, headers)
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last), len(data) - 1) if first and last else len(data) - 1
    if start >= len(data) or end < start:
        raise Refused("InvalidRange", "The requested range cannot be satisfied.", 416)
    return Reply(206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})


def xml(text: str) -> Reply:
    """A document as the XML API sends one."""
    return Reply(200, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), {"Content-Type": "application/xml"})


def refusal(error: Refused) -> Reply:
    """An error as the XML API writes it."""
    text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    return xml(text)._replace(status=error.status)
