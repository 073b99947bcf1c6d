"""What `doctor` says about AWS: who we are, what we may do, which quotas are too small, and where to ask for more."""

from __future__ import annotations

from collections.abc import Iterator

from cloudtrain.errors import MissingCredentials, NotFound, Permission, ProviderError
from cloudtrain.providers import Finding

from .client import dry_run, read
from .errors import ALLOW
from .guard import IAM_REGION, POLICY, ROLE
from .owned import account, home_region
from .shapes import FAMILIES, image, quota_link

NO_INSTANCE = "i-00000000000000000"


def findings() -> Iterator[Finding]:
    """Credentials, permissions by dry run, quotas of the region, the scheduler's role. Raises nothing."""
    try:
        who = account()
    except ProviderError as error:
        yield Finding("AWS credentials", "problem", error.message, error.hint)
        return
    region = home_region()
    yield Finding("AWS credentials", "ok", f"account {who['account']}, {who['user']}, looking at {region}")
    yield run_permission(region)
    yield end_permission(region)
    yield role()
    for family in FAMILIES:
        for market, code in (("on demand", family.on_demand), ("spot", family.spot)):
            if code:
                yield quota(region, f"EC2 quota {family.name} {market}", code, family.least_vcpus)


def run_permission(region: str) -> Finding:
    """Whether RunInstances is allowed. It is asked for the smallest Trainium and performs nothing."""
    what = f"EC2 RunInstances in {region}"
    arguments = {"ImageId": image("trainium1"), "InstanceType": "trn1.2xlarge", "MinCount": 1, "MaxCount": 1}
    error = dry_run(region, "run_instances", **arguments)
    if error is None:
        return Finding(what, "ok", "allowed (dry run)")
    state = "problem" if isinstance(error, Permission | MissingCredentials) else "unknown"
    return Finding(what, state, error.message, error.hint)  # type: ignore[arg-type]


def end_permission(region: str) -> Finding:
    """Whether TerminateInstances is allowed. A policy that asks for our tag refuses it for an instance without one."""
    what = f"EC2 TerminateInstances in {region}"
    error = dry_run(region, "terminate_instances", InstanceIds=[NO_INSTANCE])
    if error is None or isinstance(error, NotFound):
        return Finding(what, "ok", "allowed (dry run)")
    if isinstance(error, Permission):
        return Finding(what, "unknown", "refused for an instance without our tag; it may be allowed for ours", ALLOW)
    return Finding(what, "unknown", error.message, error.hint)


def role() -> Finding:
    """Whether the scheduler has its role: without it a run has no time limit that AWS keeps."""
    what = f"IAM role {ROLE}"
    try:
        read("iam", IAM_REGION, "get_role_policy", RoleName=ROLE, PolicyName=POLICY)
    except NotFound:
        return Finding(
            what, "unknown", "not there; the first run makes it (iam:CreateRole, PutRolePolicy, PassRole)", ALLOW
        )
    except ProviderError as error:
        return Finding(what, "problem", error.message, error.hint)
    return Finding(what, "ok", "there")


def quota(region: str, what: str, code: str, least_vcpus: int) -> Finding:
    """Whether the quota holds the smallest machine of its family."""
    try:
        answer = read("service-quotas", region, "get_service_quota", ServiceCode="ec2", QuotaCode=code)
    except ProviderError as error:
        return Finding(what, "unknown", error.message, error.hint)
    vcpus = float(answer["Quota"]["Value"])
    message = f"{code}: {vcpus:g} vCPUs, the smallest machine needs {least_vcpus}"
    if vcpus < least_vcpus:
        return Finding(what, "problem", message, f"ask for more at {quota_link(code, region)}")
    return Finding(what, "ok", message)
