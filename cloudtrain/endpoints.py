"""Where a simulation's fake cloud listens: endpoints from the environment, honoured on this machine's loopback only."""

from __future__ import annotations

import os

from cloudtrain.errors import UsageError, visible

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def override(variable: str) -> str | None:
    """The endpoint in `variable`, without a slash at its end, or None when it is unset.

    Raises UsageError for one that is not on loopback: credentials must never travel to an address that somebody put
    into the environment.
    """
    from urllib.parse import urlsplit

    text = os.environ.get(variable, "").strip().rstrip("/")
    if not text:
        return None
    host = urlsplit(text if "://" in text else f"//{text}").hostname
    if host not in LOOPBACK:
        raise UsageError(f"{variable} is `{visible(text)}`, which is not on this machine", f"unset {variable}")
    return text
