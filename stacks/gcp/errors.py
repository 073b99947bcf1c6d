"""What Google's error codes mean, as provider errors: one table for REST, for operations and for gRPC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cloudtrain.errors import (
    Balance,
    MissingCredentials,
    NoCapacity,
    NotFound,
    Permission,
    ProviderError,
    Quota,
    Rejected,
    Unavailable,
    visible,
)


class AlreadyThere(Rejected):
    """Something has the name. Whoever asked looks whether it is ours; unless it is, this is our request's fault."""


QUOTA_PAGE = "https://console.cloud.google.com/iam-admin/quotas"
QUOTAS = f"ask for more at {QUOTA_PAGE}"
_QUOTA_NAME = re.compile(r"quota (?:limit )?'([\w-]{3,100})'", re.IGNORECASE)
ACCOUNT = "`cloudtrain doctor gcp` prints the commands that make the account for machines, and let you use it"
SIGN_IN = (
    "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file, which a state in gs:// needs; with one in "
    "s3:// `gcloud auth application-default login` does"
)

# Texts come first: Google uses one code for several things, and the message tells which.
_BY_TEXT: tuple[tuple[str, type[ProviderError], str], ...] = (
    ("per minute", Unavailable, "try again in a minute"),
    ("rate_limit_exceeded", Unavailable, "try again in a minute"),
    ("no more capacity", NoCapacity, "try another zone"),
    ("stockout", NoCapacity, "try another zone"),
    ("does not have enough resources", NoCapacity, "try another zone"),
    ("billing", Balance, "open a billing account: https://console.cloud.google.com/billing"),
    ("is not allowed to use the machine type", Permission, "rent this chip through the Cloud TPU API"),
    ("constraints/", Permission, "an organisation policy forbids it; ask your administrator"),
    ("has not been used in project", Permission, "enable it: https://console.cloud.google.com/apis/library"),
    ("quota limit", Quota, QUOTAS),
    ("being used by", Unavailable, "try again when it is free"),
)
# Of the account as which a machine runs; a 404 that says so is about the account, not about what was asked for.
_OF_THE_ACCOUNT = ("of type 'serviceaccount' was not found", "access to service account", "iam.serviceaccounts.actas")
_BY_CODE: dict[str, tuple[type[ProviderError], str]] = {
    "ZONE_RESOURCE_POOL_EXHAUSTED": (NoCapacity, "try another zone"),
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": (NoCapacity, "try another zone"),
    "RESOURCE_POOL_EXHAUSTED": (NoCapacity, "try another zone"),
    "STOCKOUT": (NoCapacity, "try another zone"),
    "INTERNAL_ERROR": (NoCapacity, "minutes into the start this means no capacity; try another zone"),
    "QUOTA_EXCEEDED": (Quota, QUOTAS),
    "quotaExceeded": (Quota, QUOTAS),
    "RESOURCE_EXHAUSTED": (Quota, QUOTAS),
    "rateLimitExceeded": (Unavailable, "try again in a minute"),
    "userRateLimitExceeded": (Unavailable, "try again in a minute"),
    "RATE_LIMIT_EXCEEDED": (Unavailable, "try again in a minute"),
    "RESOURCE_OPERATION_RATE_EXCEEDED": (Unavailable, "try again in a minute"),
    "resourceNotReady": (Unavailable, "try again in a minute"),
    "RESOURCE_NOT_READY": (Unavailable, "try again in a minute"),
    "resourceInUseByAnotherResource": (Unavailable, "try again when it is free"),
    "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": (Unavailable, "try again when it is free"),
    "conditionNotMet": (Unavailable, "try again"),
    "UNAVAILABLE": (Unavailable, "try again"),
    "ABORTED": (Unavailable, "try again"),
    "notFound": (NotFound, ""),
    "NOT_FOUND": (NotFound, ""),
    "RESOURCE_NOT_FOUND": (NotFound, ""),
    "alreadyExists": (AlreadyThere, "the name is in use by a resource that is not ours"),
    "ALREADY_EXISTS": (AlreadyThere, "the name is in use by a resource that is not ours"),
    "RESOURCE_ALREADY_EXISTS": (AlreadyThere, "the name is in use by a resource that is not ours"),
    "forbidden": (Permission, "give this account the role in templates/policies/gcp.yaml"),
    "PERMISSION_DENIED": (Permission, "give this account the role in templates/policies/gcp.yaml"),
    "PERMISSIONS_ERROR": (Permission, "give this account the role in templates/policies/gcp.yaml"),
    "accessNotConfigured": (Permission, "enable it: https://console.cloud.google.com/apis/library"),
    "SERVICE_DISABLED": (Permission, "enable it: https://console.cloud.google.com/apis/library"),
    "authError": (MissingCredentials, SIGN_IN),
    "UNAUTHENTICATED": (MissingCredentials, SIGN_IN),
}
_BY_STATUS: dict[int, tuple[type[ProviderError], str]] = {
    401: (MissingCredentials, SIGN_IN),
    402: (Balance, "open a billing account: https://console.cloud.google.com/billing"),
    403: (Permission, "give this account the role in templates/policies/gcp.yaml"),
    404: (NotFound, ""),
    409: (Unavailable, "try again"),  # a conflict that does not say that the name is taken passes
    412: (Unavailable, "try again"),
    429: (Unavailable, "try again in a minute"),
}


def refusal(document: Mapping[str, Any], status: int = 0) -> ProviderError:
    """The error in a Google document, not raised: an HTTP error's, or an operation that failed.

    `document` has `error` with `message`, `status` and `errors[]` of `reason` (HTTP) or `code` (operation); for gRPC,
    give {"error": {"status": code.name, "message": details}}.
    """
    error = document.get("error") or {}
    if not isinstance(error, Mapping):
        error = {"message": str(error)}
    parts = [part for part in (error.get("errors") or []) if isinstance(part, Mapping)]
    details = [part for part in (error.get("details") or []) if isinstance(part, Mapping)]
    codes = [str(part.get(key)) for part in parts for key in ("code", "reason") if part.get(key)]
    codes += [str(part["reason"]) for part in details if part.get("reason")]
    codes += [str(error[key]) for key in ("status", "code") if error.get(key)]
    message = str(error.get("message") or next((part["message"] for part in parts if part.get("message")), "") or codes)
    return provider_error(codes, message, status)


def provider_error(codes: list[str], message: str, status: int = 0) -> ProviderError:
    """The error for codes in order of trust, Google's message, and an HTTP status. Anything unknown is Rejected."""
    text = " ".join([*codes, message]).lower()
    code = codes[0] if codes else str(status)
    said = f"Google answers {visible(code, 60)}: {visible(message, 200)}"
    if any(part in text for part in _OF_THE_ACCOUNT):
        return Permission(said, ACCOUNT)
    if status != 404:
        for part, kind, hint in _BY_TEXT:
            if part in text:
                return kind(said, _named(hint, message))
    for each in codes:
        if each in _BY_CODE:
            kind, hint = _BY_CODE[each]
            return kind(said, _named(hint, message))
    kind, hint = _BY_STATUS.get(status, (Rejected, "this is a defect in cloudtrain's request; please report it"))
    return kind(said, hint)


def _named(hint: str, message: str) -> str:
    """The hint about quotas with the quota's own name in it, by which its page finds it."""
    name = _QUOTA_NAME.search(message)
    return f"ask for more of {name[1]} at {QUOTA_PAGE}" if name and hint == QUOTAS else hint
