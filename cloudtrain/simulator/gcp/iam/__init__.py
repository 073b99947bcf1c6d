"""A fake of Google's token exchange and IAM Credentials API: who a CI job is, whom it may act as, and signatures.

As in "Workload identity federation", RFC 8693 and the IAM Credentials API reference. The calls' names are `STS.Token`,
`IAM.generateAccessToken`, `IAM.signBlob`. Where they may be used, `gcp/storage` checks.
"""

from __future__ import annotations

import json
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from cloudtrain.simulator.aws.wire import Refused
from cloudtrain.simulator.ci_identity import SUBJECT, GithubTokens
from cloudtrain.simulator.ci_identity import Refused as NotBelieved
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Front, Reply, Request

PROVIDER = "projects/123456789012/locations/global/workloadIdentityPools/ci/providers/github"
EMAIL = "cloudtrain-nights@simulation-project.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
IAM_SCOPE = "https://www.googleapis.com/auth/iam"  # with which google-auth becomes an account
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
SUBJECTS = ("urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token")
LASTS_S, LONGEST_S = 3600.0, 3600.0
SIGNS_S = 3600.0  # how long one of Google's own keys signs
KNOWN_S = 12 * 3600.0  # how long it is known after that: a signature is good for 12 to 13 hours
_CALL = re.compile(r"/v1/projects/-/serviceAccounts/([^/:]+):(generateAccessToken|signBlob)")


class Token(NamedTuple):
    """What an access token stands for, and its end."""

    who: str  # the email of an account, or `principal:...` of a CI job
    ends: float


@dataclass
class Trust:
    """The provider's condition and the account's bindings: who may do what with it."""

    subject: str = SUBJECT
    users: set[str] = field(default_factory=lambda: {f"principal:{SUBJECT}"})  # may act as the account
    creators: set[str] = field(default_factory=lambda: {EMAIL})  # may sign as the account


