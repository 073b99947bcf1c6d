"""A machine at Google has the rights that it needs and no others, and none is made where nobody has given it those."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import NoCapacity, Permission, ProviderError, UsageError
from cloudtrain.records import RowRecord
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.accounts import MACHINES, OWN_CALLS
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.gcp.tpu import TpuCloud
from tests.campaign.client import Client
from tests.campaign.clouds import TARGETS
from tests.campaign.fork_server import ForkServer
from tests.campaign.forked_client import ForkedClient
from tests.patience import TIMING
from tests.stacks.gcp import tpu_world
from tests.stacks.gcp.gce_world import ONE_HOST, PROCESSOR, START, TWO_HOSTS, make, record

COMPUTE = "https://www.googleapis.com/auth/compute"
account = import_module("cloudtrain.stacks.gcp.service_account")


@pytest.fixture
def gce(monkeypatch: pytest.MonkeyPatch) -> Iterator[GceCloud]:
    """A project in which somebody has made the account."""
    made = GceCloud(Clock(START))
    for name, value in {**made.environment(), "CLOUDTRAIN_SIMULATOR_TIMING": TIMING}.items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


@pytest.mark.parametrize("line", [ONE_HOST, PROCESSOR])
def test_a_machine_may_use_the_compute_api_alone(gce: GceCloud, line: RowRecord) -> None:
    """It has to delete itself; an account that may read buckets or end other machines is not its own."""
    make(gce, line)
    accounts = [account for each in gce.table.of("instances") for account in each.get("serviceAccounts", [])]
    assert [account["scopes"] for account in accounts] == [[COMPUTE]]
    assert "default" not in [account["email"] for account in accounts]


def test_a_tpu_machine_runs_as_the_same_account() -> None:
    """With the one scope that its API takes; nothing of it is the default account's."""
    machine, limit = (tpu_world.parts(tpu_world.SPOT)[role] for role in ("machine", "time-limit"))
    assert machine.inputs["worker"] == limit.inputs["worker"] == MACHINES
    request = import_module("cloudtrain.stacks.gcp.tpu_machine")._request(machine.inputs)
    node = request["tpu"]["nodeSpec"][0]["node"]
    assert node["serviceAccount"] == {"email": MACHINES, "scope": [account.TPU_SCOPE]}


