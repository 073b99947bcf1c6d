"""The least rights for a role that runs cloudtrain from CI without a key, and the commands that make it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import UsageError, visible
from cloudtrain.providers import Setup

if TYPE_CHECKING:
    from cloudtrain.state.address import Address

ROLE = "cloudtrain-nights"
AUDIENCE = "sts.amazonaws.com"
LONGEST_S = 43_200  # of a session; an hour is what a new role allows
# The place of the account in the name of a thing: `arn:aws:ec2:*:*:instance/*`.
ANY_ACCOUNT = re.compile(r"^(arn:aws:[a-z0-9-]+:[^:]*:)\*(?=:)")


def place_of(account: str) -> dict[str, str]:
    """An account by its number. Raises UsageError."""
    if not re.fullmatch(r"[0-9]{12}", account):
        raise UsageError(f"--account `{visible(account)}` is no AWS account", "its number has twelve digits")
    return {"account": account, "partition": "aws"}


def files(asked: Setup) -> dict[str, str]:
    """The policy of the role, who may take it, and the commands."""
    return {
        "aws-policy.json": json.dumps(policy(asked), indent=2) + "\n",
        "aws-trust.json": json.dumps(trust(asked), indent=2) + "\n",
        "aws-commands.sh": commands(asked),
    }


def policy(asked: Setup) -> dict[str, Any]:
    """What the stack calls, in this account alone; the objects of the state; what was billed."""
    text = resources("cloudtrain.templates").joinpath("policies", "aws.json").read_text()
    document: dict[str, Any] = json.loads(text)
    statements = [in_account(each, asked.place) for each in document["Statement"]]
    if asked.state is not None and asked.state.scheme == "s3":
        statements += of_bucket(asked.state, asked.place["partition"])
    return {**document, "Statement": statements}


def in_account(statement: Mapping[str, Any], place: Mapping[str, str]) -> dict[str, Any]:
    """The statement with the account in the names of its things."""
    named = statement["Resource"]

    def narrowed(name: str) -> str:
        found = ANY_ACCOUNT.sub(rf"\g<1>{place['account']}", name)
        return found.replace("arn:aws:", f"arn:{place['partition']}:", 1)

    return {**statement, "Resource": narrowed(named) if isinstance(named, str) else [narrowed(name) for name in named]}


def of_bucket(state: Address, partition: str) -> list[dict[str, Any]]:
    """Objects below the state's prefix.

    The list has no condition: without the right to list, S3 says 403 for a document that is not there.
    """
    bucket = f"arn:{partition}:s3:::{state.bucket}"
    below = f"{bucket}/{state.prefix}/*" if state.prefix else f"{bucket}/*"
    objects = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    return [
        {"Sid": "StateList", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket},
        {"Sid": "StateObjects", "Effect": "Allow", "Action": objects, "Resource": below},
    ]


def trust(asked: Setup) -> dict[str, Any]:
    """Only tokens of that branch, made for us."""
    caller = asked.caller
    same = {f"{caller.issuer}:aud": AUDIENCE, f"{caller.issuer}:sub": caller.subject}
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": issuer_name(asked)},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": same},
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def issuer_name(asked: Setup) -> str:
    """The forge in this account."""
    return f"arn:{asked.place['partition']}:iam::{asked.place['account']}:oidc-provider/{asked.caller.issuer}"


def commands(asked: Setup) -> str:
    """What an administrator of the account runs once."""
    caller, forge = asked.caller, f"--open-id-connect-provider-arn {issuer_name(asked)}"
    return f"""#!/bin/sh
# Makes the role {ROLE} of account {asked.place["account"]}, which {caller.subject} alone may take.
set -eu
cd "$(dirname "$0")"
aws iam get-open-id-connect-provider {forge} > /dev/null 2>&1 ||
  aws iam create-open-id-connect-provider --url https://{caller.issuer} --client-id-list {AUDIENCE}
aws iam add-client-id-to-open-id-connect-provider {forge} --client-id {AUDIENCE}
aws iam get-role --role-name {ROLE} > /dev/null 2>&1 ||
  aws iam create-role --role-name {ROLE} --assume-role-policy-document file://aws-trust.json
aws iam update-assume-role-policy --role-name {ROLE} --policy-document file://aws-trust.json
# Addresses that a machine gets end with the session: 12 h instead of one.
aws iam update-role --role-name {ROLE} --max-session-duration {LONGEST_S}
aws iam put-role-policy --role-name {ROLE} --policy-name cloudtrain --policy-document file://aws-policy.json
echo "AWS_ROLE_ARN is arn:{asked.place["partition"]}:iam::{asked.place["account"]}:role/{ROLE}"
"""
