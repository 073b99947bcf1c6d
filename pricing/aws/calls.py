"""Reading calls of AWS for its prices: one deadline for all, bounded answers, every page, errors in our words."""

from __future__ import annotations

from collections.abc import Mapping
from time import sleep
from typing import Any

from cloudtrain.endpoints import override
from cloudtrain.errors import MissingCredentials, Permission, ProviderError, Rejected, Unavailable, visible
from cloudtrain.providers import Timing, effective_timing

from .._http import MOST_BYTES, Patience

ENDPOINT = "AWS_ENDPOINT_URL"
SIGN_IN = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
ALLOW = "allow pricing:GetProducts and ec2:DescribeSpotPriceHistory"
TRIES = 5  # of one call
BEGINNINGS = 3  # of one list whose token expired on the way
MOST_PAGES = 2000
MOST_EMPTY = 20  # pages without an entry, one after the other
CREDENTIALS = (
    *("AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"),
    *("SignatureDoesNotMatch", "RequestExpired", "InvalidSignatureException", "RequestTimeTooSkewed"),
)
SKEWED = ("RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException")
BUSY = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException")
LOST_PLACE = (
    *("ExpiredNextTokenException", "InvalidNextTokenException", "InvalidNextToken", "InvalidPaginationToken"),
    "InvalidParameterValue",  # what EC2 says of some tokens
)
UNPARSED = (LookupError, TypeError, ValueError, AttributeError)  # out of the SDK's parser, which believes a 200


class _Passing(Unavailable):
    """What may be over at the next try."""


class _LostPlace(Exception):
    """The token of the next page is not known any more."""


