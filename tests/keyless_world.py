"""Worlds for keyless jobs: GitHub's fake gives the job's token, a fake cloud exchanges it. One clock for all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from cloudtrain.signing import gcs
from cloudtrain.signing.keyless import amazon, google, identity
from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.simulator.aws.account import Role
from cloudtrain.simulator.ci_identity import GithubTokens
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.iam import IamCloud
from cloudtrain.simulator.gcp.storage import GcsCloud
from cloudtrain.state import credentials, federated

ARN = "arn:aws:iam::123456789012:role/ci/nights"
SECRET = "PLANTED-SECRET"
VARIABLES = (
    *(amazon.ROLE, amazon.KEY, amazon.SECRET, amazon.TOKEN, amazon.END, "AWS_PROFILE", "AWS_ENDPOINT_URL"),
    *("AWS_REGION", "AWS_DEFAULT_REGION", "GITHUB_ACTIONS", "GITLAB_CI", "GITHUB_RUN_ID", "CI_JOB_ID"),
    *(identity.URL, identity.BEARER, identity.FILE, identity.VARIABLE),
    *(google.PROVIDER, google.ACCOUNT, google.FAKE, "STORAGE_EMULATOR_HOST", *federated.KEY_FILES),
)


def forget(patch: pytest.MonkeyPatch) -> None:
    """No credentials of any kind, none held from before; what the product sets is taken away with the test."""
    for name in VARIABLES:
        patch.setenv(name, "")
        patch.delenv(name)
    patch.setattr(amazon, "_keys", None)
    patch.setattr(credentials, "renewal", None)
    patch.setattr(federated, "_held", {})
    gcs.signed_by_iam.cache_clear()


class Amazon(NamedTuple):
    """The fake cloud, the CI system's fake, and the role that trusts it."""

    cloud: AwsCloud
    issuer: GithubTokens
    role: Role
    state: str = "s3://bucket-state/team?region=us-east-1"


class Google(NamedTuple):
    """The fake buckets, the fake of both services that exchange and sign, the CI system's fake."""

    cloud: GcsCloud
    iam: IamCloud
    issuer: GithubTokens
    state: str = "gs://bucket-state/team"


@contextmanager
def amazon_world() -> Iterator[tuple[AwsCloud, GithubTokens]]:
    """For a module: keys take a moment to make."""
    cloud, issuer = AwsCloud(), GithubTokens()
    yield cloud, issuer
    cloud.stop()
    issuer.stop()


@contextmanager
def google_world() -> Iterator[tuple[GcsCloud, IamCloud, GithubTokens]]:
    """The same for Google."""
    issuer = GithubTokens()
    iam = IamCloud(issuer)
    cloud = GcsCloud(iam=iam)
    yield cloud, iam, issuer
    for each in (cloud, iam, issuer):
        each.stop()


def enter_amazon(
    made: tuple[AwsCloud, GithubTokens], patch: pytest.MonkeyPatch, clock: Clock, hours: int = 12
) -> Amazon:
    """A job of the main branch, which may be the role for so many hours; one bucket."""
    forget(patch)
    cloud, issuer = made
    cloud.reset(clock)
    issuer.reset(clock)
    s3.make_bucket(cloud, "bucket-state")
    role = cloud.roles[ARN] = Role(ARN, issuer, hours * 3600)
    where = {name: value for name, value in cloud.environment().items() if name not in (amazon.KEY, amazon.SECRET)}
    for name, value in {**where, **issuer.environment(), amazon.ROLE: ARN}.items():
        patch.setenv(name, value)
    return Amazon(cloud, issuer, role)


def enter_google(made: tuple[GcsCloud, IamCloud, GithubTokens], patch: pytest.MonkeyPatch, clock: Clock) -> Google:
    """A job of the main branch, which may act as the account; one bucket."""
    forget(patch)
    cloud, iam, issuer = made
    for each in (cloud, iam, issuer):
        each.reset(clock)
    cloud.make_bucket("bucket-state")
    for name, value in {**cloud.environment(), **issuer.environment()}.items():
        patch.setenv(name, value)
    return Google(cloud, iam, issuer)


def secrets_in(text: str) -> bool:
    """Whether anything planted, or a token of the job, is in a text."""
    return (
        SECRET in text
        or "eyJ" in text
        or any(os.environ.get(name, "\0") in text for name in (amazon.SECRET, amazon.TOKEN))
    )
