"""With which credentials the client of a bucket asks, and where it gets them again when they end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudtrain.state import federated
from cloudtrain.state.address import Address
from cloudtrain.state.errors import CREDENTIALS, BucketDenied

ENDS = "AWS_CREDENTIAL_EXPIRATION"  # until when the keys in the environment are good
LOOK_AGAIN_S = 300.0  # how often a client that stays reads keys with an end again: they may have been renewed

KEYS = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
keys_change = threading.Lock()  # held by who reads those of the environment, or writes new ones
renewal: Callable[[], None] | None = None  # set by who can exchange keys anew; see `signing/keyless`


def keys_of_environment() -> tuple[str, str, str]:
    """Access key, secret and token ("" for none) that belong together, while another thread may be renewing them."""
    with keys_change:
        access, secret, token = (os.environ.get(f"AWS_{name}", "") for name in KEYS)
    return access, secret, token


def keys_of_now() -> dict[str, Any]:
    """Keys of the environment that end, for the client, which asks again after a while."""
    if renewal is not None:
        renewal()
    access, secret, token = keys_of_environment()
    return {
        "access_key_id": access,
        "secret_access_key": secret,
        "token": token or None,
        "expires_at": datetime.now(UTC) + timedelta(seconds=LOOK_AGAIN_S),
    }


def google_token(who: federated.External) -> dict[str, Any]:
    """Of an impersonated account, for the client, which asks again before its end."""
    found = federated.access(who)
    lasts_s = max(0.0, min(LOOK_AGAIN_S, found.ends - time.time()))
    return {"token": found.token, "expires_at": datetime.now(UTC) + timedelta(seconds=lasts_s)}


def amazon(address: Address) -> Any:
    """Amazon's whole chain (profiles, single sign-on, roles), as the engine has it. Raises BucketDenied without any."""
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except Exception as error:  # the SDK's errors are many, and each means the same here
        raise BucketDenied(
            f"state `{address.base}`: there are no credentials for it ({type(error).__name__})", CREDENTIALS["s3"]
        ) from None
