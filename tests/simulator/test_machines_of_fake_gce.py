"""An instance of the fake Compute Engine really runs its startup script, and our second clock in it works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
import requests

from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.gcp.compute.answers import PROJECT
from tests.patience import PATIENCE_S, until

ZONE = f"/projects/{PROJECT}/zones/us-central1-a"
IMAGE = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"
ASK = "ask() { curl -s -H 'Metadata-Flavor: Google' $CLOUDTRAIN_METADATA/computeMetadata/v1/$1; }\n"


@pytest.fixture
def gce() -> Iterator[GceCloud]:
    made = GceCloud()
    made.machines_run = True
    yield made
    made.stop()


def send(gce: GceCloud, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {gce.environment()['CLOUDTRAIN_SIMULATOR_TOKEN']}"}
    reply = requests.request(method, f"{gce.url}/compute/v1{path}", json=body, headers=headers, timeout=PATIENCE_S)
    return reply.status_code, reply.json()


def insert(gce: GceCloud, script: str, **scheduling: Any) -> str:
    """Make a processor machine with that script; its id."""
    body = {
        "name": "vm",
        "machineType": "zones/us-central1-a/machineTypes/c3-standard-4",
        "scheduling": {"onHostMaintenance": "TERMINATE", "automaticRestart": False, **scheduling},
        "networkInterfaces": [{"network": "global/networks/default"}],
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": IMAGE}}],
        "metadata": {"items": [{"key": "startup-script", "value": script}, {"key": "note", "value": "hello"}]},
        "serviceAccounts": [{"email": "default", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
    }
    status, answer = send(gce, "POST", f"{ZONE}/instances", body)
    assert status == 200, answer
    return str(send(gce, "GET", f"{ZONE}/instances/vm")[1]["id"])


def test_a_guest_reads_its_metadata_only_with_the_header(gce: GceCloud) -> None:
    ask = f"{ASK}ask instance/attributes/note; ask instance/name; ask project/project-id; ask instance/preempted"
    bare = "curl -so /dev/null -w '%{http_code}' $CLOUDTRAIN_METADATA/computeMetadata/v1/instance/name"
    machine = insert(gce, f"#!/bin/sh\n{ask}; {bare}; echo end\n")
    until(lambda: "end" in gce.room.console(machine))
    assert gce.room.console(machine) == f"hellovm{PROJECT}FALSE403end\n"


def test_a_guest_can_wait_for_the_news_of_preemption(gce: GceCloud) -> None:
    wish = "instance/preempted?wait_for_change=true&timeout_sec=5"
    ask_on = f"until [ \"$(ask '{wish}')\" = TRUE ]; do :; done; echo TRUE"
    machine = insert(
        gce,
        f"#!/bin/sh\n{ASK}echo up; {ask_on}\nsleep 1000\n",
        provisioningModel="SPOT",
        instanceTerminationAction="DELETE",
    )
    until(lambda: "up" in gce.room.console(machine))
    gce.preempt("vm", notice_s=30.0)
    until(lambda: "TRUE" in gce.room.console(machine))
    sandbox = gce.room.running[machine]
    assert gce.leftovers()
    gce.clock.advance(31.0)
    assert not gce.leftovers()
    assert not list(sandbox.processes())


def test_the_power_button_is_a_signal_to_everything(gce: GceCloud) -> None:
    machine = insert(gce, "#!/bin/sh\ntrap 'echo told; exit' TERM\necho up\nwhile :; do sleep 0.1; done\n")
    until(lambda: "up" in gce.room.console(machine))
    gce.preempt("vm", notice_s=20.0, power_button=True)
    until(lambda: "told" in gce.room.console(machine))


def test_a_machine_that_powers_off_keeps_its_disks_price(gce: GceCloud) -> None:
    insert(gce, "#!/bin/sh\npoweroff\nsleep 1000\n")
    until(lambda: [each for each in gce.leftovers() if each.startswith("disk")] == gce.leftovers())
    assert send(gce, "GET", f"{ZONE}/instances/vm")[1]["status"] == "TERMINATED"


def test_our_startup_script_deletes_the_machine_after_its_limit(gce: GceCloud) -> None:
    text = files("cloudtrain.templates").joinpath("machine", "gcp_startup.sh").read_text()
    gce.room.environment["CLOUDTRAIN_SLACK_S"] = "1"
    insert(gce, text.replace("@DEADLINE@", str(int(time.time()))))
    until(lambda: not gce.leftovers())
    assert "instances.delete" in gce.calls