def ask(gce: GceCloud, machine: dict[str, Any], method: str, path: str) -> int:
    """The status of a call with the machine's token."""
    token = import_module("cloudtrain.simulator.gcp.compute.metadata").token_of(machine)
    request = urllib.request.Request(f"{gce.url}{path}", method=method, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_its_token_deletes_machines_of_ours_and_does_nothing_else(gce: GceCloud) -> None:
    """As the role and its condition say; a scope that is missing is noticed too."""
    make(gce, ONE_HOST)
    (machine,) = gce.table.of("instances")
    place = "/compute/v1" + machine["selfLink"].partition("/compute/v1")[2]
    assert ask(gce, machine, "GET", place) == 403
    assert ask(gce, machine, "DELETE", place.replace("ct-", "db-")) == 403
    assert ask(gce, machine, "POST", f"/v1/projects/{place.split('/')[4]}:getIamPolicy") == 403
    machine["serviceAccounts"][0]["scopes"] = ["https://www.googleapis.com/auth/devstorage.read_only"]
    assert ask(gce, machine, "DELETE", place) == 403
    machine["serviceAccounts"][0]["scopes"] = [COMPUTE]
    assert ask(gce, machine, "DELETE", place) == 200


def lose(gce: GceCloud, what: str) -> None:
    """The account is not there, or the caller may not act as it."""
    getattr(gce.accounts, what).discard(MACHINES)


@pytest.mark.parametrize("what", ["existing", "usable"])
@pytest.mark.parametrize("line", [ONE_HOST, TWO_HOSTS, PROCESSOR])
def test_without_the_account_nothing_is_made(gce: GceCloud, line: RowRecord, what: str) -> None:
    """Google refuses, which is a matter of rights with a command, not of capacity."""
    lose(gce, what)
    with pytest.raises(Permission) as refused:
        make(gce, line)
    assert not isinstance(refused.value, NoCapacity)
    assert "cloudtrain doctor gcp" in refused.value.hint
    assert gce.ledger.entries == []


def test_without_the_account_no_tpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit comes first and is refused; so would be the machine."""
    cloud = TpuCloud(Clock(tpu_world.START))
    for name, value in {**cloud.environment(), "CLOUDTRAIN_SIMULATOR_TIMING": TIMING}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(account.VARIABLE, "nobody-made@simulation-project.iam.gserviceaccount.com")
    try:
        made = tpu_world.parts(tpu_world.SPOT)
        tpu_world.make(made["time-limit-queue"])
        for role in ("time-limit", "machine"):
            with pytest.raises(Permission, match="actAs") as refused:
                tpu_world.make(made[role])
            assert "cloudtrain doctor gcp" in refused.value.hint
        assert cloud.leftovers() == []
    finally:
        cloud.stop()


@pytest.mark.parametrize("name", ["gce", "tpu"])
def test_up_without_the_account_ends_4_with_the_command(name: str, tmp_path: Path, fork_server: ForkServer) -> None:
    """And nothing is left, nothing was paid for."""
    fake = TARGETS[name].fake(Clock())
    unmade = {account.VARIABLE: "nobody-made@simulation-project.iam.gserviceaccount.com"}
    try:
        person = ForkedClient(fork_server, tmp_path, fake, HOME=str(tmp_path), **unmade)
        ended = person.run("up", *Client.up_words(), *TARGETS[name].words, "--name", "mine")
        assert (ended.code, fake.leftovers()) == (4, [])
        assert "cloudtrain doctor gcp" in ended.err
        assert fake.ledger.entries == []
    finally:
        fake.stop()


@pytest.mark.parametrize(
    ("project", "named", "address"),
    [
        ("mine", "", "cloudtrain-machine@mine.iam.gserviceaccount.com"),
        ("example.com:mine", "", "cloudtrain-machine@mine.example.com.iam.gserviceaccount.com"),
        ("mine", "trainers@other.iam.gserviceaccount.com", "trainers@other.iam.gserviceaccount.com"),
    ],
)
def test_the_account_has_a_usual_name(project: str, named: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the one that the environment names."""
    monkeypatch.setenv(account.VARIABLE, named)
    assert account.address(project) == address


@pytest.mark.parametrize(
    "named", ["default", "123-compute@developer.gserviceaccount.com", "p@appspot.gserviceaccount.com"]
)
def test_a_default_account_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may do far more than to delete a machine."""
    monkeypatch.setenv(account.VARIABLE, named)
    with pytest.raises(UsageError, match=account.VARIABLE):
        account.address("mine")


def told(gce: GceCloud) -> dict[str, tuple[str, str]]:
    """What doctor says about accounts: state, and message with hint."""
    found = [each for each in record().findings() if each.what.startswith("service account")]
    return {each.what.partition("account")[2]: (each.state, f"{each.message} {each.hint}") for each in found}


def test_doctor_says_whether_the_account_is_there_and_what_it_may(gce: GceCloud) -> None:
    """Made as advised it is fine; an editor, an owner and a role without its condition are named."""
    assert {state for state, _ in told(gce).values()} == {"ok"}
    own = gce.accounts.bindings.pop()
    assert told(gce)["'s rights"][0] == "problem"
    gce.accounts.bindings.append({key: own[key] for key in ("role", "members")})
    assert told(gce)["'s rights"][0] == "problem"
    gce.accounts.bindings.append({"role": "roles/editor", "members": [f"serviceAccount:{MACHINES}"]})
    state, words = told(gce)["'s rights"]
    assert (state, "editor of the project" in words) == ("problem", True)
    assert f"--member=serviceAccount:{MACHINES} --role=roles/editor" in words


def test_doctor_prints_the_commands_that_are_missing(gce: GceCloud) -> None:
    """All of them without the account; the one that lets you use it when it is there."""
    lose(gce, "usable")
    assert account.act_as(MACHINES) in told(gce)[""][1]
    lose(gce, "existing")
    state, words = told(gce)[""]
    assert state == "problem"
    assert all(command in words for command in account.commands("simulation-project", MACHINES))
    assert 'startsWith("ct-")' in words


def test_the_roles_of_a_machine_are_what_it_calls() -> None:
    """The fake's machines may do the same, and the client's policy file says how the account is made."""
    assert {
        "cloudtrainMachine": tuple(sorted(f"compute.{call}" for call in OWN_CALLS)),
        "cloudtrainTpuMachine": ("tpu.nodes.delete",),
    } == account.ROLES
    header = files("cloudtrain.templates").joinpath("policies", "gcp.yaml").read_text()
    usual = account.commands("PROJECT", "cloudtrain-machine@PROJECT.iam.gserviceaccount.com")
    assert [command for command in usual if f"#   {command}\n" not in header] == []


def test_a_refusal_about_the_account_is_no_missing_machine() -> None:
    """A 404 that is about the account must not pass for "nothing is there"."""
    errors = import_module("cloudtrain.stacks.gcp.errors")
    said = f"The resource '{MACHINES}' of type 'serviceAccount' was not found."
    error: ProviderError = errors.refusal({"error": {"message": said, "errors": [{"reason": "notFound"}]}}, 404)
    assert type(error) is Permission
