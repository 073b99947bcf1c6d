"""Who asks Google's billing catalogue: a CI job's identity, an account's key file, or nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudtrain.pricing._http import Patience
from cloudtrain.pricing.gcp.catalogue import account
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cloudtrain.errors import MissingCredentials, Unavailable
from cloudtrain.signing import keyless
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Front, Reply, Request
from tests.keyless_world import enter_google, google_world

FILE = "GOOGLE_APPLICATION_CREDENTIALS"


class Tokens(Front):
    """Google's token endpoint, as far as a service account's key file needs it."""

    status = 200

    def call_of(self, request: Request) -> str:
        return "token"

    def mutates(self, call: str) -> bool:
        return False

    def perform(self, call: str, request: Request) -> Reply:
        answer = (
            {"access_token": "ya29.account", "expires_in": 3600} if self.status == 200 else {"error": "invalid_grant"}
        )
        return Reply(self.status, json.dumps(answer).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tokens]:
    """A key file that the environment names, and the endpoint that it names."""
    endpoint = Tokens()
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    who = {"type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key": key.decode()}
    (tmp_path / "key.json").write_text(json.dumps(who | {"token_uri": f"{endpoint.url}/token"}), encoding="utf-8")
    for name in ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "CLOUDTRAIN_SIMULATOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv(FILE, str(tmp_path / "key.json"))
    yield endpoint
    endpoint.stop()


def test_a_key_file_becomes_an_access_token(tokens: Tokens) -> None:
    """As Google's default credentials do it."""
    found = {name.lower(): value for name, value in account(Patience(60.0)).items()}
    assert found["authorization"] == "Bearer ya29.account"


def test_an_account_that_google_refuses_is_said(tokens: Tokens) -> None:
    """It is no fault of the network."""
    tokens.status = 400
    with pytest.raises(MissingCredentials, match="refuses the credentials"):
        account(Patience(60.0))


def test_a_sign_in_without_an_answer_is_unavailable(tokens: Tokens) -> None:
    """Trying again may help."""
    tokens.stop()
    with pytest.raises(Unavailable, match="sign-in"):
        account(Patience(0.5))


def test_without_any_account_the_hint_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is looked for at a machine's metadata service."""
    for name in (FILE, "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(MissingCredentials) as raised:
        account(Patience(60.0))
    assert "GOOGLE_API_KEY" in raised.value.hint


def test_a_jobs_identity_asks_as_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `external_account` file of a keyless job, exchanged by our own code."""
    with google_world() as made:
        world = enter_google(made, monkeypatch, Clock())
        keyless.take()
        assert account(Patience(60.0))["Authorization"].startswith("Bearer ")
        assert "generateAccessToken" in str(world.iam.calls)
