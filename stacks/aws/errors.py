"""What an AWS error code means for us: the whole translation into provider errors, in one table."""

from __future__ import annotations

from typing import Any

from cloudtrain.errors import (
    MissingCredentials,
    NoCapacity,
    NotFound,
    Permission,
    ProviderError,
    Quota,
    Rejected,
    Unavailable,
    Unknown,
    visible,
)

SIGN_IN = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `aws sts get-caller-identity` checks them"
QUOTA_PAGE = "https://console.aws.amazon.com/servicequotas/home/services/ec2/quotas"
ALLOW = "ask for the actions in cloudtrain's templates/policies/aws.json"


class AlreadyThere(Rejected):
    """The name or the token was used before: the caller looks whether the thing is ours."""


_CODES: dict[type[ProviderError], str] = {
    AlreadyThere: "InvalidGroup.Duplicate EntityAlreadyExists ConflictException IdempotentParameterMismatch",
    # IdempotentInstanceTerminated: the token's machine came and went, so this attempt gets nothing more.
    NoCapacity: "InsufficientInstanceCapacity InsufficientCapacity InsufficientHostCapacity Unsupported "
    "InsufficientReservedInstanceCapacity InsufficientCapacityOnHost SpotMaxPriceTooLow IdempotentInstanceTerminated "
    "UnfulfillableCapacity",
    Quota: "VcpuLimitExceeded MaxSpotInstanceCountExceeded InstanceLimitExceeded VolumeLimitExceeded LimitExceeded "
    "MaxIOPSLimitExceeded SecurityGroupLimitExceeded ResourceLimitExceeded ServiceQuotaExceededException "
    "AddressLimitExceeded NetworkInterfaceLimitExceeded LimitExceededException",
    Permission: "UnauthorizedOperation AccessDenied AccessDeniedException OperationNotPermitted OptInRequired "
    "PendingVerification Blocked NotAuthorized UnauthorizedException",
    MissingCredentials: "AuthFailure ExpiredToken ExpiredTokenException InvalidClientTokenId InvalidAccessKeyId "
    "UnrecognizedClientException SignatureDoesNotMatch RequestExpired MissingAuthenticationToken "
    "IncompleteSignature InvalidSignatureException MissingAuthenticationTokenException InvalidToken",
    NotFound: "NoSuchEntity ResourceNotFoundException NoSuchResourceException ParameterNotFound",
    Unavailable: "RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled "
    "TooManyRequestsException DependencyViolation IncorrectState IncorrectInstanceState PriorRequestNotComplete "
    "EC2ThrottledException ConcurrentModification",
}
MEANING = {code: kind for kind, codes in _CODES.items() for code in codes.split()}


def answered(error: Any, mutating: bool) -> ProviderError:
    """The provider error for a `botocore.exceptions.ClientError`: the code first, the HTTP status after it.

    EC2 answers a definite lack of capacity with status 500, hence this order.
    """
    code = str(error.response.get("Error", {}).get("Code", ""))
    said = str(error.response.get("Error", {}).get("Message", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    # A refused signature's message quotes the request with its headers, and a refused permission's an encoded blob.
    said = visible(said.split(" Encoded authorization failure", maxsplit=1)[0], 240)
    kind = MEANING.get(code) or (NotFound if code.endswith(".NotFound") else None)
    if kind is None and status >= 500:
        kind = Unknown if mutating else Unavailable
    if "execution role you provide must allow" in said:
        return Unavailable("AWS does not know the new scheduler role yet", "try again in a few seconds")
    kind = kind or Rejected
    if kind is MissingCredentials:
        return MissingCredentials(f"AWS refuses the credentials ({code})", SIGN_IN)
    return kind(f"AWS: {said or 'no message'} ({code or status})", _hint(kind, code))


def _hint(kind: type[ProviderError], code: str) -> str:
    if kind is Quota:
        return f"ask for more at {QUOTA_PAGE}"
    if kind is Permission:
        return (
            ALLOW if code != "OptInRequired" else "finish signing up at https://console.aws.amazon.com/billing/signup"
        )
    return {NoCapacity: "another zone, region or market may have it", Unavailable: "try again in a minute"}.get(
        kind, ""
    )


UNPARSED = (LookupError, TypeError, ValueError, AttributeError)


def wrong_body(operation: str, mutating: bool, what: str) -> ProviderError:
    """The provider error for an answer of status 200 that is none to this operation."""
    kind = Unknown if mutating else Unavailable
    return kind(f"AWS answered {operation} with something else than was asked for ({what})", "try again")


def unanswered(error: Exception, mutating: bool) -> ProviderError:
    """The provider error for a botocore exception without an answer of AWS in it."""
    from botocore import exceptions as sdk

    name = type(error).__name__
    credentials = (
        *(sdk.NoCredentialsError, sdk.PartialCredentialsError, sdk.ProfileNotFound, sdk.CredentialRetrievalError),
        *(sdk.TokenRetrievalError, sdk.SSOError, sdk.ConfigParseError, sdk.InvalidConfigError, sdk.NoAuthTokenError),
    )
    if isinstance(error, credentials):
        return MissingCredentials(f"no usable AWS credentials ({name})", SIGN_IN)
    if isinstance(error, sdk.ParamValidationError):
        return Rejected(f"the request to AWS is malformed: {visible(str(error), 240)}")
    not_sent = (sdk.EndpointConnectionError, sdk.ConnectTimeoutError, sdk.SSLError, sdk.ProxyConnectionError)
    if isinstance(error, not_sent):
        return Unavailable(f"AWS cannot be reached ({name})", "try again")
    if mutating:
        return Unknown(f"AWS was asked and gave no answer ({name})")
    return Unavailable(f"AWS does not answer ({name})", "try again")
