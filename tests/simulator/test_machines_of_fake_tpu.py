"""A node of the fake Cloud TPU API really runs its startup script, and our timer in it ends it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from cloudtrain.simulator.gcp.tpu import TOKEN, TpuCloud
from cloudtrain.simulator.gcp.tpu.catalog import PROJECT, WORKER
from tests.patience import PATIENCE_S, until

ZONE = f"projects/{PROJECT}/locations/us-west4-a"
QUEUED = f"{ZONE}/queuedResources/a"
NODE = f"{ZONE}/nodes/a"
ASK = "ask() { curl -s -H 'Metadata-Flavor: Google' $CLOUDTRAIN_METADATA/computeMetadata/v1/$1; }\n"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
startup = import_module("cloudtrain.stacks.gcp.tpu_startup")


@pytest.fixture(scope="module")
def one_cloud() -> Iterator[TpuCloud]:
    made = TpuCloud()
    yield made
    made.stop()


@pytest.fixture
def cloud(one_cloud: TpuCloud) -> Iterator[TpuCloud]:
    one_cloud.reset()
    one_cloud.machines_run = True
    one_cloud.tpu.wait_s = one_cloud.tpu.boot_s = one_cloud.tpu.delete_s = 0.05
    yield one_cloud
    one_cloud.room.environment.clear()
    one_cloud.reset()


def send(cloud: TpuCloud, method: str, path: str, body: Any = None, token: str = TOKEN) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(cloud.url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def make(cloud: TpuCloud, script: str, accelerator: str = "v5litepod-4") -> None:
    """A spot slice with that script, and wait for it."""
    node = {
        "acceleratorType": accelerator,
        "runtimeVersion": "v2-alpha-tpuv5-lite",
        "metadata": {"startup-script": script, "note": "hello"},
        "serviceAccount": {"email": WORKER, "scope": [SCOPE]},
    }
    body = {"tpu": {"nodeSpec": [{"parent": ZONE, "nodeId": "a", "node": node}]}, "spot": {}}
    status, answer = send(cloud, "POST", f"/v2alpha1/{ZONE}/queuedResources?queuedResourceId=a", body)
    assert status == 200, answer
    until(lambda: state(cloud) == "READY")


def state(cloud: TpuCloud) -> str:
    return str(send(cloud, "GET", f"/v2alpha1/{NODE}")[1].get("state"))


def printed(cloud: TpuCloud) -> str:
    """By all machines that have run and that run."""
    return "".join(cloud.room.console(each) for each in sorted({*cloud.room.ended, *cloud.room.running}))


def test_a_node_runs_its_script_and_reads_its_metadata(cloud: TpuCloud) -> None:
    ask = "ask instance/attributes/note; ask project/project-id; ask instance/preempted"
    make(cloud, f"#!/bin/sh\n{ASK}{ask}; echo end\n")
    until(lambda: "end" in printed(cloud))
    assert printed(cloud) == f"hello{PROJECT}FALSEend\n"


def test_every_host_of_a_slice_is_a_machine(cloud: TpuCloud) -> None:
    make(cloud, "#!/bin/sh\necho up\n", "v5litepod-16")
    until(lambda: printed(cloud).count("up\n") == 4)
    assert len(cloud.room.running) == 4


def test_a_preempted_slice_hears_it_before_it_is_cut_off(cloud: TpuCloud) -> None:
    wish = "instance/preempted?wait_for_change=true&timeout_sec=5"
    make(cloud, f"#!/bin/sh\n{ASK}echo up; until [ \"$(ask '{wish}')\" = TRUE ]; do :; done; echo TRUE\nsleep 1000\n")
    until(lambda: "up" in printed(cloud))
    (machine,) = cloud.room.running
    sandbox = cloud.room.running[machine]
    cloud.preempt(machine, notice_s=30.0)
    until(lambda: "TRUE" in printed(cloud))
    assert state(cloud) == "READY"
    cloud.clock.advance(31.0)
    assert state(cloud) == "PREEMPTED"
    assert not list(sandbox.processes())
    assert not cloud.ledger.running()


def test_a_node_that_powers_off_is_stopped_and_costs_on(cloud: TpuCloud) -> None:
    make(cloud, "#!/bin/sh\npoweroff\nsleep 1000\n")
    until(lambda: state(cloud) == "STOPPED")
    assert not cloud.room.running
    assert [entry.id for entry in cloud.ledger.running()] == [NODE]


def test_our_startup_script_deletes_the_slice_at_its_deadline(cloud: TpuCloud) -> None:
    make(cloud, startup.startup_script(QUEUED, time.time() + 1))
    (sandbox,) = cloud.room.running.values()
    until(lambda: not cloud.leftovers())
    assert not list(sandbox.processes())
    assert "queuedResources.delete" in cloud.calls


def test_what_follows_the_timer_is_the_job(cloud: TpuCloud) -> None:
    make(cloud, startup.startup_script(QUEUED, time.time() + 3600, "echo job; limit=0 && watch\n"))
    until(lambda: not cloud.leftovers())
    assert printed(cloud) == "job\n"


def test_a_machines_token_deletes_and_does_nothing_else(cloud: TpuCloud) -> None:
    make(cloud, f"#!/bin/sh\n{ASK}ask instance/service-accounts/default/token; echo end\n")
    until(lambda: "end" in printed(cloud))
    token = json.loads(printed(cloud).splitlines()[0].removesuffix("end"))["access_token"]
    assert send(cloud, "GET", f"/v2alpha1/{NODE}", token=token)[0] == 403
    assert send(cloud, "DELETE", f"/v2/{QUEUED}?force=true", token=token)[0] == 200
