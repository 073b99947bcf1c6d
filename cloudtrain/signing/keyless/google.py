"""Google: the `external_account` file that all of Google's clients read, made from two variables and the job's token.

The file holds what the CI system gave the job to ask for its identity; it lies in a folder that only we can read, and
goes with this process. The exchange is `state/federated.py`'s, or that of the client that reads it.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cloudtrain import endpoints
from cloudtrain.errors import UsageError, visible
from cloudtrain.signing.keyless import identity
from cloudtrain.state.errors import BucketDenied
from cloudtrain.state.federated import KEY_FILES

PROVIDER, ACCOUNT = "CLOUDTRAIN_GOOGLE_WORKLOAD_PROVIDER", "CLOUDTRAIN_GOOGLE_SERVICE_ACCOUNT"
FAKE = "CLOUDTRAIN_GOOGLE_IAM_URL"  # where a simulation's fake of both services listens
STS_URL, IAM_URL = "https://sts.googleapis.com", "https://iamcredentials.googleapis.com"
_PROVIDER = re.compile(r"projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+")
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")


def take() -> tuple[str, ...]:
    """The credentials file, named in the environment; see `keyless.take`."""
    provider, account = os.environ.get(PROVIDER, ""), os.environ.get(ACCOUNT, "")
    if not (provider or account) or any(os.environ.get(name) for name in KEY_FILES):
        return ()
    check(PROVIDER, _PROVIDER, "projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER")
    check(ACCOUNT, _ACCOUNT, "NAME@PROJECT.iam.gserviceaccount.com")
    where = identity.source()
    if where is None:
        raise BucketDenied(f"{PROVIDER} is set, and this job has no identity token", identity.NONE)
    folder = Path(tempfile.mkdtemp(prefix="cloudtrain-keyless-"))  # 0700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "google.json"
    write(path, json.dumps(document(provider, account, token_source(where, provider, folder))))
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(path)
    return ()


def check(name: str, form: re.Pattern[str], like: str) -> None:
    """Raises UsageError for a variable that has not that form."""
    if not form.fullmatch(os.environ.get(name, "")):
        raise UsageError(f"{name} is `{visible(os.environ.get(name, ''), 200)}`", f"write it like {like}")


def document(provider: str, account: str, source: dict[str, Any]) -> dict[str, Any]:
    """As google-github-actions/auth writes it."""
    fake = endpoints.override(FAKE)
    return {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/{provider}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{fake or STS_URL}/v1/token",
        "service_account_impersonation_url": f"{fake or IAM_URL}/v1/projects/-/serviceAccounts/{account}:"
        "generateAccessToken",
        "credential_source": source,
    }


def token_source(where: identity.Source, provider: str, folder: Path) -> dict[str, Any]:
    """Where a client finds the job's token, each time that it needs one."""
    if where.kind == "github":
        return {
            "url": identity.request_url(f"https://iam.googleapis.com/{provider}"),
            "headers": {"Authorization": f"Bearer {os.environ[identity.BEARER]}"},
            "format": {"type": "json", "subject_token_field_name": "value"},
        }
    if where.kind == "file":
        return {"file": os.environ[identity.FILE]}
    write(folder / "token", os.environ[identity.VARIABLE])
    return {"file": str(folder / "token")}


def write(path: Path, text: str) -> None:
    """A file that nobody else can read, at no moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
