"""What `doctor` says about Compute Engine: sign-in, the API, permissions, and the quotas that stop TPUs."""

from __future__ import annotations

from collections.abc import Iterator

from cloudtrain.errors import MissingCredentials, ProviderError
from cloudtrain.providers import Finding

from .errors import QUOTAS
from .rest import COMPUTE, PROJECTS, account, call

_NOUNS = ("instances", "disks", "instanceGroupManagers", "instanceTemplates", "resourcePolicies")
PERMISSIONS = (
    *(f"compute.{noun}.{verb}" for noun in _NOUNS for verb in ("create", "delete", "get", "list")),
    *("compute.instances.setLabels", "compute.instances.setMetadata", "compute.instances.setServiceAccount"),
    *("compute.disks.setLabels", "compute.subnetworks.use", "compute.subnetworks.useExternalIp"),
    *("compute.zoneOperations.list", "compute.regionOperations.list", "compute.globalOperations.list"),
    *("compute.zones.list", "cloudquotas.quotas.get"),
)


def findings() -> Iterator[Finding]:
    """Credentials first; without them nothing else is asked. Raises nothing of a provider's."""
    try:
        project = account()["project"]
    except MissingCredentials as error:
        yield Finding("Google Cloud credentials", "problem", error.message, error.hint)
        return
    yield Finding("Google Cloud credentials", "ok", f"project {project}")
    try:
        call(COMPUTE, "GET", f"/projects/{project}/zones", query={"maxResults": 1})
        yield Finding("Compute Engine API", "ok", "answers")
    except ProviderError as error:
        yield Finding("Compute Engine API", "problem", error.message, error.hint)
        return
    yield _permissions(project)
    yield _all_regions(project)


def _permissions(project: str) -> Finding:
    what, hint = "Compute Engine permissions", "give this account the role in templates/policies/gcp.yaml"
    try:
        body = {"permissions": list(PERMISSIONS)}
        answer = call(PROJECTS, "POST", f"/projects/{project}:testIamPermissions", body=body)
    except ProviderError as error:
        return Finding(what, "unknown", error.message, "enable the Cloud Resource Manager API to have this looked at")
    missing = sorted(set(PERMISSIONS) - set(answer.get("permissions") or ()))
    if missing:
        return Finding(what, "problem", f"missing: {', '.join(missing)}", hint)
    return Finding(what, "ok", f"all {len(PERMISSIONS)}")


def _all_regions(project: str) -> Finding:
    """GPUS_ALL_REGIONS at 0, as new billing accounts have it, stops TPUs too (a field report of 2026)."""
    what = "quota GPUS_ALL_REGIONS"
    try:
        quotas = call(COMPUTE, "GET", f"/projects/{project}").get("quotas") or []
    except ProviderError as error:
        return Finding(what, "unknown", error.message, error.hint)
    limit = next((quota.get("limit") for quota in quotas if quota.get("metric") == "GPUS_ALL_REGIONS"), None)
    if limit is None:
        return Finding(what, "unknown", "the project does not list it", QUOTAS)
    if limit <= 0:
        return Finding(what, "problem", "0: no TPU starts in a project like this", QUOTAS)
    return Finding(what, "ok", f"{limit:g}")
