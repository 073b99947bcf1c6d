"""Google's `external_account` credentials: the identity of a CI job, exchanged for a service account's access token.

As in "Workload identity federation" of Google's documentation: a token exchange at STS, then `generateAccessToken` of
the account that is impersonated. The object stores' client reads no such file, and neither can it sign.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from cloudtrain.endpoints import LOOPBACK
from cloudtrain.errors import visible
from cloudtrain.state import token_request
from cloudtrain.state.errors import BucketDenied

KEY_FILES = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_APPLICATION_CREDENTIALS")
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # the name of a kind of token
RENEW_S = 300.0  # a token that ends sooner is replaced
LIFETIME_S = 3600
IMPERSONATION = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+@[^/:]+):generateAccessToken")
HINT = "see docs/keyless.md; or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account"
# What STS calls it -> what is wrong then.
REASONS = {
    "invalid_target": "the audience names no provider of a workload identity pool that exists and is enabled",
    "invalid_grant": "the job's token is refused: it has expired, or is for another audience or issuer",
    "unauthorized_client": "the provider's condition does not let this repository, branch or subject in",
}


class Access(NamedTuple):
    """A token, and when it ends in seconds since the epoch."""

    token: str
    ends: float


class External(NamedTuple):
    """What an `external_account` file says. `impersonation` is the address of the account's `generateAccessToken`."""

    path: str
    audience: str
    kind: str
    token_url: str
    impersonation: str
    source: Mapping[str, Any]

    @property
    def email(self) -> str:
        """Of the service account that is impersonated; "" for none."""
        found = IMPERSONATION.fullmatch(urlsplit(self.impersonation).path)
        return found[1] if found else ""


_held: dict[str, Access] = {}
_lock = threading.Lock()


def key_file() -> str:
    """The credentials file that the environment names, "" for none."""
    return next((os.environ[name] for name in KEY_FILES if os.environ.get(name)), "")


def external() -> External | None:
    """The credentials of the environment if they are of this kind. Raises BucketDenied for a file that is broken."""
    path = key_file()
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):  # whoever needs a key tells it
        return None
    if not isinstance(found, dict) or found.get("type") != "external_account":
        return None
    source = found.get("credential_source")
    made = External(
        path,
        audience=str(found.get("audience") or ""),
        kind=str(found.get("subject_token_type") or ""),
        token_url=str(found.get("token_url") or ""),
        impersonation=str(found.get("service_account_impersonation_url") or ""),
        source=source if isinstance(source, dict) else {},
    )
    for address in filter(None, (made.token_url, made.impersonation)):
        host = token_request.trusted(address)
        if not host.endswith(".googleapis.com") and host not in LOOPBACK:
            raise BucketDenied(f"`{path}` would send a token to `{visible(host)}`, which is not Google's", HINT)
    if not made.token_url or not made.audience:
        raise BucketDenied(f"`{path}` names no `token_url` or no `audience`", HINT)
    return made


def access(who: External) -> Access:
    """The account's token, exchanged when there is none that lasts. Raises BucketDenied, Unavailable."""
    with _lock:
        name = f"{who.path} {who.audience} {who.impersonation}"
        held = _held.get(name)
        if held is None or held.ends - time.time() < RENEW_S:
            held = _held[name] = impersonated(who, exchanged(who))
        return held


def exchanged(who: External) -> Access:
    """The job's identity as Google knows it: a federated token."""
    form = {
        "grant_type": EXCHANGE,
        "audience": who.audience,
        "scope": SCOPE,
        "requested_token_type": ACCESS_TOKEN,
        "subject_token_type": who.kind,
        "subject_token": subject_token(who),
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = token_request.ask(who.token_url, urlencode(form).encode(), headers)
    said = token_request.document(answer)
    if status != 200 or not said.get("access_token"):
        meant = REASONS.get(str(said.get("error")), "the exchange of the job's token is refused")
        raise BucketDenied(f"Google Cloud: {meant} ({status} {token_request.why(answer)})", HINT)
    return Access(str(said["access_token"]), time.time() + float(said.get("expires_in") or LIFETIME_S))


def impersonated(who: External, federated: Access) -> Access:
    """The service account's token; the federated one where none is impersonated."""
    if not who.email:
        return federated
    said = call(who.impersonation, federated, {"scope": [SCOPE], "lifetime": f"{LIFETIME_S}s"}, refusal(who))
    try:
        return Access(str(said["accessToken"]), datetime.fromisoformat(str(said["expireTime"])).timestamp())
    except (KeyError, ValueError):
        raise BucketDenied(f"Google Cloud: no token of `{who.email}` is in its answer", HINT) from None


def refusal(who: External) -> tuple[str, str]:
    """What a refused impersonation means, and what ends it."""
    return (
        f"the job may not act as `{who.email}`: it lacks roles/iam.workloadIdentityUser there",
        "`cloudtrain doctor gcp --setup` writes the command, for one branch of one repository; see docs/keyless.md",
    )


def call(url: str, by: Access, body: Mapping[str, Any], forbidden: tuple[str, str]) -> dict[str, Any]:
    """The answer of the IAM service. `forbidden`: message and hint of a 403. Raises BucketDenied."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {by.token}"}
    status, answer = token_request.ask(url, json.dumps(body).encode(), headers)
    if status == 403:
        raise BucketDenied(f"Google Cloud: {forbidden[0]}", forbidden[1])
    if status != 200:
        raise BucketDenied(f"Google Cloud: its IAM service answers {status} {token_request.why(answer)}".rstrip(), HINT)
    return token_request.document(answer)


def subject_token(who: External) -> str:
    """The job's own token, from the file or the address that the credentials name. Raises BucketDenied."""
    source, form = who.source, who.source.get("format")
    form = form if isinstance(form, dict) else {}
    if isinstance(source.get("file"), str):
        try:
            data = Path(source["file"]).read_bytes()
        except OSError as error:
            raise BucketDenied(
                f"the job's token in `{source['file']}` cannot be read: {error.strerror}", HINT
            ) from None
    elif isinstance(source.get("url"), str):
        headers = source.get("headers")
        asked = {str(name): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
        status, data = token_request.ask(source["url"], None, asked)
        if status != 200:
            raise BucketDenied(f"the CI system gives no identity token ({status})", HINT)
    else:
        kinds = ", ".join(sorted(map(str, source))) or "nothing"
        raise BucketDenied(
            f"`{who.path}` takes the job's token from {visible(kinds)}: only file and url are known", HINT
        )
    if form.get("type") == "json":
        data = str(token_request.document(data).get(str(form.get("subject_token_field_name") or "")) or "").encode()
    if not (token := data.decode(errors="replace").strip()):
        raise BucketDenied("the CI system gave an empty identity token", HINT)
    return token
