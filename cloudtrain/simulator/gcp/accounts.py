"""The service accounts of a fake project: which there are, which the caller may act as, and what a machine may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROJECT = "simulation-project"
MACHINES = f"cloudtrain-machine@{PROJECT}.iam.gserviceaccount.com"
DEFAULT = "123456789012-compute@developer.gserviceaccount.com"
COMPUTE_SCOPES = {"https://www.googleapis.com/auth/compute", "https://www.googleapis.com/auth/cloud-platform"}
OWN_CALLS = ("instances.delete", "instanceGroupManagers.delete")  # of the role in templates/policies/gcp-machine.yaml
CONDITION = {"title": "cloudtrain", "expression": 'resource.name.extract("/instances/{name}").startsWith("ct-")'}


def project_policy() -> list[dict[str, Any]]:
    """The project's bindings, as the commands that doctor prints leave them."""
    return [
        {"role": "roles/owner", "members": ["user:somebody@example.com"]},
        {
            "role": f"projects/{PROJECT}/roles/cloudtrainMachine",
            "members": [f"serviceAccount:{MACHINES}"],
            "condition": CONDITION,
        },
    ]


@dataclass
class ServiceAccounts:
    """`existing` and `usable` (by the caller) are addresses; `default` stands for Compute Engine's own."""

    existing: set[str] = field(default_factory=lambda: {MACHINES, DEFAULT, "default"})
    usable: set[str] = field(default_factory=lambda: {MACHINES, DEFAULT, "default"})
    bindings: list[dict[str, Any]] = field(default_factory=project_policy)

    def refuses(self, wanted: list[Mapping[str, Any]]) -> tuple[str, str] | None:
        """Code and message with which a machine's insert fails, if one of its accounts cannot be had."""
        for account in (str(each.get("email", "")) for each in wanted):
            if account not in self.existing:
                return (
                    "EXTERNAL_RESOURCE_NOT_FOUND",
                    f"The resource '{account}' of type 'serviceAccount' was not found.",
                )
            if account not in self.usable:
                message = f"The user does not have access to service account '{account}'. User: 'somebody@example.com'."
                role = "Ask a project owner to grant you the iam.serviceAccountUser role on the service account"
                return "SERVICE_ACCOUNT_ACCESS_DENIED", f"{message} {role}"
        return None


def barred(machine: Mapping[str, Any], call: str, name: str) -> str:
    """Why a machine's token does not do for a call, "" when it does: its scopes, then what its account may do."""
    account: Mapping[str, Any] = next(iter(machine.get("serviceAccounts") or []), {})
    if not COMPUTE_SCOPES & set(account.get("scopes") or []):
        return "Request had insufficient authentication scopes."
    if account.get("email") in ("default", DEFAULT):  # an editor, as new projects have it
        return ""
    if call in OWN_CALLS and name.startswith("ct-"):
        return ""
    return f"Required 'compute.{call}' permission for '{name}'"
