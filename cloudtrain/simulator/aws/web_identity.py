"""`AssumeRoleWithWebIdentity` of the fake STS: roles that trust a CI system's tokens, and the keys that they give.

As in the STS API reference and "Configuring OpenID Connect in Amazon Web Services" of GitHub's documentation.
"""

from __future__ import annotations

import hmac
import secrets
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

from cloudtrain.simulator.aws.account import DEFAULT_S, AwsAccount, Session
from cloudtrain.simulator.aws.s3_signed import Keys
from cloudtrain.simulator.aws.wire import Call, Refused, answer
from cloudtrain.simulator.ci_identity import ISSUER
from cloudtrain.simulator.ci_identity import Refused as NotBelieved
from cloudtrain.simulator.http_server import Reply, Request

NAME = "AssumeRoleWithWebIdentity"
LEAST_S, MOST_S = 900, 43_200


def is_unsigned_call(request: Request) -> bool:
    """Whether it is the call, which nobody signs."""
    return request.method == "POST" and ("Action", NAME) in parse_qsl(request.body.decode(errors="replace"))


def assume(cloud: AwsAccount, call: Call) -> Reply:
    """Keys of the role for the bearer of the token. Raises Refused."""
    given, now = call.given, cloud.clock.now()
    if "authorization" in call.request.headers:
        raise Refused("InvalidParameterCombination", "The request must not be signed.")
    seconds = int(given.get("DurationSeconds") or DEFAULT_S)
    if not LEAST_S <= seconds <= MOST_S:
        raise Refused("ValidationError", f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed")
    role = cloud.roles.get(given["RoleArn"])
    try:
        claims = (role or next(iter(cloud.roles.values()))).issuer.checked(given["WebIdentityToken"], now)
    except (NotBelieved, StopIteration) as refused:
        if str(refused) == "expired":
            raise Refused("ExpiredTokenException", "Token expired: current date/time must be before exp") from None
        raise Refused("InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {ISSUER}") from None
    if role is not None and claims["aud"] != role.audience:
        raise Refused("InvalidIdentityToken", "Incorrect token audience")
    if role is None or not fnmatchcase(str(claims["sub"]), role.subject):
        raise Refused("AccessDenied", f"Not authorized to perform sts:{NAME}", 403)
    if seconds > role.longest_s:
        raise Refused(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    token = f"PLANTED-SECRET-AWS-SESSION-{secrets.token_urlsafe(24)}"
    keys = Keys(f"ASIA{secrets.token_hex(8).upper()}", f"PLANTED-SECRET-AWS-ROLE-{secrets.token_urlsafe(12)}", token)
    cloud.sessions[keys.access] = Session(keys, now + seconds)
    credentials = {
        "AccessKeyId": keys.access,
        "SecretAccessKey": keys.secret,
        "SessionToken": token,
        "Expiration": datetime.fromtimestamp(int(now + seconds), UTC),
    }
    name = given["RoleSessionName"]
    who = {"AssumedRoleId": f"AROASIMULATOR:{name}", "Arn": f"{role.arn.replace(':role/', ':assumed-role/')}/{name}"}
    return answer(call, {"Credentials": credentials, "AssumedRoleUser": who, "Audience": role.audience})


def keys_of(cloud: AwsAccount, own: Keys, access: str, token: str) -> Keys:
    """The keys that an access key names: the account's own, or a session's that has not ended. Raises Refused."""
    if access == own.access and not token:
        return own
    session = cloud.sessions.get(access)
    if session is None:
        message = "The AWS Access Key Id you provided does not exist in our records."
        raise Refused("InvalidAccessKeyId", message, 403)
    if not hmac.compare_digest(session.keys.token, token):
        raise Refused("InvalidToken", "The provided token is malformed or otherwise invalid.")
    if cloud.clock.now() > session.ends:
        raise Refused("ExpiredToken", "The provided token has expired.")
    return session.keys
