"""Signed addresses of Google Cloud Storage: the same as `presign`, with the key of a service account.

Source: Cloud Storage documentation, "V4 signing process" (query parameters) and "Signatures: policy documents" (POST).
An RSA signature of this kind has no chance in it: the same text and key give the same address.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from cloudtrain.runs.store_address import Address
from cloudtrain.runs.store_trouble import BucketDenied

ALGORITHM = "GOOG4-RSA-SHA256"
KEY_FILES = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_APPLICATION_CREDENTIALS")
HINT = "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account, or use a state in s3://"
LARGEST_POST_BYTES = 5 << 40  # Google's limit for an object


class Signer(NamedTuple):
    """A service account: who signs, and with which private key (PEM)."""

    email: str
    key: str

    def sign(self, text: str) -> str:
        """RSA with SHA-256, PKCS #1 version 1.5, in hexadecimal digits."""
        from cryptography.hazmat.primitives.asymmetric import padding
        from cryptography.hazmat.primitives.hashes import SHA256

        signed: bytes = private_key(self.key).sign(text.encode(), padding.PKCS1v15(), SHA256())
        return signed.hex()


@cache
def private_key(pem: str) -> Any:
    """The key of a PEM text; read once, because that takes longer than to sign."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(pem.encode(), None)


def signer(address: Address) -> Signer:
    """The service account that the client works as. Raises BucketDenied for credentials without a private key."""
    path = next((os.environ[name] for name in KEY_FILES if os.environ.get(name)), "")
    where = f"state `{address.base}`"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError) as error:
        raise BucketDenied(f"{where}: `{path}` cannot be read as credentials ({type(error).__name__})", HINT) from None
    if isinstance(found, dict) and found.get("private_key") and found.get("client_email"):
        made = Signer(str(found["client_email"]), str(found["private_key"]))
        try:
            private_key(made.key)
        except ValueError:
            raise BucketDenied(f"{where}: the private key in `{path}` cannot be read", HINT) from None
        return made
    kind = f"those in `{path}` have none" if path else "a person's login, or a machine's, has none"
    raise BucketDenied(
        f"{where}: a rented machine reaches it by signed addresses, which take a service account's private key: {kind}",
        HINT,
    )


def base_url(address: Address) -> str:
    """Where the bucket answers."""
    return f"{address.endpoint or 'https://storage.googleapis.com'}/{address.bucket}"


def get_url(address: Address, key: str, moment: str, seconds: int) -> str:
    """An address that reads the object `key` for `seconds` from `moment` (20261124T120000Z) on."""
    who = signer(address)
    scope = f"{moment[:8]}/auto/storage/goog4_request"
    query = {
        "X-Goog-Algorithm": ALGORITHM,
        "X-Goog-Credential": f"{who.email}/{scope}",
        "X-Goog-Date": moment,
        "X-Goog-Expires": str(seconds),
        "X-Goog-SignedHeaders": "host",
    }
    scheme, _, rest = base_url(address).partition("://")
    host, _, bucket = rest.partition("/")
    path = f"/{bucket}/{quote(key, safe='/~-._')}"
    parameters = "&".join(f"{name}={quote(query[name], safe='~-._')}" for name in sorted(query))
    canonical = "\n".join(("GET", path, parameters, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"))
    to_sign = "\n".join((ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    return f"{scheme}://{host}{path}?{parameters}&X-Goog-Signature={who.sign(to_sign)}"


def post_policy(address: Address, prefix: str, moment: str, until: float) -> dict[str, Any]:
    """A form that writes below `prefix`, as a key of the bucket, until `until` (epoch seconds)."""
    who = signer(address)
    fields = {
        "x-goog-algorithm": ALGORITHM,
        "x-goog-credential": f"{who.email}/{moment[:8]}/auto/storage/goog4_request",
        "x-goog-date": moment,
    }
    policy = {
        "expiration": datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [
            {"bucket": address.bucket},
            ["starts-with", "$key", prefix],
            ["content-length-range", 0, LARGEST_POST_BYTES],
            *({name: value} for name, value in fields.items()),
        ],
    }
    encoded = base64.b64encode(json.dumps(policy).encode()).decode()
    signed = {**fields, "policy": encoded, "x-goog-signature": who.sign(encoded)}
    return {"url": base_url(address), "fields": signed, "prefix": prefix}
