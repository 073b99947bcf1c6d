"""Google Cloud's REST APIs: who we are there, one call, all pages, and what a refusal means."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain import endpoints
from cloudtrain.errors import MissingCredentials, ProviderError, Unavailable, Unknown
from cloudtrain.providers import Timing, effective_timing

from .._lifecycle import http
from .errors import SIGN_IN, refusal

if TYPE_CHECKING:
    import requests

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
HINT = f"{SIGN_IN}; and `export GOOGLE_CLOUD_PROJECT=<your project>`"
REAL = Timing()


class Api(NamedTuple):
    """One API: where it is, the version that every path begins with, and the variable that moves it to loopback."""

    url: str
    prefix: str
    variable: str


COMPUTE = Api("https://compute.googleapis.com", "/compute/v1", "CLOUDTRAIN_GCE_URL")
PROJECTS = Api("https://cloudresourcemanager.googleapis.com", "/v1", "CLOUDTRAIN_GCE_URL")
IAM = Api("https://iam.googleapis.com", "/v1", "CLOUDTRAIN_GCE_URL")
TPU = Api("https://tpu.googleapis.com", "/v2alpha1", "CLOUDTRAIN_TPU_URL")
TASKS = Api("https://cloudtasks.googleapis.com", "/v2", "CLOUDTRAIN_TASKS_URL")
QUOTAS = Api("https://cloudquotas.googleapis.com", "/v1", "CLOUDTRAIN_GCP_QUOTAS_URL")
BIGQUERY = Api("https://bigquery.googleapis.com", "/bigquery/v2", "CLOUDTRAIN_BIGQUERY_URL")
TPU_ENDPOINT = "CLOUDTRAIN_TPU_ENDPOINT"  # host:port of the fake's gRPC server


def simulating() -> bool:
    """Whether any Google API is replaced by a fake. Then no call goes to a real one."""
    variables = (QUOTAS.variable, COMPUTE.variable, TPU.variable, TASKS.variable, BIGQUERY.variable, TPU_ENDPOINT)
    return any(endpoints.override(variable) for variable in variables)


def reachable(api: Api) -> bool:
    """Whether calls to `api` may be made: always, but in a simulation only where it has a fake."""
    return endpoints.override(api.variable) is not None or not simulating()


def timing() -> Timing:
    """How long things take at Google, shortened while simulating."""
    return effective_timing(REAL, simulating())


def project() -> str:
    """GOOGLE_CLOUD_PROJECT, else the project of the credentials. Raises MissingCredentials."""
    named = os.environ.get("GOOGLE_CLOUD_PROJECT", "").strip()
    if simulating():
        found = named
    else:
        credentials, other = _default()
        found = named or other or str(getattr(credentials, "quota_project_id", None) or "")
    if not found:
        raise MissingCredentials("no Google Cloud project is chosen", HINT)
    return found


def account() -> dict[str, str]:
    """What goes into every place: the project. Raises MissingCredentials without credentials; asks no server."""
    found = project()
    if simulating() and not os.environ.get("CLOUDTRAIN_SIMULATOR_TOKEN"):
        raise MissingCredentials("no credentials for Google Cloud", HINT)
    return {"project": found}


def call(
    api: Api,
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One request, once, with the hard time-out; `path` follows the API's version, without it. The JSON answer.

    Raises only provider errors; `errors.AlreadyThere` (a Rejected) when the name is taken.
    """
    mutating = method != "GET"
    url = f"{base_url(api)}{path}"
    reply = _send(api, method, url, mutating, {"params": dict(query or {}), "json": body})
    if reply.status_code in (408, 499) and mutating:
        raise Unknown(f"Google gave no answer in time ({reply.status_code})")
    document = _document(reply)
    if document is None or 300 <= reply.status_code < 400:
        # Not Google's own words: a proxy. A 404 of this sort proves nothing.
        kind = Unknown if mutating else Unavailable
        raise kind(f"no answer of Google's came from {url.split('/')[2]} ({reply.status_code})", "try again")
    if reply.status_code >= 400:
        raise refusal(document, reply.status_code)
    if lacking(api, method, path, document):
        kind = Unknown if mutating else Unavailable
        raise kind(
            f"{url.split('/')[2]} answered {reply.status_code} with something else than was asked for", "try again"
        )
    return document


