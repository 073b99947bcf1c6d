"""Signed addresses of Google Cloud Storage: the same as `presign`, with the key of a service account.

Source: Cloud Storage documentation, "V4 signing process" (query parameters) and "Signatures: policy documents" (POST).
An RSA signature of this kind has no chance in it: the same text and key give the same address.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.signing.sigv4 import Signing
from cloudtrain.state.address import Address
from cloudtrain.state.errors import BucketDenied

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
    kind = f"those in `{path}` have none" if path else "the login of a person or a machine has none"
    raise BucketDenied(
        f"{where}: a rented machine reaches it by signed addresses, which take a service account's private key: {kind}",
        HINT,
    )


def base_url(address: Address) -> str:
    """Where the bucket answers."""
    return f"{address.endpoint or 'https://storage.googleapis.com'}/{address.bucket}"


def signing(address: Address, moment: str) -> Signing:
    """How the client signs at a moment (20261124T120000Z)."""
    who = signer(address)
    return Signing(ALGORITHM, "X-Goog", who.email, f"{moment[:8]}/auto/storage/goog4_request", moment, who.sign)
