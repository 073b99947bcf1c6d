"""A container of the fake RunPod really runs, is started again for ever, and can end its own pod with its own key."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import requests

from cloudtrain import providers
from cloudtrain.simulator.runpod import KEY, RunpodCloud
from tests.patience import PATIENCE_S, until

POD = {"name": "ct-x", "image": "python:3.12-slim", "cpu": {"id": "cpu5c", "vcpuCount": 2}}


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    cloud = RunpodCloud()
    cloud.machines_run = True
    cloud.room.restart_s = 0.05
    yield cloud
    cloud.stop()


def make(cloud: RunpodCloud, args: str, **env: str) -> str:
    """A pod with this container; its id."""
    headers = {"Authorization": f"Bearer {KEY}"}
    body: dict[str, Any] = {**POD, "args": args, "env": env}
    reply = requests.post(cloud.url + "/v2/pods", json=body, headers=headers, timeout=PATIENCE_S)
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def shell(script: str) -> str:
    return f"sh -c {shlex.quote(script)}"


def test_a_container_that_ends_restarts_on_the_same_disk(cloud: RunpodCloud) -> None:
    pod = make(cloud, shell("echo >>count; exit 7"))
    until(lambda: pod in cloud.room.running and len(cloud.room.running[pod].exits()) >= 3)
    assert set(cloud.room.running[pod].exits()) == {7}
    assert len(cloud.room.running[pod].folder.joinpath("count").read_text()) >= 3
    assert cloud.leftovers()


def test_a_container_sees_what_was_sent_and_what_runpod_adds(cloud: RunpodCloud) -> None:
    pod = make(cloud, shell("echo $HELLO $RUNPOD_POD_ID $RUNPOD_API_KEY; sleep 1000"), HELLO="hello")
    until(lambda: pod in cloud.room.console(pod))
    assert cloud.room.console(pod) == f"hello {pod} {cloud.pods.get(pod).key}\n"


def test_a_container_has_no_power_switch(cloud: RunpodCloud) -> None:
    pod = make(cloud, shell("shutdown -h now || echo refused; sleep 1000"))
    until(lambda: "refused" in cloud.room.console(pod))
    assert cloud.leftovers()


def test_a_stop_ends_every_process_and_empties_the_disk(cloud: RunpodCloud) -> None:
    pod = make(cloud, shell("ls mark 2>/dev/null || echo fresh; touch mark; setsid sleep 1000"))
    until(lambda: "fresh" in cloud.room.console(pod))
    first = cloud.room.running[pod]
    with cloud.clock.lock:
        cloud.pods.act(cloud.pods.get(pod), "stop")
        assert not list(first.processes())
        cloud.pods.act(cloud.pods.get(pod), "start")
    until(lambda: cloud.room.console(pod).count("fresh") == 2)


def test_preempting_a_pod_signals_first_and_leaves_what_costs(cloud: RunpodCloud) -> None:
    pod = make(cloud, shell("trap 'echo told' TERM; echo up; while :; do sleep 0.1; done"))
    until(lambda: "up" in cloud.room.console(pod))
    cloud.preempt(pod, notice_s=3600.0)
    until(lambda: "told" in cloud.room.console(pod))
    cloud.clock.advance(3601.0)
    until(lambda: cloud.pods.get(pod).stopped == "EXITED")
    assert any("stopped pod" in each for each in cloud.leftovers())


def test_our_arguments_end_the_pod_by_key_at_the_deadline(cloud: RunpodCloud) -> None:
    providers.load("stacks", "runpod", providers.Stack)
    timer = import_module("cloudtrain.stacks.runpod.pods").timer_args()
    pod = make(cloud, timer, CLOUDTRAIN_DEADLINE=str(int(time.time()) + 1), CLOUDTRAIN_RUNPOD_URL=cloud.url)
    until(lambda: not cloud.leftovers())
    assert "deletePod" in cloud.calls
    assert "this pod ends itself" in cloud.room.console(pod)


def test_a_moved_clock_ends_a_pod_with_fixed_time(cloud: RunpodCloud) -> None:
    pod = make(cloud, shell("echo up; sleep 1000"), CLOUDTRAIN_DEADLINE=str(int(time.time()) + 3600))
    until(lambda: "up" in cloud.room.console(pod))
    sandbox = cloud.room.running[pod]
    cloud.clock.advance(3601)
    assert not cloud.leftovers()
    assert not list(sandbox.processes())
