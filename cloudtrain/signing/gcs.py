"""Signed addresses of Google Cloud Storage: the same as `presign`, with the key of a service account.

The key is in a file, or Google keeps it, and its IAM service signs for a CI job that may act as the account.
Source: Cloud Storage documentation, "V4 signing process" (query parameters) and "Signatures: policy documents" (POST);
IAM Credentials API, `signBlob`. An RSA signature of this kind has no chance in it: the same text and key give the same
address.
"""

from __future__ import annotations

import base64
import json
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.signing.sigv4 import Signing
from cloudtrain.state import federated
from cloudtrain.state.address import Address
from cloudtrain.state.errors import BucketDenied

ALGORITHM = "GOOG4-RSA-SHA256"
KEY_FILES = federated.KEY_FILES
HINT = "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account, or use a state in s3://"
LARGEST_POST_BYTES = 5 << 40  # Google's limit for an object
IAM_SIGNATURE_S = 12 * 3600.0  # "at least": Google renews the key that it keeps, and an older signature may be refused
REMEMBERED = 4096  # signatures: whoever repeats the call that makes the machine asks for the same ones


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


class IamSigner(NamedTuple):
    """A service account whose key Google keeps, and the CI job's credentials that let it sign."""

    email: str
    by: federated.External

    def sign(self, text: str) -> str:
        """As `Signer.sign`, by one call to Google."""
        return signed_by_iam(self.email, self.by.path, text)


@lru_cache(maxsize=REMEMBERED)
def signed_by_iam(email: str, path: str, text: str) -> str:
    """The signature of the account in hexadecimal digits. Raises BucketDenied, Unavailable."""
    who = federated.external()
    if who is None or (who.email, who.path) != (email, path):
        raise BucketDenied(f"the credentials in `{path}` have changed", federated.HINT)
    url = who.impersonation.removesuffix("generateAccessToken") + "signBlob"
    body = {"payload": base64.b64encode(text.encode()).decode()}
    lacks = f"`{email}` may not sign for itself: it lacks roles/iam.serviceAccountTokenCreator on itself"
    command = (
        f"gcloud iam service-accounts add-iam-policy-binding {email} --member=serviceAccount:{email} "
        "--role=roles/iam.serviceAccountTokenCreator"
    )
    said = federated.call(url, federated.access(who), body, (lacks, command))
    try:
        return base64.b64decode(str(said["signedBlob"]), validate=True).hex()
    except (KeyError, ValueError):
        raise BucketDenied("Google Cloud: no signature is in the answer of its IAM service", federated.HINT) from None


@cache
def private_key(pem: str) -> Any:
    """The key of a PEM text; read once, because that takes longer than to sign."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(pem.encode(), None)


def signer(address: Address) -> Signer | IamSigner:
    """The service account that the client works as. Raises BucketDenied for credentials that cannot sign."""
    path, where = federated.key_file(), f"state `{address.base}`"
    if (who := federated.external()) is not None:
        if not who.email:
            raise BucketDenied(
                f"{where}: signed addresses take a service account, and `{path}` impersonates none",
                "name one: `service_account` of google-github-actions/auth, or see docs/keyless.md",
            )
        return IamSigner(who.email, who)
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
