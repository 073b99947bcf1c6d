"""Least rights for who runs cloudtrain from CI: every call of the stacks is covered, and nothing else is."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudtrain.doctor import setup
from cloudtrain.errors import UsageError
from cloudtrain.nights.schedule import once
from cloudtrain.providers import Setup
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.state import address
from tests.cli.clouds_here import without_credentials
from tests.conftest import Result
from tests.patience import TIMING
from tests.stacks.gcp import gce_world

ACCOUNT, PROJECT = "123456789012", "acme-train"
BUCKETS = {"s3": "s3://acme-runs/nights/eu?region=eu-west-1", "gs": "gs://acme-runs/nights"}
GITHUB = setup.github("acme/tunes", "main")
PREFIXES = {"service-quotas": "servicequotas"}  # where IAM calls a service otherwise than the SDK
QUESTIONS = ("projects.testIamPermissions", "serviceAccounts.test")  # what one may do, which anybody may ask
# What Compute Engine's methods need, where the permission has another name than the method.
VERBS = {"insert": "create", "aggregatedList": "list", "listErrors": "list", "testIamPermissions": "get"}


def written(provider: str, state: str, caller: Any = GITHUB) -> dict[str, str]:
    """A provider's files."""
    account = ACCOUNT if provider == "aws" else PROJECT
    return setup.files([provider], caller, state, account)[0]


def policy(state: str = BUCKETS["s3"]) -> list[dict[str, Any]]:
    """The statements for AWS, each with lists of actions and resources."""
    statements = json.loads(written("aws", state)["aws-policy.json"])["Statement"]
    listed = lambda value: [value] if isinstance(value, str) else value  # noqa: E731
    return [{**each, "Action": listed(each["Action"]), "Resource": listed(each["Resource"])} for each in statements]


def senders() -> set[str]:
    """The functions of the stack's client that send what they are told to."""
    text = files("cloudtrain.stacks").joinpath("aws", "client.py").read_text()
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    return {each.name for each in found if "operation" in {arg.arg for arg in each.args.args} and each.name[0] != "_"}


def calls_of_aws() -> Iterator[tuple[str, str, str]]:
    """(file, service, operation) of every request in the stack's source; an operation that is no literal is "?"."""
    known = senders()
    for path in files("cloudtrain.stacks").joinpath("aws").iterdir():
        if not path.name.endswith(".py") or path.name == "client.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            if name not in known:
                continue
            assert isinstance(node, ast.Call)
            words = [e for arg in node.args for e in (arg.value.elts if isinstance(arg, ast.Starred) else [arg])]  # type: ignore[attr-defined]
            said = [word.value if isinstance(word, ast.Constant) else "?" for word in words]
            if name == "dry_run":
                said = ["ec2", *said]
            yield path.name, str(said[0]), str(said[2])


def test_every_call_of_the_aws_stack_is_allowed() -> None:
    allowed = {action for statement in policy() for action in statement["Action"]}
    found = set(calls_of_aws())
    assert len(found) > 20
    missing = {
        (file, service, operation)
        for file, service, operation in found
        if f"{PREFIXES.get(service, service)}:{''.join(part.title() for part in operation.split('_'))}" not in allowed
    }
    assert missing == set()


def test_no_statement_allows_everything() -> None:
    for statement in policy():
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action], statement
        if "*" in statement["Resource"]:
            reads = ("Describe", "Get", "List")
            assert all(action.split(":")[1].startswith(reads) for action in statement["Action"]), statement


def test_names_are_filled_in_everywhere() -> None:
    for provider, state in (("aws", BUCKETS["s3"]), ("gcp", BUCKETS["gs"])):
        for text in written(provider, state).values():
            assert re.findall(r"\b(?:YOU|ACCOUNT|PROJECT|OWNER|@[A-Z]+@)\b", text) == []
    for statement in policy():
        for resource in statement["Resource"]:
            account = resource.split(":")[4] if resource.startswith("arn:aws:") else ""
            assert account in ("", ACCOUNT), resource


def test_the_state_s_objects_alone_can_be_written() -> None:
    of_bucket = [each for each in policy() if any(action.startswith("s3:") for action in each["Action"])]
    assert {resource for each in of_bucket for resource in each["Resource"]} == {
        "arn:aws:s3:::acme-runs",
        "arn:aws:s3:::acme-runs/nights/eu/*",
    }
    assert [each["Action"] for each in of_bucket if each["Resource"] == ["arn:aws:s3:::acme-runs"]] == [
        ["s3:ListBucket"]
    ]
    assert not [each for each in policy(BUCKETS["gs"]) if any(action.startswith("s3:") for action in each["Action"])]
    assert "arn:aws:s3:::acme-runs/*" in str(policy("s3://acme-runs"))


