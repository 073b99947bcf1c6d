"""What the three stacks send to a machine with a job: the address of its ticket, made at the time of the call only."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from cloudtrain.providers import Stack, load
from cloudtrain.records import RowRecord
from tests.records import row

NOW = 1790000000.0
TICKET = "runs/one/tickets/1.json"
AWS = row(
    provider="aws",
    offer="c7i.large",
    hardware="cpu-amx",
    market="on_demand",
    region="us-east-1",
    zone="",
)
GCP = row(
    provider="gcp",
    offer="c4-standard-8",
    hardware="cpu-amx",
    market="on_demand",
    region="us-central1",
    zone="",
)
RUNPOD = row(
    provider="runpod",
    offer="cpu5c x4",
    hardware="cpu",
    count=4,
    market="on_demand",
    region="any",
)


@dataclass
class APlan:
    """What `resources` reads of a plan."""

    line: RowRecord
    run: str = "one"
    attempt: int = 1
    deadline: float = NOW + 3600
    state: str = ""
    boot: Mapping[str, Any] | None = field(default_factory=lambda: {"ticket": TICKET, "signed_at": NOW})


def machine(line: RowRecord, **more: Any) -> dict[str, Any]:
    """The machine's inputs."""
    cloud = load("stacks", line.provider, Stack).cloud
    assert cloud is not None
    assert cloud.serves(line.key)
    made: Any = APlan(line, **more)
    found = next(r for r in cloud.resources(made, {"account": "1", "project": "p"}) if r.role == "machine")
    return {**found.inputs, "needs": {"firewall": {"id": "sg-1"}}}


def request(line: RowRecord, inputs: Mapping[str, Any]) -> str:
    """What is sent, as text."""
    stack = f"cloudtrain.stacks.{ {'aws': 'aws.machine', 'gcp': 'gcp.kinds', 'runpod': 'runpod.pods'}[line.provider] }"
    module = importlib.import_module(stack)
    made = {"aws": "request", "gcp": "_instance_body", "runpod": "body"}[line.provider]
    arguments = (inputs, None) if line.provider == "aws" else (inputs,)
    return json.dumps(getattr(module, made)(*arguments))


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "PLANTED-SECRET-KEY"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_STATE", "s3://bucket/state")


@pytest.mark.parametrize("line", [AWS, GCP, RUNPOD], ids=["aws", "gcp", "runpod"])
def test_the_address_is_in_the_request_alone_and_the_same_in_a_repeat(line: RowRecord) -> None:
    inputs = machine(line)
    assert inputs["boot"] == {"ticket": TICKET, "signed_at": NOW}
    assert "X-Amz-Signature" not in json.dumps(inputs)
    sent = request(line, inputs)
    assert sent.count("X-Amz-Signature=") == 1
    assert f"/{TICKET}?X-Amz-" in sent
    assert "PLANTED" not in sent
    assert sent == request(line, inputs)


@pytest.mark.parametrize("line", [AWS, GCP, RUNPOD], ids=["aws", "gcp", "runpod"])
def test_a_machine_without_a_job_gets_its_timer_alone(line: RowRecord) -> None:
    inputs = machine(line, boot=None)
    assert "boot" not in inputs
    sent = request(line, inputs)
    assert "CLOUDTRAIN_TICKET" not in sent
    assert len(sent) < 7000


@pytest.mark.parametrize("line", [AWS, GCP, RUNPOD], ids=["aws", "gcp", "runpod"])
def test_up_can_run_jobs_on_its_processors(line: RowRecord) -> None:
    assert "torch-cpu" in load("stacks", line.provider, Stack).backends