class IamCloud(Front):
    """One provider of one pool, one account; `issuer` vouches for the jobs' tokens."""

    def __init__(self, issuer: GithubTokens, clock: Clock | None = None) -> None:
        super().__init__(clock or issuer.clock)
        self.issuer, self.email = issuer, EMAIL
        self.keys: dict[int, rsa.RSAPrivateKey] = {}
        self.reset()

    def reset(self, clock: Clock | None = None) -> None:
        """Nobody has a token; the trust is as it should be."""
        self.clock = self.ledger.clock = clock or self.clock
        self.faults.clear()
        self.calls.clear()
        self.trust = Trust()
        self.tokens: dict[str, Token] = {}

    def environment(self) -> dict[str, str]:
        return {
            "CLOUDTRAIN_GOOGLE_IAM_URL": self.url,
            "CLOUDTRAIN_GOOGLE_WORKLOAD_PROVIDER": PROVIDER,
            "CLOUDTRAIN_GOOGLE_SERVICE_ACCOUNT": EMAIL,
        }

    def call_of(self, request: Request) -> str:
        found = _CALL.fullmatch(unquote(request.path))
        return f"IAM.{found[2]}" if found else "STS.Token" if request.path == "/v1/token" else "IAM.?"

    def mutates(self, call: str) -> bool:
        return False

    def refuse(self, kind: str) -> Reply:
        status, word = (503, "UNAVAILABLE") if kind == "unavailable" else (429, "RESOURCE_EXHAUSTED")
        return denied(Refused(word, "Try again.", status))

    def perform(self, call: str, request: Request) -> Reply:
        try:
            if request.method != "POST" or call == "IAM.?":
                raise Refused("NOT_FOUND", "There is no such method.", 404)
            return self._exchange(request) if call == "STS.Token" else self._as_account(call, request)
        except Refused as error:
            return self.in_words_of(call, error)

    def in_words_of(self, call: str, error: Refused) -> Reply:
        """An error as the service writes it."""
        if call != "STS.Token":
            return denied(error)
        return Reply(error.status, json.dumps({"error": error.code, "error_description": error.message}).encode())

    def _exchange(self, request: Request) -> Reply:
        given = dict(parse_qsl(request.body.decode(errors="replace")))
        if given.get("grant_type") != EXCHANGE or given.get("requested_token_type") != ACCESS:
            raise Refused("invalid_request", "Invalid grant type or requested token type.")
        if given.get("subject_token_type") not in SUBJECTS or not given.get("subject_token"):
            raise Refused("invalid_request", "Invalid subject token or type.")
        if given.get("audience") != f"//iam.googleapis.com/{PROVIDER}":
            raise Refused("invalid_target", "The target service indicated by the audience parameters is invalid.")
        if not {SCOPE, IAM_SCOPE} & set(given.get("scope", "").split()):
            raise Refused("invalid_scope", "Invalid OAuth scope.")
        try:
            claims = self.issuer.checked(given["subject_token"], self.clock.now())
        except NotBelieved as why:
            raise Refused("invalid_grant", f"The ID Token is {why}.") from None
        if claims["aud"] not in (f"https://iam.googleapis.com/{PROVIDER}", f"//iam.googleapis.com/{PROVIDER}"):
            raise Refused("invalid_grant", "The audience in ID Token does not match the expected audience.")
        if claims["sub"] != self.trust.subject:
            raise Refused("unauthorized_client", "The given credential is rejected by the attribute condition.", 401)
        token = self._give(f"principal:{claims['sub']}", LASTS_S)
        answer = {
            "access_token": token,
            "issued_token_type": ACCESS,
            "token_type": "Bearer",
            "expires_in": int(LASTS_S),
        }
        return Reply(200, json.dumps(answer).encode())

    def _as_account(self, call: str, request: Request) -> Reply:
        email, verb = _CALL.fullmatch(unquote(request.path)).groups()  # type: ignore[union-attr]  # `call_of` matched it
        caller = self.caller(request)
        allowed = self.trust.users | self.trust.creators if verb == "generateAccessToken" else self.trust.creators
        if email != self.email or caller not in allowed:
            right = "getAccessToken" if verb == "generateAccessToken" else "signBlob"
            raise Refused("PERMISSION_DENIED", f"Permission 'iam.serviceAccounts.{right}' denied on resource", 403)
        try:
            body = json.loads(request.body)
        except ValueError:
            raise Refused("INVALID_ARGUMENT", "Invalid JSON payload received.") from None
        return self._token(body) if verb == "generateAccessToken" else self._sign(body)

    def _token(self, body: dict[str, Any]) -> Reply:
        seconds = float(str(body.get("lifetime", "3600s")).removesuffix("s"))
        if not body.get("scope") or not 0 < seconds <= LONGEST_S:
            raise Refused("INVALID_ARGUMENT", "The scope is empty, or the lifetime longer than an hour.")
        ends = self.clock.now() + seconds
        moment = datetime.fromtimestamp(int(ends), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        token = self._give(self.email, seconds)
        return Reply(200, json.dumps({"accessToken": token, "expireTime": moment}).encode())

    def _sign(self, body: dict[str, Any]) -> Reply:
        payload = body.get("payload")
        if set(body) - {"payload", "delegates"} or not isinstance(payload, str) or not payload:
            raise Refused("INVALID_ARGUMENT", "Invalid value at 'payload'.")
        try:
            data = b64decode(payload, validate=True)
        except ValueError:
            raise Refused(
                "INVALID_ARGUMENT", "Invalid value at 'payload' (TYPE_BYTES), Base64 decoding failed"
            ) from None
        number = int(self.clock.now() // SIGNS_S)
        key = self.keys.setdefault(number, self.keys.get(number) or rsa.generate_private_key(65537, 2048))
        signature = key.sign(data, padding.PKCS1v15(), SHA256())
        return Reply(200, json.dumps({"keyId": f"{number:x}", "signedBlob": b64encode(signature).decode()}).encode())

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raise S3's Refused for what no key of the account has signed that is still known."""
        for number, key in self.keys.items():
            if self.clock.now() > (number + 1) * SIGNS_S + KNOWN_S:
                continue
            try:
                return key.public_key().verify(signature, text, padding.PKCS1v15(), SHA256())
            except InvalidSignature:
                continue
        raise Refused("SignatureDoesNotMatch", "Access denied.", 403)

    def _give(self, who: str, seconds: float) -> str:
        token = f"ya29.PLANTED-SECRET-GOOGLE-{secrets.token_urlsafe(24)}"
        self.tokens[token] = Token(who, self.clock.now() + seconds)
        return token

    def caller(self, request: Request) -> str:
        """Who asks. Raises Refused for a token that is none or has ended."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        found = self.tokens.get(token)
        if kind != "Bearer" or found is None or self.clock.now() > found.ends:
            raise Refused("UNAUTHENTICATED", "Request had invalid authentication credentials.", 401)
        return found.who


def denied(error: Refused) -> Reply:
    """An error as Google's APIs write it."""
    document = {"error": {"code": error.status, "message": error.message, "status": error.code}}
    return Reply(error.status, json.dumps(document).encode())