def lacking(api: Api, method: str, path: str, document: Mapping[str, Any]) -> bool:
    """Whether a good answer lacks what all of this sort have: `kind` at Compute Engine, else the name of what is made.

    An empty list of the other APIs is `{}`.
    """
    if api is COMPUTE:
        return "kind" not in document and not path.endswith(("/listErrors", "/testIamPermissions"))
    asks = api in (PROJECTS, BIGQUERY) or path.endswith(
        ":testIamPermissions"
    )  # a question sent as a POST: nothing is made
    return method == "POST" and not asks and "name" not in document


def pages(api: Api, path: str, query: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Every page of a list. Raises provider errors; a warning that a place did not answer is one (Unavailable)."""
    token = ""
    while True:
        page = call(api, "GET", path, query={**(query or {}), **({"pageToken": token} if token else {})})
        if page.get("unreachables") or page.get("unreachable"):
            raise Unavailable("Google could not list every place", "try again")
        yield page
        token = str(page.get("nextPageToken") or "")
        if not token:
            return


def base_url(api: Api) -> str:
    """Scheme, host and version. Raises Unavailable in a simulation that has no fake of it."""
    moved = endpoints.override(api.variable)
    if moved is None and simulating():
        raise Unavailable(f"this simulation has no {api.url.split('/')[2]}", f"set {api.variable}")
    return f"{moved or api.url}{api.prefix}"


def credentials() -> Any:
    """The credentials object of google-auth, for gRPC. Raises MissingCredentials."""
    return _default()[0]


def _send(api: Api, method: str, url: str, mutating: bool, more: dict[str, Any]) -> requests.Response:
    from google.auth import exceptions

    try:
        return http.send(
            _session(endpoints.override(api.variable), os.environ.get("CLOUDTRAIN_SIMULATOR_TOKEN", "")),
            *(method, url),
            timeout_s=timing().request_s,
            mutating=mutating,
            hooks={"response": _classify_429},
            **more,
        )
    except exceptions.TransportError as error:  # while getting a token: our own request was not sent
        raise Unavailable(f"Google's sign-in does not answer ({type(error).__name__})", "try again") from None
    except exceptions.GoogleAuthError as error:
        raise MissingCredentials(f"Google refuses the credentials ({type(error).__name__})", HINT) from None


def _classify_429(reply: requests.Response, *_: Any, **__: Any) -> None:
    """A 429 is mostly "slower"; the TPU API also says "quota" and "no capacity" with it."""
    if reply.status_code == 429 and (document := _document(reply)) is not None:
        error: ProviderError = refusal(document, 429)
        raise error


def _document(reply: requests.Response) -> dict[str, Any] | None:
    try:
        document = reply.json()
    except ValueError:
        return None
    if not isinstance(document, dict) or (reply.status_code >= 400 and "error" not in document):
        return None
    return document


@lru_cache(maxsize=4)
def _session(moved: str | None, token: str) -> requests.Session:
    if moved is None:
        from google.auth.transport.requests import AuthorizedSession

        # No second try after a 401: a call is one request on the wire, and a stale token is renewed before the call.
        made = AuthorizedSession(credentials(), max_refresh_attempts=0)  # type: ignore[no-untyped-call]
        real: requests.Session = made
        return real
    import requests

    if not token:
        raise MissingCredentials("no credentials for Google Cloud", HINT)
    session = requests.Session()
    session.trust_env = False  # no proxy, no .netrc on the way to a fake
    session.headers["Authorization"] = f"Bearer {token}"
    return session


@lru_cache(maxsize=1)
def _default() -> tuple[Any, str | None]:
    import google.auth
    from google.auth import exceptions

    try:
        found: tuple[Any, str | None] = google.auth.default(scopes=[SCOPE])
    except exceptions.DefaultCredentialsError:
        raise MissingCredentials("no credentials for Google Cloud", HINT) from None
    except exceptions.GoogleAuthError as error:
        raise MissingCredentials(f"Google refuses the credentials ({type(error).__name__})", HINT) from None
    return found
