"""What signed addresses of both kinds share: version 4's canonical request, and the form that writes below a prefix.

The kinds differ in names, scope and key; see `presign` for Amazon and `presign_gs` for Google.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote


class Signing(NamedTuple):
    """Who signs how, at one moment (20261124T120000Z)."""

    algorithm: str
    mark: str  # how every parameter begins: X-Amz or X-Goog
    who: str  # the key's public name
    scope: str
    moment: str
    sign: Callable[[str], str]  # text -> hexadecimal digits
    token: str = ""  # of temporary credentials

    def parameters(self) -> dict[str, str]:
        """What address and form both say about the signature."""
        found = {
            f"{self.mark}-Algorithm": self.algorithm,
            f"{self.mark}-Credential": f"{self.who}/{self.scope}",
            f"{self.mark}-Date": self.moment,
        }
        return found | ({f"{self.mark}-Security-Token": self.token} if self.token else {})


def url(by: Signing, base_url: str, key: str, seconds: int) -> str:
    """The address that reads the object `key` of the bucket at `base_url` for `seconds` from the moment on."""
    query = {**by.parameters(), f"{by.mark}-Expires": str(seconds), f"{by.mark}-SignedHeaders": "host"}
    scheme, _, rest = base_url.partition("://")
    host, _, root = rest.partition("/")
    path = "/" + "/".join(part for part in (root, quote(key, safe="/~-._")) if part)
    parameters = "&".join(f"{name}={quote(query[name], safe='~-._')}" for name in sorted(query))
    canonical = "\n".join(("GET", path, parameters, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"))
    to_sign = "\n".join((by.algorithm, by.moment, by.scope, hashlib.sha256(canonical.encode()).hexdigest()))
    return f"{scheme}://{host}{path}?{parameters}&{by.mark}-Signature={by.sign(to_sign)}"


def form(by: Signing, base_url: str, bucket: str, prefix: str, ends: tuple[float, int]) -> dict[str, Any]:
    """{"url", "fields", "prefix"}: lets its bearer write below `prefix`; `ends`: until when, and bytes at the most."""
    until, largest = ends
    fields = {name.lower(): value for name, value in by.parameters().items()}
    policy = {
        "expiration": datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [
            {"bucket": bucket},
            ["starts-with", "$key", prefix],
            ["content-length-range", 0, largest],
            *({name: value} for name, value in fields.items()),
        ],
    }
    encoded = base64.b64encode(json.dumps(policy).encode()).decode()
    signed = {**fields, "policy": encoded, f"{by.mark.lower()}-signature": by.sign(encoded)}
    return {"url": base_url, "fields": signed, "prefix": prefix}
