"""What one RunPod key sees proves nothing about what was made with another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain import errors
from cloudtrain.providers import Cloud, Driver
from cloudtrain.simulator.runpod import KEY, RunpodCloud
from tests.stacks.runpod.runpod_world import LINE, NOW, cloud, fake, pod

__all__ = ["cloud", "fake", "pod"]  # fixtures


def inputs_of(cloud: Cloud) -> Any:
    """The inputs of a plan's pod, with the place that the account gives."""
    plan: Any = SimpleNamespace(run="one", attempt=1, line=LINE, deadline=NOW + 3600, boot=None, state="")
    (resource,) = cloud.resources(plan, cloud.account())
    return resource.inputs


def test_the_mark_of_the_key_is_in_the_place_and_tells_nothing_of_it(fake: RunpodCloud, cloud: Cloud) -> None:
    """Eight digits of its hash."""
    inputs = inputs_of(cloud)
    assert inputs["place"] == {"key": hashlib.sha256(KEY.encode()).hexdigest()[:8], "region": "EU-RO-1"}
    assert KEY not in json.dumps(inputs)


@pytest.mark.parametrize(
    "ask",
    [
        lambda cloud, pod, inputs: list(cloud.list_owned("0" * 8, [{"region": "any"}, inputs["place"]])),
        lambda cloud, pod, inputs: pod.find(inputs),
        lambda cloud, pod, inputs: pod.status(inputs, "pod0000001"),
        lambda cloud, pod, inputs: pod.delete(inputs, "pod0000001"),
        lambda cloud, pod, inputs: pod.create(inputs),
    ],
    ids=["list", "find", "status", "delete", "create"],
)
def test_with_another_key_nothing_is_asked_and_nothing_is_said_to_be_gone(
    fake: RunpodCloud, cloud: Cloud, pod: Driver, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Any]
) -> None:
    """Not an empty list, not NotFound: MissingCredentials with both marks and what to do."""
    inputs = inputs_of(cloud)
    made = pod.create(inputs)
    calls = len(fake.calls)
    monkeypatch.setenv("RUNPOD_API_KEY", "rpa_another")
    with pytest.raises(errors.MissingCredentials) as told:
        ask(cloud, pod, inputs)
    assert inputs["place"]["key"] in told.value.message
    assert "cloudtrain sweep --provider runpod" in told.value.hint
    assert len(fake.calls) == calls
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    assert [seen.id for seen in pod.find(inputs)] == [made.id]


def test_a_record_without_a_mark_is_believed(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """Those of a version that wrote none."""
    inputs = {**inputs_of(cloud), "place": {"region": "EU-RO-1"}}
    made = pod.create(inputs)
    assert [owned.id for owned in cloud.list_owned(None, [inputs["place"]])] == [made.id]


def test_what_a_sweep_finds_is_deleted_with_the_key_that_found_it(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """Its place carries the mark, too."""
    pod.create(inputs_of(cloud))
    (owned,) = cloud.list_owned(None, None)
    assert owned.inputs["place"]["key"] == cloud.account()["key"]
    cloud.drivers[owned.kind].delete(owned.inputs, owned.id)
    assert fake.leftovers() == []
