"""The JSON API of the fake Cloud Storage, as far as Pulumi's engine speaks it: its own files, and nothing else.

Source: the discovery document storage/v1 (objects: insert, get, list, delete, copy, rewrite).
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from urllib.parse import unquote

from cloudtrain.simulator.aws.wire import Refused
from cloudtrain.simulator.gcp.storage.buckets import ENGINES, Buckets, Thing, page
from cloudtrain.simulator.http_server import Reply, Request

ROOTS = ("/storage/v1/b/", "/upload/storage/v1/b/", "/download/storage/v1/b/", "/resumable/")


def is_json(request: Request) -> bool:
    """Whether it is for this API."""
    return request.path.startswith(ROOTS) or (request.path.startswith("/b/") and "/o" in request.path)


def answer(buckets: Buckets, url: str, request: Request) -> Reply:
    """What the API at `url` says. An error has its code in JSON."""
    try:
        return _answer(buckets, url, request)
    except Refused as error:
        body = {"error": {"code": error.status, "message": error.message, "errors": [{"reason": error.code}]}}
        return Reply(error.status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _answer(buckets: Buckets, url: str, request: Request) -> Reply:
    path = request.target.partition("?")[0]
    if path.startswith("/resumable/"):
        return _resumable(buckets, path.removeprefix("/resumable/"), request)
    bucket, _, rest = path[path.index("/b/") + 3 :].partition("/")
    bucket = unquote(bucket)
    if path.startswith("/upload/"):
        return _insert(buckets, url, bucket, request)
    if not rest:
        buckets.things(bucket)
        return document({"kind": "storage#bucket", "name": bucket, "id": bucket})
    if rest == "o":
        return _list(buckets, bucket, request)
    key, _, target = rest.removeprefix("o/").partition("/")
    return _one(buckets, bucket, allowed(unquote(key)), target, request)


def allowed(key: str) -> str:
    """The key, if it is the engine's. Raises Refused."""
    if ENGINES not in key:
        raise Refused("forbidden", "Anonymous caller does not have access to this object.", 401)
    return key


def _one(buckets: Buckets, bucket: str, key: str, target: str, request: Request) -> Reply:
    thing = buckets.thing(bucket, key)
    if target:  # rewriteTo or copyTo/b/BUCKET/o/KEY
        verb, _, place = target.partition("/b/")
        into, _, name = place.partition("/o/")
        made = buckets.keep(unquote(into), allowed(unquote(name)), thing.data)
        found = resource(unquote(into), unquote(name), made)
        size = str(len(thing.data))
        rewrite = {"done": True, "objectSize": size, "totalBytesRewritten": size, "resource": found}
        return document({"kind": "storage#rewriteResponse", **rewrite} if verb == "rewriteTo" else found)
    if request.method == "DELETE":
        del buckets.kept[bucket][key]
        return Reply(204)
    if request.query.get("alt") == ["media"]:
        return Reply(200, thing.data, thing.headers())
    return document(resource(bucket, key, thing))


def _list(buckets: Buckets, bucket: str, request: Request) -> Reply:
    given = {name: values[0] for name, values in request.query.items()}
    found, folders, more = page(
        buckets.things(bucket), given.get("prefix", ""), given.get("delimiter", ""), given.get("pageToken", "")
    )
    items = [resource(bucket, key, buckets.kept[bucket][key]) for key in found]
    return document(
        {"kind": "storage#objects", "items": items, "prefixes": folders, **({"nextPageToken": more} if more else {})}
    )


def _insert(buckets: Buckets, url: str, bucket: str, request: Request) -> Reply:
    kind = request.query.get("uploadType", [""])[0]
    match = request.query.get("ifGenerationMatch", [None])[0]
    if kind == "resumable":
        wanted = json.loads(request.body or b"{}")
        key = allowed(wanted.get("name") or request.query["name"][0])
        where = base64.urlsafe_b64encode(json.dumps([bucket, key, match]).encode()).decode()
        return Reply(200, headers={"Location": f"{url}/resumable/{where}"})
    if kind == "multipart":
        wanted, data = _halves(request)
        key = allowed(wanted["name"])
    else:
        key, data = allowed(request.query["name"][0]), request.body
    return document(resource(bucket, key, buckets.keep(bucket, key, data, match)))


def _resumable(buckets: Buckets, where: str, request: Request) -> Reply:
    bucket, key, match = json.loads(base64.urlsafe_b64decode(where))
    if request.headers.get("content-range", "").endswith("/*"):
        raise Refused("notImplemented", "An upload in several pieces is not played.", 501)
    return document(resource(bucket, key, buckets.keep(bucket, key, request.body, match)))


def _halves(request: Request) -> tuple[dict[str, Any], bytes]:
    """The description and the content of a multipart/related upload."""
    edge = b"--" + request.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    _, first, second, *_ = request.body.split(edge)
    about = json.loads(first.partition(b"\r\n\r\n")[2])
    return about, second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


def resource(bucket: str, key: str, thing: Thing) -> dict[str, Any]:
    """An object's description."""
    when = datetime.fromtimestamp(thing.modified, UTC).isoformat()
    return {
        "kind": "storage#object",
        "name": key,
        "bucket": bucket,
        "generation": str(thing.generation),
        "metageneration": "1",
        "size": str(len(thing.data)),
        "contentType": thing.kind,
        "md5Hash": base64.b64encode(md5(thing.data, usedforsecurity=False).digest()).decode(),
        "etag": str(thing.generation),
        "timeCreated": when,
        "updated": when,
    }


def document(content: dict[str, Any]) -> Reply:
    """A JSON answer."""
    return Reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})