class Calls:
    """What is asked in one refresh. A client for each region, made when it is needed."""

    def __init__(self, seconds: float) -> None:
        self._patience = Patience(seconds)
        self._endpoint = override(ENDPOINT)
        self._timing = effective_timing(Timing(request_s=30.0, poll_s=0.5), self._endpoint is not None)
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}

    def entries(self, service: str, region: str, operation: str, key: str, **arguments: Any) -> list[Any]:
        """All that stands under `key` on every page; whole, or a provider error and nothing of it."""
        for _ in range(BEGINNINGS):
            try:
                return self._pages(service, region, operation, key, arguments)
            except _LostPlace:
                continue
        raise Unavailable("AWS forgets between two pages where it was", "try again")

    def _pages(self, service: str, region: str, operation: str, key: str, arguments: Mapping[str, Any]) -> list[Any]:
        found: list[Any] = []
        tokens: set[str] = set()
        pages: set[int] = set()
        empty = 0
        token: dict[str, str] = {}
        while len(tokens) < MOST_PAGES:
            answer = self._patiently(service, region, operation, {**arguments, **token})
            page = answer.get(key, [] if service == "ec2" else None)
            if not isinstance(page, list):
                raise _something_else()
            empty = 0 if page else empty + 1
            if (page and hash(repr(page)) in pages) or empty > MOST_EMPTY:
                raise Unavailable("AWS sends the same page again and again", "nothing was taken from it")
            pages.add(hash(repr(page)))
            found += page
            following = answer.get("NextToken")
            if not following:
                return found
            if following in tokens:
                raise Unavailable("AWS names a page as the next one that was read before", "nothing was taken from it")
            tokens.add(following)
            token = {"NextToken": following}
        raise Unavailable("AWS has no last page", "nothing was taken from it")

    def _patiently(self, service: str, region: str, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """An answer, after a few tries where AWS was busy or an answer was spoiled on the way."""
        for attempt in range(TRIES):
            try:
                return self._once(service, region, operation, arguments)
            except _Passing as error:
                wait_s = self._timing.poll_s * 2**attempt
                if attempt == TRIES - 1 or wait_s >= self._patience.left_s:
                    raise Unavailable(error.message, error.hint) from None
                sleep(wait_s)
        raise AssertionError("the loop returns or raises")

    def _once(self, service: str, region: str, operation: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from botocore import exceptions as sdk
        from botocore.parsers import ResponseParserError

        if not self._patience.left_s:
            raise _too_slow()
        try:
            answer: dict[str, Any] = getattr(self._client(service, region), operation)(**arguments)
        except sdk.ClientError as error:
            if "NextToken" in arguments and error.response["Error"].get("Code") in LOST_PLACE:
                raise _LostPlace from None
            raise refused(error) from None
        except (sdk.BotoCoreError, sdk.HTTPClientError) as error:
            raise _without_answer(error) from None
        except (ResponseParserError, *UNPARSED):
            raise _something_else() from None
        return answer

    @property
    def _call_s(self) -> float:
        """How long one call may take: never more than half of what is left, so that one that hangs is not the last."""
        return min(self._timing.request_s, max(0.1, self._patience.left_s / 2))

    def _client(self, service: str, region: str) -> Any:
        import boto3
        from botocore.config import Config

        if (service, region) not in self._clients:
            self._session = self._session or boto3.session.Session()
            longest_s = self._call_s
            config = Config(
                connect_timeout=min(10.0, longest_s),
                read_timeout=longest_s,
                retries={"total_max_attempts": 1},
                ignore_configured_endpoint_urls=True,
                proxies={} if self._endpoint else None,
            )
            client = self._session.client(service, region_name=region, endpoint_url=self._endpoint, config=config)
            sends = client._endpoint.http_session.send  # with its certificates and proxies; nothing public leads there

            def read(request: Any, event_name: str, **_: Any) -> Any:
                return self._read(sends, request, event_name)

            client.meta.events.register("before-send", read)
            self._clients[service, region] = client
        return self._clients[service, region]

    def _read(self, sends: Any, request: Any, event_name: str) -> Any:
        """botocore's own sending; but it would read an answer for as long as bytes come, and believe a part of one."""
        from botocore.awsrequest import AWSResponse
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        patience = Patience(self._call_s)
        request.stream_output = True
        reply = sends(request)
        try:
            body = _whole_body(reply.raw, patience)
        except ReadTimeoutError:
            raise _too_slow() from None
        except HTTPError as error:
            raise _Passing(f"AWS breaks off an answer ({type(error).__name__})", "try again in a minute") from None
        finally:
            reply.raw.release_conn()  # closed before that where something of the answer is still to come
        said = reply.headers.get("Content-Length")
        if said is not None and said != str(len(body)):
            raise _Passing("AWS breaks off an answer", "try again in a minute")
        _, service, operation = event_name.split(".")
        is_it = f"<{operation}Response".encode() in body[:300] if service == "ec2" else body.lstrip()[:1] == b"{"
        if reply.status_code == 200 and not is_it:
            raise _something_else()
        return AWSResponse(reply.url, reply.status_code, reply.headers, _Whole(body))


class _Whole:
    """A body that is read already, as botocore reads one."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return [self._body]


def _whole_body(raw: Any, patience: Patience) -> bytes:
    parts: list[bytes] = []
    size = 0
    some = getattr(raw, "read1", raw.read)  # what has come by now, where urllib3 can give that
    while part := some(1 << 16):
        size += len(part)
        parts.append(part)
        if size > MOST_BYTES or not patience.left_s:
            raw.close()
            if size > MOST_BYTES:
                raise Unavailable(f"AWS answers with more than {MOST_BYTES >> 20} MiB", "nothing was taken from it")
            raise _too_slow()
    return b"".join(parts)


def _something_else() -> Unavailable:
    return _Passing("AWS answers with something else than was asked for", "nothing was taken from it; try again")


def _too_slow() -> Unavailable:
    return Unavailable("AWS did not answer in time", "try again, or give it longer with --timeout")


def _without_answer(error: Exception) -> ProviderError:
    from botocore import exceptions as sdk

    name = type(error).__name__
    if "Credential" in name or "Profile" in name or "SSO" in name or "Token" in name:
        return MissingCredentials(f"no usable AWS credentials ({name})", SIGN_IN)
    if isinstance(error, sdk.ConnectionClosedError):
        return _Passing(f"AWS does not answer ({name})", "try again")
    return Unavailable(f"AWS does not answer ({name})", "try again")


def refused(error: Any) -> ProviderError:
    """The provider error for an answer that is an error."""
    code = str(error.response["Error"].get("Code", ""))
    said = str(error.response["Error"].get("Message", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in CREDENTIALS:
        return MissingCredentials(
            f"AWS refuses the credentials ({code})",
            "set this machine's clock" if code in SKEWED else SIGN_IN,
        )
    if status == 403 or code in ("UnauthorizedOperation", "AccessDeniedException", "OptInRequired"):
        return Permission(f"AWS does not let these credentials ask for prices ({code})", ALLOW)
    if status >= 500 or status == 429 or code in BUSY:
        return _Passing(f"AWS cannot answer now ({code or status})", "try again in a minute")
    return Rejected(f"AWS: {visible(said, 200)} ({code})")
