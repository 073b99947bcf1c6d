"""Google's Cloud Billing catalogue: who asks it, and every page of a service's SKUs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from cloudtrain.errors import CloudtrainError, MissingCredentials, Permission, ProviderError, Unavailable

from .._http import Door, Patience

NAME, ADDRESS = "Google's billing catalogue", "https://cloudbilling.googleapis.com"
VARIABLE, API_KEY, SIMULATED = "CLOUDTRAIN_GCP_BILLING_URL", "GOOGLE_API_KEY", "CLOUDTRAIN_SIMULATOR_TOKEN"
PAGE = "5000"  # the most that it gives at once
MOST_EMPTY = 20  # pages in a row that only name the next one
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SIGN_IN = f"set {API_KEY} to a key of a project with the Cloud Billing API, or `gcloud auth application-default login`"
KEY_HINT = f"enable the Cloud Billing API in the key's project and let the key call it, or unset {API_KEY}"
ACCOUNT_HINT = "enable the Cloud Billing API in the account's project (public prices need no role)"


class BillingDoor(Door):
    """The catalogue, as one of those who may ask it."""

    def _refused(self, status: int, text: bytes) -> Exception:
        if status == 400 and b"API_KEY_INVALID" in text:  # not a 401, as elsewhere
            return MissingCredentials(f"{self.name} does not accept the key", self.key)
        return super()._refused(status, text)


class Catalogue:
    """The catalogue within a time. An API key is tried first; where it is refused, the credentials of an account."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._door: BillingDoor | None = None

    def skus(self, service: str) -> Iterator[Mapping[str, Any]]:
        """Every SKU of a service. Raises provider errors, also where the pages do not end or repeat themselves."""
        token, tokens, seen, empty = "", {""}, set[str](), 0
        while True:
            page = self._page(service, token)
            listed, token = page.get("skus"), page.get("nextPageToken", "")
            entries = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
            ids = {str(each.get("skuId")) for each in entries}
            if not isinstance(token, str) or not (ids or token):
                raise Unavailable(f"{NAME} answers with something else than SKUs", "nothing was taken from it")
            if token in tokens - {""} or (ids and ids <= seen):
                raise Unavailable(f"{NAME} repeats a page", "nothing was taken from it; try again")
            empty = 0 if ids else empty + 1
            if empty > MOST_EMPTY:
                raise Unavailable(f"{NAME} answers with pages of nothing", "nothing was taken from it; try again")
            tokens.add(token)
            seen |= ids
            yield from entries
            if not token:
                return

    def _page(self, service: str, token: str) -> dict[str, Any]:
        path = f"/v1/services/{service}/skus"
        query = {"currencyCode": "USD", "pageSize": PAGE} | ({"pageToken": token} if token else {})
        if self._door is not None:
            return self._door.get(path, self._patience, **query)
        refusal: ProviderError | None = None
        try:
            for door in _ways(self._patience):
                try:
                    found = door.get(path, self._patience, **query)
                except (MissingCredentials, Permission) as error:
                    refusal = refusal or error
                    continue
                self._door = door
                return found
        except MissingCredentials as nobody:
            raise refusal or nobody from None
        raise refusal or MissingCredentials(f"nobody may ask {NAME}", SIGN_IN)


def _ways(patience: Patience) -> Iterator[BillingDoor]:
    """The catalogue as each of those who may ask it, the simplest first. Raises MissingCredentials after the last."""
    door = BillingDoor(NAME, ADDRESS, VARIABLE, {}, ACCOUNT_HINT)
    if os.environ.get(SIMULATED) and not door.is_fake:
        raise Unavailable("this simulation has no cloudbilling.googleapis.com", f"set {VARIABLE}")
    if key := os.environ.get(API_KEY, "").strip():
        yield BillingDoor(NAME, ADDRESS, VARIABLE, {"X-Goog-Api-Key": key}, KEY_HINT)
    door.headers = _simulated() if door.is_fake else account(patience)
    yield door


def _simulated() -> dict[str, str]:
    token = os.environ.get(SIMULATED, "")
    if not token:
        raise MissingCredentials(f"no credentials for {NAME}", SIGN_IN)
    return {"Authorization": f"Bearer {token}"}


def account(patience: Patience) -> dict[str, str]:
    """The header of an access token: of a CI job's identity, else of Google's own default credentials."""
    from cloudtrain.state import federated

    try:
        external = federated.external()
        if external is not None:
            return {"Authorization": f"Bearer {federated.access(external).token}"}
    except ProviderError:
        raise
    except CloudtrainError as error:
        raise MissingCredentials(error.message, error.hint) from None
    return _default(patience)


def _default(patience: Patience) -> dict[str, str]:
    import google.auth
    from google.auth import exceptions
    from google.auth.transport.requests import Request

    headers: dict[str, str] = {}
    transport: Any = Request()

    def ask(url: str, method: str = "GET", body: Any = None, headers: Any = None, **more: Any) -> Any:
        more["timeout"] = max(0.001, min(20.0, patience.left_s))
        return transport(url, method, body, headers, **more)

    bounded: Any = ask
    try:
        credentials: Any = google.auth.default(scopes=[SCOPE], request=bounded)[0]
        credentials.refresh(bounded)
        credentials.apply(headers)  # with the project that pays for the request, where it names one
    except exceptions.DefaultCredentialsError:
        raise MissingCredentials(f"no credentials for {NAME}", SIGN_IN) from None
    except exceptions.TransportError as error:
        raise Unavailable(f"Google's sign-in does not answer ({type(error).__name__})", "try again") from None
    except exceptions.GoogleAuthError as error:
        raise MissingCredentials(f"Google refuses the credentials ({type(error).__name__})", SIGN_IN) from None
    return headers
