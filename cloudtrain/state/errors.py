"""What went wrong with a bucket, as a message that names it and a hint how to fix it."""

from __future__ import annotations

import re

from cloudtrain.errors import UsageError, visible
from cloudtrain.state.address import Address

CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to a service account's key file: rented jobs need it "
    "(`gcloud auth application-default login` does for looking at the state alone)",
}
RIGHTS = {
    "s3": "it needs s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there",
    "gs": "it needs the role Storage Object User there",
}
UNSIGNED = ("InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
NOBODY = ("169.254", "metadata", "CredentialsError", "credential", "service account file")
ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint", "301 Moved")
UNCONDITIONAL = ("NotImplemented", "501 ")
OURS = re.compile(r"https?://(?!169\.254|metadata)\S+")  # what was asked for: a key can hold any word and number


class BucketDenied(UsageError):
    """No credentials for the bucket, wrong ones, or ones without the right."""

    exit_code = 4


class BucketUnreachable(UsageError):
    """The bucket gave no answer, or none that means anything."""

    exit_code = 1


class StrangeKey(UsageError):
    """A folder of the bucket holds an object whose name is none, such as `a//b`: the client refuses to list it."""


def explain(address: Address, error: Exception) -> UsageError:  # a table, in an order
    """The error of the bucket as one of ours. Nothing of a request but its verdict is repeated: it may be signed."""
    text, kind, where = OURS.sub("", str(error)), type(error).__name__, f"state `{address.base}`"
    credentials = CREDENTIALS[address.scheme]
    if is_no_bucket(error) or kind == "InvalidPathError" or "invalid path" in text:
        return misplaced(address, error)
    if "RequestTimeTooSkewed" in text:
        return UsageError(f"{where}: it refuses us because the clock is wrong here", "set this machine's clock")
    if any(word in text for word in ELSEWHERE):
        return UsageError(f"{where}: the bucket is in another region", f"write {address.base}?region=REGION")
    if kind == "UnauthenticatedError" or any(word in text for word in UNSIGNED):
        return BucketDenied(f"{where}: the credentials are wrong or have expired", credentials)
    if kind == "PermissionDeniedError":
        return BucketDenied(f"{where}: these credentials may not use it", RIGHTS[address.scheme])
    if kind == "NotSupportedError" or any(word in text for word in UNCONDITIONAL):
        return UsageError(f"{where}: it has no conditional writes", "use another bucket, or a folder of this machine")
    if any(word in text for word in NOBODY):
        return BucketDenied(f"{where}: there are no credentials for it", credentials)
    return BucketUnreachable(
        f"{where} cannot be reached: {verdict(text)}", "try again; `cloudtrain sweep` ends machines without any state"
    )


def misplaced(address: Address, error: Exception) -> UsageError:
    """The error about a bucket that is not there, or about an object in it that is none of ours."""
    where = f"state `{address.base}`"
    if is_no_bucket(error):
        return UsageError(
            f"{where}: there is no bucket `{address.bucket}`", "make it, or set another place with CLOUDTRAIN_STATE"
        )
    named = re.search(r'"([^"]*)"', str(error))
    what = visible(named[1]) if named else "one of its objects"
    return StrangeKey(f"{where}: no document is called `{what}`", "remove that object with the provider's own tools")


def is_no_bucket(error: Exception) -> bool:
    """Whether it says that the bucket itself is missing, and not only an object in it."""
    return "NoSuchBucket" in str(error) or "bucket does not exist" in str(error)


def is_behind_the_end(error: Exception) -> bool:
    """Whether it says that an object, also an empty one, ends before the bytes that were asked for."""
    return verdict(OURS.sub("", str(error))).startswith("416")


def verdict(text: str) -> str:
    """The end of the first line of the client's message, where it says what happened."""
    last = (text.splitlines() or ["no answer"])[0].rpartition(" - ")[2]
    code = re.search(r"<Code>([A-Za-z]+)</Code>", text)
    plain = re.sub(r"https?://\S+", "", last.partition(": <")[0].replace("Server returned non-2xx status code: ", ""))
    return f"{plain.strip()[:160]}" + (f" ({code[1]})" if code else "")
