"""A fake of what a CI system gives a job to say who it is: GitHub's token endpoint, and who vouches for its tokens."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Front, Reply, Request

ISSUER = "https://token.actions.githubusercontent.com"
BEARER = "PLANTED-SECRET-GITHUB-REQUEST-TOKEN"
REPOSITORY, REF = "somebody/fine-tunes", "refs/heads/main"
SUBJECT = f"repo:{REPOSITORY}:ref:{REF}"
LASTS_S = 300.0


class Refused(Exception):
    """A token that nobody has to believe; the word says which of `invalid` and `expired` it is."""


class GithubTokens(Front):
    """The endpoint of one job. `claims` are those of its next token, on top of issuer, audience and times."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.key = rsa.generate_private_key(65537, 2048)
        self.reset()

    def reset(self, clock: Clock | None = None) -> None:
        """The job of the main branch, which may ask."""
        self.clock = self.ledger.clock = clock or self.clock
        self.faults.clear()
        self.calls.clear()
        self.claims: dict[str, Any] = {
            "sub": SUBJECT,
            "repository": REPOSITORY,
            "ref": REF,
            "actor": "somebody",
        }

    def environment(self) -> dict[str, str]:
        return {
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": BEARER,
        }

    def call_of(self, request: Request) -> str:
        return "GetIdToken"

    def mutates(self, call: str) -> bool:
        return False

    def refuse(self, kind: str) -> Reply:
        return Reply(503 if kind == "unavailable" else 429, b'{"message": "try again"}')

    def perform(self, call: str, request: Request) -> Reply:
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(bearer, BEARER):
            return Reply(401, b'{"message": "Bad credentials"}')
        if request.method != "GET" or request.path != "/token" or request.query.get("api-version") != ["2.0"]:
            return Reply(404, b'{"message": "Not Found"}')
        audience = request.query.get("audience", [f"https://github.com/{REPOSITORY.partition('/')[0]}"])[0]
        token = self.token(audience)
        return Reply(200, json.dumps({"count": len(token), "value": token}).encode())

    def token(self, audience: str, lasts_s: float = LASTS_S) -> str:
        """A signed token of the job."""
        now = int(self.clock.now())
        claims = {"iss": ISSUER, "aud": audience, "iat": now, "nbf": now - 60, "exp": now + int(lasts_s), **self.claims}
        parts = [_coded(json.dumps(each).encode()) for each in ({"alg": "RS256", "typ": "JWT"}, claims)]
        text = ".".join(parts)
        return f"{text}.{_coded(self.key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"

    def checked(self, token: str, now: float) -> Mapping[str, Any]:
        """The claims of a token that this issuer has signed and that has not expired. Raises Refused."""
        text, _, signature = token.rpartition(".")
        try:
            self.key.public_key().verify(_decoded(signature), text.encode(), padding.PKCS1v15(), SHA256())
            claims: dict[str, Any] = json.loads(_decoded(text.partition(".")[2]))
        except (InvalidSignature, ValueError):
            raise Refused("invalid") from None
        if not claims["nbf"] <= now <= claims["exp"]:
            raise Refused("expired")
        return claims


def _coded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
