"""The account as which machines at Google run: it may delete machines of ours, and nothing else. Never the default one.

A machine needs it to delete itself, which is its second time limit. Compute Engine's deletes take the scope `compute`;
the Cloud TPU API takes `cloud-platform` alone (its discovery document), so that there only the role is a limit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from cloudtrain.errors import NotFound, ProviderError, UsageError, visible
from cloudtrain.providers import Finding

NAME = "cloudtrain-machine"
VARIABLE = "CLOUDTRAIN_GCP_ACCOUNT"
COMPUTE_SCOPE = "https://www.googleapis.com/auth/compute"
TPU_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ROLES = {
    "cloudtrainMachine": ("compute.instanceGroupManagers.delete", "compute.instances.delete"),
    "cloudtrainTpuMachine": ("tpu.nodes.delete",),  # queued resources have no permissions of their own
}
# Names of ours alone. Conditions know no names of the Cloud TPU API, so that its role covers the project's TPUs.
CONDITION = (
    'resource.name.extract("/instances/{name}").startsWith("ct-") || '
    'resource.name.extract("/instanceGroupManagers/{name}").startsWith("ct-")'
)
ACT_AS = "iam.serviceAccounts.actAs"
TOO_MUCH = ("roles/owner", "roles/editor")
_ADDRESS = r"[a-z][-a-z0-9]{4,28}[a-z0-9]@[a-z][-a-z0-9.]*\.iam\.gserviceaccount\.com"


def address(project: str) -> str:
    """The account's address: CLOUDTRAIN_GCP_ACCOUNT, else the usual name in the project.

    A project of a domain, `example.com:name`, is the other way round in it. Raises UsageError for what is no address
    of an account that somebody made: the default accounts of Compute Engine and App Engine may do far more.
    """
    named = os.environ.get(VARIABLE, "").strip()
    if named and not re.fullmatch(_ADDRESS, named):
        raise UsageError(f"{VARIABLE} is `{visible(named)}`", f"write {NAME}@<project>.iam.gserviceaccount.com")
    return named or f"{NAME}@{home(project)}"


def home(project: str) -> str:
    """What follows the @ in the addresses of a project's accounts."""
    domain, _, name = project.rpartition(":")
    return f"{name}{'.' if domain else ''}{domain}.iam.gserviceaccount.com"


def commands(project: str, account: str, you: str = "user:YOU") -> tuple[str, ...]:
    """What makes the account and the roles that it has, once for each project."""
    member, condition = f"--member=serviceAccount:{account}", f"title=cloudtrain,expression={CONDITION}"
    roles = [
        f"gcloud iam roles create {role} --project={project} --permissions={','.join(permissions)}"
        for role, permissions in ROLES.items()
    ]
    bind = f"gcloud projects add-iam-policy-binding {project} {member} --role=projects/{project}/roles"
    return (
        f"gcloud iam service-accounts create {account.partition('@')[0]} --project={project}",
        *roles,
        f"{bind}/cloudtrainMachine --condition='{condition}'",
        f"{bind}/cloudtrainTpuMachine --condition=None",
        act_as(account, you),
    )


def act_as(account: str, you: str = "user:YOU") -> str:
    """What lets you start machines that run as the account."""
    return (
        f"gcloud iam service-accounts add-iam-policy-binding {account} --member={you} "
        "--role=roles/iam.serviceAccountUser"
    )


def findings() -> Iterator[Finding]:
    """For doctor: whether it exists, whether you may use it, whether it may do more than it should."""
    from . import rest

    if not rest.reachable(rest.IAM):
        return
    try:
        project = rest.project()
        account = address(project)
    except UsageError as error:
        yield Finding("service account", "problem", error.message, error.hint)
        return
    except ProviderError:
        return  # without a project nothing else is said either
    yield _there(project, account)
    yield _rights(project, account)


def _there(project: str, account: str) -> Finding:
    from . import rest

    path, make = f"/projects/{project}/serviceAccounts/{account}", " && ".join(commands(project, account))
    what = "service account"
    try:
        rest.call(rest.IAM, "GET", path)
        asked = rest.call(rest.IAM, "POST", f"{path}:testIamPermissions", body={"permissions": [ACT_AS]})
    except NotFound:
        return Finding(what, "problem", f"{account} does not exist, and no machine is started without it", make)
    except ProviderError as error:
        return Finding(what, "unknown", error.message, f"to make {account}: {make}")
    if ACT_AS not in (asked.get("permissions") or ()):
        return Finding(what, "problem", f"you may not start machines that run as {account}", act_as(account))
    return Finding(what, "ok", f"{account}, and you may start machines that run as it")


def _rights(project: str, account: str) -> Finding:
    from . import rest

    what, member = "service account's rights", f"serviceAccount:{account}"
    try:
        policy = rest.call(rest.PROJECTS, "POST", f"/projects/{project}:getIamPolicy", body={})
    except ProviderError as error:
        return Finding(what, "unknown", error.message, "resourcemanager.projects.getIamPolicy shows them")
    bindings = [each for each in policy.get("bindings") or [] if member in (each.get("members") or [])]
    roles = sorted({str(each.get("role")) for each in bindings})
    if found := [role for role in roles if role in TOO_MUCH]:
        fix = f"gcloud projects remove-iam-policy-binding {project} --member={member} --role={found[0]}"
        message = f"it is {found[0].rpartition('/')[2]} of the project, and so is whoever is root on a machine"
        return Finding(what, "problem", message, fix, barring=False)
    if any(str(b.get("role")).endswith("/cloudtrainMachine") and not b.get("condition") for b in bindings):
        message = "its role has no condition: a machine could delete machines that are not ours"
        bound = commands(project, account)[3]
        return Finding(what, "problem", message, bound, barring=False)
    if not roles:
        hint = " && ".join(commands(project, account)[1:-1])
        return Finding(what, "problem", "none: a machine could not delete itself", hint, barring=False)
    return Finding(what, "ok", f"its roles in the project: {', '.join(role.rpartition('/')[2] for role in roles)}")
