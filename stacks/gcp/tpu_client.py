"""One call to the Cloud TPU API by gRPC, and what its failing means."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cloudtrain import endpoints
from cloudtrain.errors import MissingCredentials, ProviderError, Unavailable, Unknown

from . import rest
from .errors import refusal

# After these it is unknown whether a mutating call was performed.
_DOUBTFUL = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN", "CANCELLED", "DATA_LOSS"})
_NEVER_SENT = ("failed to connect", "name resolution", "dns resolution")


def ask(verb: str, request: Any, *, mutating: bool) -> Any:
    """The answer of `TpuClient.<verb>`: one request, no repeat, the timing's time-out.

    Raises Unavailable when the call was not sent, not taken, or only read; Unknown when it may have been performed;
    else what Google's refusal means.
    """
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError

    tpu = _client(endpoints.override(rest.TPU_ENDPOINT))
    try:
        return getattr(tpu, verb)(request=request, retry=None, timeout=rest.timing().request_s)
    except exceptions.GoogleAPICallError as error:
        code = error.grpc_status_code.name if error.grpc_status_code else "UNKNOWN"
        raise provider_error(code, str(error.message), mutating) from None
    except GoogleAuthError as error:
        raise MissingCredentials(f"Google refuses the credentials ({type(error).__name__})", rest.HINT) from None


def provider_error(code: str, message: str, mutating: bool) -> ProviderError:
    """The error for a gRPC status, not raised."""
    text = message.lower()
    if "metadata from plugin failed" in text:  # no token, so nothing was sent
        return MissingCredentials("Google refuses the credentials", rest.HINT)
    if code in _DOUBTFUL:
        if mutating and not any(part in text for part in _NEVER_SENT):
            return Unknown(f"the Cloud TPU API was asked and gave no answer ({code})")
        return Unavailable(f"the Cloud TPU API does not answer ({code})", "try again")
    return refusal({"error": {"status": code, "message": message}})


@lru_cache(maxsize=4)
def _client(endpoint: str | None) -> Any:
    """The client; a fake's channel carries no credentials. Raises Unavailable in a simulation without a TPU fake."""
    from google.cloud.tpu_v2.services.tpu import TpuClient
    from google.cloud.tpu_v2.services.tpu.transports import TpuGrpcTransport

    if endpoint is None:
        if rest.simulating():
            raise Unavailable("this simulation has no Cloud TPU API", f"set {rest.TPU_ENDPOINT}")
        return TpuClient(credentials=rest.credentials())
    import grpc

    # No proxy on the way to a fake, and no second try below us.
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0), ("grpc.max_reconnect_backoff_ms", 200)]
    return TpuClient(transport=TpuGrpcTransport(channel=grpc.insecure_channel(endpoint, options=options)))
