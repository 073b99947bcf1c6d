"""Which credentials the state is reached with, until when they are good, and what is missing for a night from CI."""

from __future__ import annotations

from collections.abc import Iterator

from cloudtrain import settings
from cloudtrain.errors import CloudtrainError
from cloudtrain.providers import Finding
from cloudtrain.signing import expiry, gcs, keyless, urls
from cloudtrain.signing.keyless import amazon
from cloudtrain.units import hours, rfc3339

WHAT = "credentials of the state"


def findings(now: float) -> Iterator[Finding]:
    """Of a state in a bucket: whose they are and their end; nothing for a folder.

    They are taken first: providers are asked with them too.
    """
    try:
        keyless.take()
    except CloudtrainError as error:
        yield Finding("keyless", "problem", error.message, error.hint, False)
        return
    try:
        state = settings.load().state
    except CloudtrainError:  # told as what is wrong with the state
        return
    if not state.startswith(("s3://", "gs://")):
        return
    try:
        who, limit = description(state), expiry.limit(state, now)
    except CloudtrainError as error:
        yield Finding(WHAT, "problem", error.message, error.hint, False)
        return
    if limit.warning:
        yield Finding(WHAT, "problem", f"{who}: {limit.warning}", "`up` refuses them without --accept-risk", False)
        return
    lasts = f"a machine that is rented now lives until {rfc3339(limit.deadline)} at the latest ({limit.why})"
    yield Finding(WHAT, "ok", f"{who}; {lasts}")
    held = amazon.lasting()
    if held is not None and held[1] < amazon.LONGEST_HOURS:
        yield Finding("role", "problem", amazon.advice(held[1]), "longer runs go on in segments until then", False)
    elif limit.deadline - now < expiry.LEAST_S:
        yield Finding(WHAT, "problem", f"they end in {hours(limit.deadline - now)}", "renew them", False)


def description(state: str) -> str:
    """Whose they are. Raises BucketDenied, UsageError."""
    address = urls.bucket_of(state)
    if address.scheme == "gs":
        who = gcs.signer(address)
        kept = "signed for by Google's IAM service" if isinstance(who, gcs.IamSigner) else "with a key of its own"
        return f"service account {who.email}, {kept}"
    if amazon.is_ours():
        return f"keyless: role {amazon.role_name()}, exchanged for this job's identity"
    found = urls.signer(address)
    return f"access key {found.access[:4]}..., {'temporary' if found.token else 'without an end'}"
