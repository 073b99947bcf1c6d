"""What RunPod answers, or does not answer, is the error that it means; half an answer is never a whole one."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from cloudtrain import errors
from cloudtrain.providers import Cloud, Driver
from cloudtrain.simulator.http_server import Reply
from cloudtrain.simulator.runpod import KEY, RunpodCloud
from tests.stacks.runpod.runpod_world import cloud, fake, inputs_of, pod

__all__ = ["cloud", "fake", "pod"]  # fixtures


@pytest.mark.parametrize("kind", ["lost_reply", "unavailable", "late", "dropped"])
def test_no_answer_to_a_create_is_unknown(fake: RunpodCloud, cloud: Cloud, pod: Driver, kind: Any) -> None:
    """Whoever reads Unknown looks before doing it again; what exists is then found."""
    inputs = inputs_of(cloud)
    fake.faults.add("createPod", kind, seconds=5)
    with pytest.raises(errors.Unknown):
        pod.create(inputs)
    fake.clock.advance(6)
    assert len(pod.find(inputs)) == (1 if kind in ("lost_reply", "late") else 0)
    assert not pod.repeatable


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("no_capacity", errors.NoCapacity, "no instances"),
        ("balance", errors.Balance, "402"),
        ("permission", errors.Permission, "403"),
        ("throttled", errors.Unavailable, "429"),
    ],
)
def test_a_refused_create_is_the_error_that_it_means(
    fake: RunpodCloud, cloud: Cloud, pod: Driver, fault: Any, error: type[errors.ProviderError], words: str
) -> None:
    """Nothing exists, and RunPod's own sentence is in the message."""
    fake.faults.add("createPod", fault)
    with pytest.raises(error) as refused:
        pod.create(inputs_of(cloud))
    assert words in refused.value.message
    assert refused.value.hint
    assert fake.leftovers() == []


def test_a_body_outside_the_contract_is_rejected_with_every_failure(
    fake: RunpodCloud, pod: Driver, cloud: Cloud
) -> None:
    """A 422 is our mistake and names the property."""
    with pytest.raises(errors.Rejected, match=r"body\.disk"):
        pod.create({**inputs_of(cloud), "disk_gb": "much"})


def test_a_missing_or_wrong_key_is_missing_credentials(
    fake: RunpodCloud, cloud: Cloud, pod: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint says where a key is made, and the wrong one is not repeated."""
    inputs = inputs_of(cloud)
    for key in ("", "not the key", "k\u00e9y", "wrongkey"):
        monkeypatch.setenv("RUNPOD_API_KEY", key)
        with pytest.raises(errors.MissingCredentials) as refused:
            pod.find(inputs)
        assert "console.runpod.io" in refused.value.hint
        assert not key or key not in refused.value.message
    with pytest.raises(errors.MissingCredentials):
        pod.create(inputs)
    monkeypatch.delenv("RUNPOD_API_KEY")
    with pytest.raises(errors.MissingCredentials):
        cloud.account()


def test_a_delete_that_is_refused_or_lost_is_no_success(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """409 is Unavailable, no answer is Unknown, and doing it again is harmless."""
    inputs = inputs_of(cloud)
    made = pod.create(inputs)
    fake.faults.add("deletePod", "refused")
    with pytest.raises(errors.Unavailable):
        pod.delete(inputs, made.id)
    for kind in ("dropped", "lost_reply"):
        fake.faults.add("deletePod", kind)
        with pytest.raises(errors.Unknown):
            pod.delete(inputs, made.id)
    pod.delete(inputs, made.id)
    assert fake.leftovers() == []


def test_reading_is_tried_thrice(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """Two failures in a row do no harm; a third is told."""
    inputs = inputs_of(cloud)
    fake.faults.add("listPods", "unavailable", times=2)
    assert pod.find(inputs) == []
    fake.faults.add("listPods", "throttled", times=3)
    with pytest.raises(errors.Unavailable):
        pod.find(inputs)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"pods": {}}',
        b'{"pods": [{"name": "ct-x"}]}',
        b'{"pods": [null]}',
        b'{"pods": [], "pagination": {"hasNextPage": true}}',
        b'{"pods": [], "pagination": {"hasNextPage": true, "nextCursor": "same"}}',
    ],
)
def test_a_list_that_may_not_be_whole_is_never_taken_for_an_empty_one(
    fake: RunpodCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """A page that cannot be read says nothing about what is there."""
    monkeypatch.setattr(fake, "perform", lambda call, request: Reply(200, answer))
    with pytest.raises(errors.Unavailable):
        cloud.list_owned(None, None)
    assert len(fake.calls) <= 3


def test_a_create_whose_answer_cannot_be_read_is_unknown(
    fake: RunpodCloud, cloud: Cloud, pod: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 201 without an id means that there is a pod somewhere."""
    for answer in (b"", b"[]", b"{}"):
        monkeypatch.setattr(fake, "perform", lambda call, request, answer=answer: Reply(201, answer))
        with pytest.raises(errors.Unknown):
            pod.create(inputs_of(cloud))


def test_a_terminated_pod_is_not_found(
    fake: RunpodCloud, cloud: Cloud, pod: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RunPod may still tell of a pod that is gone for good; it is gone all the same."""
    inputs = inputs_of(cloud)
    gone = {"id": "p1", "name": inputs["name"], "status": "TERMINATED"}
    listed = {name: [gone] if name == "pods" else [] for name in ("pods", "clusters", "networkVolumes")}
    listed |= {"templates": [], "registries": []}
    answers = {"getPod": gone}
    monkeypatch.setattr(
        fake, "perform", lambda call, request: Reply(200, json.dumps(answers.get(call, listed)).encode())
    )
    assert pod.find(inputs) == []
    assert cloud.list_owned(None, None) == []
    with pytest.raises(errors.NotFound):
        pod.status(inputs, "p1")


def test_an_error_never_repeats_the_key(
    fake: RunpodCloud, cloud: Cloud, pod: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when RunPod's sentence does."""
    told = json.dumps({"title": "x", "status": 403, "detail": f"the key {KEY} may not"}).encode()
    monkeypatch.setattr(fake, "perform", lambda call, request: Reply(403, told))
    with pytest.raises(errors.Permission) as refused:
        pod.find(inputs_of(cloud))
    assert "PLANTED" not in refused.value.message + refused.value.hint


def test_a_call_that_changes_something_never_uses_a_kept_connection(
    fake: RunpodCloud, cloud: Cloud, pod: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading calls share one; of a create or a delete it must be known whether it was sent."""
    opened: list[str] = []
    inputs = inputs_of(cloud)
    connect = socket.create_connection
    monkeypatch.setattr(
        "urllib3.util.connection.create_connection",
        lambda address, *rest, **more: opened.append("new") or connect(address),  # type: ignore[func-returns-value]
    )
    pod.find(inputs)
    opened.clear()
    pod.find(inputs)
    assert opened == []
    made = pod.create(inputs)
    pod.delete(inputs, made.id)
    assert opened == ["new", "new"]
