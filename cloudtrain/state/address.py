"""The address of a bucket state: `s3://bucket/prefix?region=eu-west-1` or `gs://bucket/prefix`, read and checked."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from cloudtrain import endpoints
from cloudtrain.errors import UsageError, visible

SCHEMES = ("s3", "gs")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")  # what the clients of S3 read
EMULATOR = "STORAGE_EMULATOR_HOST"  # what the clients of Google Cloud Storage read
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_BUCKET = r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"


class Address(NamedTuple):
    """A bucket and a prefix in it. `region` is "" when it is not given; `endpoint` "" for the vendor's own."""

    scheme: str
    bucket: str
    prefix: str  # without slashes at its ends
    region: str = ""
    endpoint: str = ""

    @property
    def base(self) -> str:
        """The address for a person, without a query: `s3://bucket/prefix`."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def parse(url: str) -> Address:
    """The address in `url`, with region and endpoint out of the environment where the URL does not say.

    Raises UsageError for anything but a bucket, a prefix and a region: nothing secret belongs into it, because it is
    shown, kept, and handed to the engine.
    """
    from urllib.parse import parse_qsl, urlsplit

    hint = "write s3://bucket/prefix?region=eu-west-1 or gs://bucket/prefix"
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that close nothing
        shown = re.split("[@?]", url)[0] if "@" not in url else url.partition("://")[0] + "://..."  # a key may follow
        raise UsageError(f"state `{visible(shown)}` is no address", hint) from None
    if parts.scheme not in SCHEMES or not re.fullmatch(_BUCKET, parts.netloc) or parts.fragment:
        raise UsageError("the state is not the plain address of a bucket", hint)  # not repeated: it may hold a key
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(query) - ({"region"} if parts.scheme == "s3" else set()))
    if unknown:
        raise UsageError(f"state `{parts.scheme}://{parts.netloc}` has `{visible(unknown[0])}` in its query", hint)
    prefix = "/".join(part for part in parts.path.split("/") if part)
    if not re.fullmatch(r"[A-Za-z0-9._/-]*", prefix) or {".", ".."} & set(prefix.split("/")):
        raise UsageError(
            f"state `{parts.scheme}://{parts.netloc}` has a prefix that is not plain",
            "use letters, digits, dots, dashes and slashes",
        )
    if parts.scheme == "gs":
        return Address("gs", parts.netloc, prefix, endpoint=emulator())
    region = query.get("region") or next((os.environ[name] for name in REGIONS if os.environ.get(name)), "")
    endpoint = next((found for name in ENDPOINTS if (found := endpoints.override(name))), "")
    return Address("s3", parts.netloc, prefix, region, endpoint)


def emulator() -> str:
    """Where a fake Google Cloud Storage listens, "" for the real one."""
    found = endpoints.override(EMULATOR) or ""
    return found if not found or "://" in found else f"http://{found}"
