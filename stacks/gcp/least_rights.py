"""The least rights for an account that runs cloudtrain from CI without a key, and the commands that make it."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files as resources

from cloudtrain.errors import UsageError, visible
from cloudtrain.providers import Setup

from . import service_account, tpu_list

NAME = "cloudtrain-nights"  # of the account and of the pool
PROVIDER = "forge"
ROLE = "cloudtrain"
ASK = "bigquery.jobs.create"  # what was billed; the export's dataset is opened by hand, where there is one
LOOK = ("iam.serviceAccounts.get", "resourcemanager.projects.getIamPolicy")  # of `doctor`
APIS = (
    "cloudquotas",
    "cloudresourcemanager",
    "cloudtasks",
    "compute",
    "iam",
    "iamcredentials",
    "storage",
    "sts",
    "tpu",
)
PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


def place_of(account: str) -> dict[str, str]:
    """A project by its id. Raises UsageError."""
    if not PROJECT.fullmatch(account):
        raise UsageError(f"--account `{visible(account)}` is no Google Cloud project", "write its id, not its number")
    return {"project": account}


def files(asked: Setup) -> dict[str, str]:
    """A custom role, and the commands that make it, the account, and the pool that lets one branch act as it."""
    return {"gcp-role.yaml": role(), "gcp-commands.sh": commands(asked)}


def role() -> str:
    """The shipped role of Compute Engine, with what the Cloud TPU API, Cloud Tasks, BigQuery and `doctor` need."""
    import yaml

    shipped = yaml.safe_load(resources("cloudtrain.templates").joinpath("policies", "gcp.yaml").read_text())
    permissions = sorted({*shipped["includedPermissions"], *tpu_list.PERMISSIONS, *LOOK, ASK})
    return yaml.safe_dump({**shipped, "includedPermissions": permissions}, sort_keys=False)


def commands(asked: Setup) -> str:
    """What an administrator of the project runs once. Raises UsageError for a machine's account that is none."""
    project, caller = asked.place["project"], asked.caller
    machine = service_account.address(project)
    account = f"{NAME}@{service_account.home(project)}"
    member, of_account = (
        f"--member=serviceAccount:{account}",
        f"gcloud iam service-accounts add-iam-policy-binding {account}",
    )
    pool = f"--workload-identity-pool={NAME} --location=global --project={project}"
    bind = f"gcloud projects add-iam-policy-binding {project} {member}"
    condition = shlex.quote(f"assertion.sub == '{caller.subject}'")
    branch = f"principal://iam.googleapis.com/projects/$NUMBER/locations/global/workloadIdentityPools/{NAME}/subject/{caller.subject}"
    lines = [
        "#!/bin/sh",
        f"# Makes the account {account}, as which {caller.subject} alone may act.",
        "set -eu",
        'cd "$(dirname "$0")"',
        f"NUMBER=$(gcloud projects describe {project} --format='value(projectNumber)')",
        f"gcloud services enable --project={project} {' '.join(f'{api}.googleapis.com' for api in APIS)}",
        "# The account as which machines run, which may delete itself and nothing else.",
        *service_account.commands(project, machine, f"serviceAccount:{account}")[:-1],
        "# The account of the nights.",
        f"gcloud iam service-accounts create {NAME} --project={project}",
        f"gcloud iam roles create {ROLE} --project={project} --file=gcp-role.yaml",
        f"{bind} --role=projects/{project}/roles/{ROLE} --condition=None",
        service_account.act_as(machine, f"serviceAccount:{account}"),
        "# It signs the addresses that a machine gets.",
        f"{of_account} {member} --role=roles/iam.serviceAccountTokenCreator",
        *of_bucket(asked, member),
        "# What was billed, where its export to BigQuery is switched on: DATASET is the export's.",
        f"# bq query --use_legacy_sql=false 'GRANT `roles/bigquery.dataViewer` ON SCHEMA `{project}.DATASET`"
        f' TO "serviceAccount:{account}"\'',
        "# One branch, and no key.",
        f"gcloud iam workload-identity-pools create {NAME} --location=global --project={project}",
        f"gcloud iam workload-identity-pools providers create-oidc {PROVIDER} {pool} --issuer-uri=https://{caller.issuer}"
        f" --attribute-mapping=google.subject=assertion.sub --attribute-condition={condition}",
        f'{of_account} --role=roles/iam.workloadIdentityUser --member="{branch}"',
        f'echo "CLOUDTRAIN_GOOGLE_WORKLOAD_PROVIDER is projects/$NUMBER/locations/global/workloadIdentityPools/{NAME}'
        f'/providers/{PROVIDER}"',
        f'echo "CLOUDTRAIN_GOOGLE_SERVICE_ACCOUNT is {account}"',
    ]
    return "\n".join(lines) + "\n"


def of_bucket(asked: Setup, member: str) -> list[str]:
    """The objects of the state's bucket."""
    if asked.state is None or asked.state.scheme != "gs":
        return []
    bind = f"gcloud storage buckets add-iam-policy-binding gs://{asked.state.bucket} {member}"
    return [f"{bind} --role=roles/storage.objectUser"]
