"""One request to AWS, with our time-out, our endpoint rule and our errors. Nothing else here talks to the SDK."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from cloudtrain.endpoints import override
from cloudtrain.errors import ProviderError, Unavailable
from cloudtrain.providers import Timing, effective_timing

from .._lifecycle.names import KEY

ENDPOINT = "AWS_ENDPOINT_URL"
REAL = Timing(request_s=60.0, in_flight_s=180.0, consistency_s=45.0, poll_s=5.0)
READ_TRIES = 3
_LOCK = threading.Lock()  # making a client is not safe in two threads; using it is


def times() -> Timing:
    """AWS's patience, or a simulation's."""
    return effective_timing(REAL, override(ENDPOINT) is not None)


def read(service: str, region: str, operation: str, **arguments: Any) -> dict[str, Any]:
    """The answer to a reading call (boto3's name of it), asked up to three times. Raises provider errors."""
    for attempt in range(1, READ_TRIES + 1):
        try:
            return _once(service, region, operation, False, arguments)
        except Unavailable:
            if attempt == READ_TRIES:
                raise
            time.sleep(times().poll_s * attempt)
    raise AssertionError


def read_once(service: str, region: str, operation: str, **arguments: Any) -> dict[str, Any]:
    """The answer to a reading call that costs money: asked once. Raises provider errors."""
    return _once(service, region, operation, False, arguments)


def read_all(service: str, region: str, operation: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
    """What is under `key` on every page."""
    from . import errors

    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    while True:
        page = read(service, region, operation, **arguments, **more)
        if not isinstance(page.get(key), list):
            raise errors.wrong_body(operation, False, f"no {key}")
        found += page[key]
        if not page.get("NextToken"):
            return found
        more = {"NextToken": page["NextToken"]}


def change(service: str, region: str, operation: str, **arguments: Any) -> dict[str, Any]:
    """The answer to a call that makes or removes something: one request, never repeated. Raises provider errors."""
    return _once(service, region, operation, True, arguments)


def dry_run(region: str, operation: str, **arguments: Any) -> ProviderError | None:
    """None when EC2 would perform the call, else why not."""
    try:
        _once("ec2", region, operation, False, {**arguments, "DryRun": True})
    except ProviderError as error:
        return None if "(DryRunOperation)" in error.message else error
    return None


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 and IAM want them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_of(thing: Mapping[str, Any]) -> dict[str, str]:
    """Tags as a dict."""
    return {tag["Key"]: tag["Value"] for tag in thing.get("Tags") or []}


def owner(thing: Mapping[str, Any]) -> str:
    """The run's key that a thing of EC2 carries; "" for none."""
    return tags_of(thing).get(KEY, "")


def _once(service: str, region: str, operation: str, mutating: bool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.parsers import ResponseParserError

    from . import errors

    try:
        client = _client(service, region)
        answer: dict[str, Any] = getattr(client, operation)(**arguments)
    except ClientError as error:
        raise errors.answered(error, mutating) from None
    except (BotoCoreError, HTTPClientError, ResponseParserError) as error:
        raise errors.unanswered(error, mutating) from None
    except errors.UNPARSED as error:  # out of the SDK's parser, which believes a 200
        raise errors.wrong_body(operation, mutating, type(error).__name__) from None
    removes = mutating and not operation.startswith(("create_", "run_"))  # whether it did, a list says afterwards
    if removes or not (expected := _members(client, operation)) or expected & answer.keys():
        return answer
    raise errors.wrong_body(operation, mutating, f"none of {', '.join(sorted(expected))}"[:120])


def _members(client: Any, operation: str) -> set[str]:
    """What the answer to an operation may hold, by AWS's own description; every real answer has something of it."""
    name = client.meta.method_to_api_mapping[operation]
    shape = client.meta.service_model.operation_model(name).output_shape
    return set(shape.members) if shape is not None else set()


def _client(service: str, region: str) -> Any:
    who = tuple(os.environ.get(f"AWS_{name}", "") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"))
    profile = os.environ.get("AWS_PROFILE", "")
    with _LOCK:
        return _made(service, region, override(ENDPOINT), times().request_s, hash((who, profile)))


@cache
def _session(who: int) -> Any:
    import boto3

    return boto3.session.Session()


@cache
def _made(service: str, region: str, endpoint: str | None, request_s: float, who: int) -> Any:
    """A client for these credentials. Configuration files and `AWS_ENDPOINT_URL_*` cannot lead it elsewhere."""
    from botocore.config import Config

    config = Config(
        connect_timeout=min(10.0, request_s),
        read_timeout=request_s,
        retries={"total_max_attempts": 1},
        ignore_configured_endpoint_urls=True,
        proxies={} if endpoint else None,
        user_agent_appid="cloudtrain",
    )
    return _session(who).client(service, region_name=region, endpoint_url=endpoint, config=config)