def test_the_policy_is_short_enough_for_a_role() -> None:
    """10,240 characters without white space, all policies of a role together."""
    assert len(re.sub(r"\s", "", written("aws", BUCKETS["s3"])["aws-policy.json"])) < 10_240


@pytest.mark.parametrize(
    ("caller", "issuer", "subject"),
    [
        (GITHUB, "token.actions.githubusercontent.com", "repo:acme/tunes:ref:refs/heads/main"),
        (
            setup.gitlab("group/sub/tunes", "main", "gitlab.example.org"),
            "gitlab.example.org",
            "project_path:group/sub/tunes:ref_type:branch:ref:main",
        ),
    ],
)
def test_one_branch_alone_may_take_the_role(caller: Any, issuer: str, subject: str) -> None:
    (statement,) = json.loads(written("aws", BUCKETS["s3"], caller)["aws-trust.json"])["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{issuer}:aud": "sts.amazonaws.com", f"{issuer}:sub": subject}},
    }
    told = written("gcp", BUCKETS["gs"], caller)["gcp-commands.sh"]
    assert f"--issuer-uri=https://{issuer} " in told
    words = next(shlex.split(line) for line in told.splitlines() if "create-oidc" in line)
    assert f"--attribute-condition=assertion.sub == '{subject}'" in words
    assert not [word for word in words if "audience" in word]  # the provider's own name, which is the default
    assert f'/subject/{subject}"' in told


def test_what_schedule_says_is_what_setup_makes() -> None:
    amazon, google = (import_module(f"cloudtrain.stacks.{name}.least_rights") for name in ("aws", "gcp"))
    assert (once.ROLE, once.LONGEST_S) == (amazon.ROLE, amazon.LONGEST_S)
    assert once.POOL.endswith(f"/workloadIdentityPools/{google.NAME}/providers/{google.PROVIDER}")
    assert once.ROLE == google.NAME


def test_a_session_may_last_twelve_hours() -> None:
    assert "--max-session-duration 43200\n" in written("aws", BUCKETS["s3"])["aws-commands.sh"]


def test_the_commands_are_a_shell_script_of_known_programs(tmp_path: Path) -> None:
    for provider, state in (("aws", BUCKETS["s3"]), ("gcp", BUCKETS["gs"])):
        script = tmp_path / f"{provider}.sh"
        script.write_text(written(provider, state)[f"{provider}-commands.sh"])
        subprocess.run(["sh", "-n", str(script)], check=True)
        tool = {"aws": "aws", "gcp": "gcloud"}[provider]
        log = tmp_path / "log"
        (tmp_path / tool).write_text(f'#!/bin/sh\necho "$@" >> {log}\necho 42\n')
        (tmp_path / tool).chmod(0o755)
        subprocess.run(
            ["sh", str(script)], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True, stdout=subprocess.PIPE
        )
        assert len(log.read_text().splitlines()) >= 5
        log.unlink()


@pytest.fixture
def gce(monkeypatch: pytest.MonkeyPatch) -> Iterator[GceCloud]:
    """A project in which somebody has made the machines' account."""
    made = GceCloud(Clock(gce_world.START))
    for name, value in {**made.environment(), "CLOUDTRAIN_SIMULATOR_TIMING": TIMING}.items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


def test_every_call_to_compute_engine_is_in_google_s_role(gce: GceCloud) -> None:
    for run, line in (("one", gce_world.PROCESSOR), ("two", gce_world.TWO_HOSTS)):
        gce_world.make(gce, line, run=run)
    list(gce_world.record().findings())
    gce_world.sweep(gce)
    role = yaml.safe_load(written("gcp", BUCKETS["gs"])["gcp-role.yaml"])["includedPermissions"]
    needed = {permission_of(call) for call in gce.calls if call not in QUESTIONS}
    assert len(needed) > 10
    assert needed - set(role) == set()


def permission_of(call: str) -> str:
    """The permission for a method of Compute Engine, of the projects' or the accounts' API."""
    noun, _, verb = call.replace("regionInstanceTemplates", "instanceTemplates").rpartition(".")
    if noun == "operations":
        return "compute.globalOperations.list"
    if noun == "serviceAccounts" or noun.endswith(".serviceAccounts"):
        return f"iam.serviceAccounts.{VERBS.get(verb, verb)}"
    if call == "services.quotaInfos":
        return "cloudquotas.quotas.get"
    if call == "projects.getIamPolicy":
        return "resourcemanager.projects.getIamPolicy"
    return f"compute.{noun}.{VERBS.get(verb, verb)}"


