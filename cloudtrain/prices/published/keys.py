"""Ed25519 signatures over a manifest: whose counts, and how one is made. No error holds a key."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain.errors import UsageError
from cloudtrain.files import read_beginning
from cloudtrain.prices.published import origin

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MOST_BYTES = 4096  # of a key's file
MAKE_ONE = "make one as docs/published-prices.md says: `openssl genpkey -algorithm ed25519`"


def believed(files: Sequence[Path]) -> list[Ed25519PublicKey]:
    """The keys in these files, else those of this version. Raises UsageError where there is none."""
    found = [in_file(path) for path in files] or [_shipped(text) for text in origin.PUBLIC_KEYS]
    if not found:
        raise UsageError(
            "this version believes no signature yet, because nothing is published: there is no public key in it",
            "name the publisher's with --public-key FILE",
        )
    return found


def in_file(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file. Raises UsageError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(read_beginning(path, MOST_BYTES))
    except OSError as error:
        raise UsageError(f"cannot read `{path}`: {error.strerror or error}", "--public-key takes a PEM file") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"`{path}` holds no public key", "--public-key takes what `openssl pkey -pubout` writes"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"the key in `{path}` is none of Ed25519", MAKE_ONE)
    return key


def _shipped(text: str) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(base64.b64decode(text))
    assert isinstance(key, Ed25519PublicKey)
    return key


def check(data: bytes, signature: bytes, keys: Sequence[Ed25519PublicKey]) -> None:
    """Raises UsageError unless one of the keys has signed these very bytes."""
    from cryptography.exceptions import InvalidSignature

    for key in keys:
        try:
            return key.verify(signature, data)
        except InvalidSignature:
            continue
    raise UsageError(
        "the catalogue's signature is none of the publisher's: nothing was taken",
        "it may have been replaced just now: try again in a minute; if that does not help, it is not the publisher's",
    )


def private(variable: str) -> Ed25519PrivateKey:
    """The private key (PEM) in an environment variable. Raises UsageError, which never shows it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if "PRIVATE" in variable and "-" in variable:
        raise UsageError(
            "--key-env takes the name of a variable, and this looks like a key itself",
            "other users and the shell's history see a command line: make another key pair",
        )
    text = os.environ.get(variable, "").strip()
    if not text:
        raise UsageError(f"the variable `{variable}` of --key-env is not set", MAKE_ONE)
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
        raise UsageError(f"`{variable}` holds no private key without a password", MAKE_ONE) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"the key in `{variable}` is none of Ed25519", MAKE_ONE)
    return key


def sign(data: bytes, key: Ed25519PrivateKey) -> bytes:
    """64 bytes. Raises UsageError for a key that this version would not believe, where it believes any."""
    signature = key.sign(data)
    if origin.PUBLIC_KEYS:
        from cryptography.exceptions import InvalidSignature

        for public in believed(()):
            try:
                public.verify(signature, data)
            except InvalidSignature:
                continue
            return signature
        raise UsageError(
            "the private key belongs to none of the public keys of this version: nobody could use what it signs",
            "add its public key to PUBLIC_KEYS first, and publish with it once that version is out",
        )
    return signature
