"""Google's words, as seen in the field, and the closed set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError

from cloudtrain import errors

google = import_module("cloudtrain.stacks.gcp.errors")
rest = import_module("cloudtrain.stacks.gcp.rest")


@pytest.mark.parametrize(
    ("status", "code", "words", "kind"),
    [
        (0, "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", "The zone does not have enough", errors.NoCapacity),
        (0, "INTERNAL_ERROR", "Internal error. Please try again", errors.NoCapacity),
        (429, "RESOURCE_EXHAUSTED", "There is no more capacity in the zone", errors.NoCapacity),
        (429, "RESOURCE_EXHAUSTED", "Quota limit 'TPUV6EPerProjectPerZoneForTPUAPI' exceeded", errors.Quota),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded for 'Read requests per minute'", errors.Unavailable),
        (403, "quotaExceeded", "Quota 'CPUS' exceeded. Limit: 24.0", errors.Quota),
        (403, "rateLimitExceeded", "Rate Limit Exceeded", errors.Unavailable),
        (403, "forbidden", "Required 'compute.instances.create' permission", errors.Permission),
        (403, "forbidden", "This user agent is not allowed to use the machine type [ct5lp]", errors.Permission),
        (403, "accessNotConfigured", "Compute Engine API has not been used in project 1", errors.Permission),
        (412, "conditionNotMet", "Constraint constraints/compute.vmExternalIpAccess violated", errors.Permission),
        (403, "billingNotEnabled", "The billing account is disabled", errors.Balance),
        (401, "authError", "Invalid Credentials", errors.MissingCredentials),
        (404, "notFound", "The resource 'projects/billing/zones/z' was not found", errors.NotFound),
        (409, "alreadyExists", "The resource already exists", errors.Rejected),
        (409, "somethingElse", "A conflict", errors.Unavailable),
        (400, "resourceNotReady", "The resource is not ready", errors.Unavailable),
        (400, "resourceInUseByAnotherResource", "x is already being used by y", errors.Unavailable),
        (400, "invalid", "Invalid value", errors.Rejected),
        (400, "", "never seen before", errors.Rejected),
    ],
)
def test_each_of_googles_answers_has_its_meaning(
    status: int, code: str, words: str, kind: type[errors.ProviderError]
) -> None:
    document = {"error": {"code": status, "message": words, "errors": [{"reason": code, "message": words}]}}
    error = google.refusal(document, status)
    assert isinstance(error, kind)
    assert words[:20] in error.message
    assert error.hint or isinstance(error, errors.NotFound)


def test_an_operations_error_is_read_from_its_first_part() -> None:
    document = {"error": {"errors": [{"code": "QUOTA_EXCEEDED", "message": "Quota 'X' exceeded."}]}}
    assert type(google.refusal(document)) is errors.Quota


@pytest.mark.parametrize(
    "message",
    [
        "Quota 'PREEMPTIBLE-TPU-V6E-per-project-region' exceeded. Limit: 0.0 in region us-east5.",
        "Quota limit 'TPUV6EPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone us-east5-a.",
    ],
)
def test_a_quota_is_asked_for_by_its_own_name(message: str) -> None:
    error = google.refusal({"error": {"errors": [{"code": "QUOTA_EXCEEDED", "message": message}]}})
    assert error.hint == f"ask for more of {message.split(chr(39))[1]} at {google.QUOTA_PAGE}"


def test_a_machines_name_in_a_message_cannot_break_a_line() -> None:
    document = {"error": {"message": "bad\x1b[2J\nname", "errors": []}}
    assert google.refusal(document, 400).message.isprintable()


class Unusable:
    """Credentials that cannot be turned into a token."""

    def __init__(self, trouble: Exception) -> None:
        self.trouble = trouble

    def before_request(self, *_: object) -> None:
        raise self.trouble


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Exception | None], None]]:
    """Pretend what the machine's sign-in is, with no fake around: the code takes the way it takes in earnest."""

    def pretend(trouble: Exception | None) -> None:
        def default(**_: object) -> tuple[object, str | None]:
            if trouble is None:
                raise DefaultCredentialsError("none")
            return Unusable(trouble), "project-of-the-key"

        monkeypatch.setattr("google.auth.default", default)

    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    for cached in (rest._default, rest._session):
        cached.cache_clear()
    yield pretend
    for cached in (rest._default, rest._session):
        cached.cache_clear()


def test_without_credentials_the_hint_says_how_to_get_them(signed_in: Callable[[Exception | None], None]) -> None:
    signed_in(None)
    with pytest.raises(errors.MissingCredentials) as caught:
        rest.account()
    assert "gcloud auth application-default login" in caught.value.hint


def test_the_project_is_the_named_one_before_that_of_the_key(
    signed_in: Callable[[Exception | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(RefreshError("x"))
    assert rest.account() == {"project": "project-of-the-key"}
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "named")
    assert rest.account() == {"project": "named"}


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(RefreshError("revoked SECRET"), errors.MissingCredentials), (TransportError("x"), errors.Unavailable)],
)
def test_a_sign_in_that_fails_means_that_nothing_was_sent(
    signed_in: Callable[[Exception | None], None], trouble: Exception, kind: type[Exception]
) -> None:
    signed_in(trouble)
    with pytest.raises(kind) as caught:
        rest.call(rest.COMPUTE, "POST", "/projects/p/zones/z/instances", body={})
    assert "SECRET" not in str(caught.value)


def test_in_a_simulation_no_call_goes_to_a_real_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_TPU_URL", "http://127.0.0.1:9")
    assert not rest.reachable(rest.COMPUTE)
    with pytest.raises(errors.Unavailable, match="simulation"):
        rest.call(rest.COMPUTE, "GET", "/projects/p/zones")