def test_google_s_role_has_what_doctor_looks_for() -> None:
    role = yaml.safe_load(written("gcp", BUCKETS["gs"])["gcp-role.yaml"])["includedPermissions"]
    for module in ("doctor_checks", "tpu_list"):
        assert set(import_module(f"cloudtrain.stacks.gcp.{module}").PERMISSIONS) <= set(role)
    assert not [permission for permission in role if "*" in permission or "setIamPolicy" in permission]


def test_google_s_account_signs_and_writes_the_bucket() -> None:
    told = written("gcp", BUCKETS["gs"])["gcp-commands.sh"]
    nights = f"serviceAccount:cloudtrain-nights@{PROJECT}.iam.gserviceaccount.com"
    assert f"gs://acme-runs --member={nights} --role=roles/storage.objectUser" in told
    assert f"--member={nights} --role=roles/iam.serviceAccountTokenCreator" in told
    assert "storage" not in "".join(
        line for line in written("gcp", "")["gcp-commands.sh"].splitlines() if "gs://" in line
    )
    role = yaml.safe_load(written("gcp", BUCKETS["gs"])["gcp-role.yaml"])["includedPermissions"]
    assert [each for each in role if each.startswith("bigquery")] == ["bigquery.jobs.create"]  # and one dataset to read
    assert f"# bq query --use_legacy_sql=false 'GRANT `roles/bigquery.dataViewer` ON SCHEMA `{PROJECT}.DATASET`" in told
    for broad in ("roles/editor", "roles/owner", "Admin"):
        assert broad not in told


def test_a_provider_without_policies_is_refused() -> None:
    for name in ("runpod", "local"):
        with pytest.raises(UsageError, match="no policies"):
            setup.files([name], GITHUB, "", "")
    with pytest.raises(UsageError, match="unknown provider"):
        setup.files(["azure"], GITHUB, "", "")


@pytest.mark.parametrize(
    ("provider", "account"), [("aws", "12345"), ("aws", PROJECT), ("gcp", ACCOUNT), ("gcp", "x;y")]
)
def test_an_account_of_another_shape_is_refused(provider: str, account: str) -> None:
    with pytest.raises(UsageError, match="--account"):
        setup.files([provider], GITHUB, "", account)


def test_another_partition_is_named_as_it_is() -> None:
    place = {"account": ACCOUNT, "partition": "aws-cn"}
    made = import_module("cloudtrain.stacks.aws.least_rights").files(Setup(GITHUB, place, address.parse(BUCKETS["s3"])))
    assert "arn:aws:" not in "".join(made.values())


@pytest.fixture
def nobody(own_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a repository, and nobody's credentials."""
    without_credentials(monkeypatch, own_world)
    monkeypatch.setenv("CLOUDTRAIN_STATE", BUCKETS["s3"])
    monkeypatch.chdir(own_world)
    return own_world


def test_doctor_writes_the_files_and_says_what_to_do(nobody: Path, cloudtrain: Callable[..., Result]) -> None:
    words = ("doctor", "--setup", "--repository", "acme/tunes", "--account", ACCOUNT)
    done = cloudtrain(*words)
    assert done.code == 0, done.err
    assert sorted(path.name for path in (nobody / "cloudtrain-setup").iterdir()) == [
        "aws-commands.sh",
        "aws-policy.json",
        "aws-trust.json",
    ]
    assert "gcp: left out" in done.err
    assert "sh cloudtrain-setup/aws-commands.sh" in done.err
    assert cloudtrain(*words).code == 0
    (nobody / "cloudtrain-setup" / "aws-trust.json").write_text("{}")
    done = cloudtrain(*words)
    assert (done.code, "is there already" in done.err) == (2, True)
    assert (nobody / "cloudtrain-setup" / "aws-trust.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("aws", "--account", ACCOUNT), 2, "--repository OWNER/NAME"),
        (("aws", "--account", ACCOUNT, "--repository", "acme"), 2, "owner/name"),
        (("aws", "--account", ACCOUNT, "--repository", "a/b", "--branch", "x y"), 2, "--branch"),
        (("aws", "--repository", "a/b"), 4, "--account"),
        (("--repository", "a/b"), 2, "no account is known"),
    ],
)
def test_what_is_not_known_is_asked_for(
    nobody: Path, cloudtrain: Callable[..., Result], words: tuple[str, ...], code: int, says: str
) -> None:
    done = cloudtrain("doctor", "--setup", *words)
    assert (done.code, says in done.err) == (code, True), done.err
    assert not (nobody / "cloudtrain-setup").exists()
