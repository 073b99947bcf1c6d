"""A machine of the fake AWS really runs its user data, can read what EC2 tells a guest, and is gone when it is gone."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.aws.wire import backend
from tests.patience import until

UBUNTU = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
IMDS = """token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $CLOUDTRAIN_IMDS/latest/api/token)
ask() { curl -sf -H "X-aws-ec2-metadata-token: $token" $CLOUDTRAIN_IMDS/latest/$1; }
"""


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    cloud = AwsCloud()
    cloud.machines_run = True
    yield cloud
    cloud.stop()


def run(cloud: AwsCloud, script: str | bytes, **more: Any) -> str:
    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), ("AKIASIMULATOR0000000", "x"), strict=True))
    config = Config(retries={"total_max_attempts": 1})
    ec2 = boto3.client("ec2", region_name="us-east-1", endpoint_url=cloud.url, config=config, **keys)
    arguments = {"ImageId": UBUNTU, "InstanceType": "r8i.16xlarge", "MinCount": 1, "MaxCount": 1}
    arguments |= {"InstanceInitiatedShutdownBehavior": "terminate", "UserData": script, **more}
    return str(ec2.run_instances(**arguments)["Instances"][0]["InstanceId"])


def test_user_data_runs_without_the_clients_environment(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "PLANTED-SECRET")
    machine = run(
        cloud, '#!/bin/sh\necho "I run, ${AWS_SECRET_ACCESS_KEY:-clean}"; env | grep PLANTED\necho $CLOUDTRAIN_HOME'
    )
    until(lambda: "cloudtrain\n" in cloud.room.console(machine))
    assert "I run, clean" in cloud.room.console(machine)
    assert "PLANTED" not in cloud.room.console(machine)


def test_user_data_that_is_no_script_runs_nothing(cloud: AwsCloud) -> None:
    machine = run(cloud, "echo I run")
    until(lambda: machine in cloud.room.running)
    assert not list(cloud.room.running[machine].processes())


def test_more_user_data_than_ec2_takes_is_refused(cloud: AwsCloud) -> None:
    with pytest.raises(ClientError, match="limited to 16384"):
        run(cloud, "#!/bin/sh\n" + "#" * 16384)


def test_terminating_ends_every_process_also_those_that_ran_away(cloud: AwsCloud) -> None:
    machine = run(cloud, "#!/bin/sh\nsetsid sleep 1000 &\n(setsid env -i sleep 1000 &)\necho started\n")
    until(lambda: "started" in cloud.room.console(machine))
    sandbox = cloud.room.running[machine]
    assert len(list(sandbox.processes())) >= 2
    boto3.client(
        "ec2", "us-east-1", endpoint_url=cloud.url, aws_access_key_id="AKIASIMULATOR0000000", aws_secret_access_key="x"
    ).terminate_instances(InstanceIds=[machine])
    assert not list(sandbox.processes())
    until(lambda: not cloud.leftovers())


def test_shutting_down_inside_ends_the_machine_and_its_bill(cloud: AwsCloud) -> None:
    machine = run(cloud, "#!/bin/sh\nshutdown -h now\nsleep 1000\n")
    until(lambda: machine in cloud.machines and cloud.machines[machine].state == "terminated")
    assert not cloud.leftovers()


def test_a_shutdown_timer_follows_the_clouds_clock_until_cancelled(cloud: AwsCloud) -> None:
    timed = run(cloud, "#!/bin/sh\nshutdown -h +90 && echo set\n")
    cancelled = run(cloud, "#!/bin/sh\nshutdown -h +90; shutdown -c && echo set\n")
    until(lambda: all("set" in cloud.room.console(each) for each in (timed, cancelled)))
    cloud.clock.advance(89 * 60)
    assert cloud.machines[timed].state == "running"
    cloud.clock.advance(2 * 60)
    assert cloud.machines[timed].state in ("shutting-down", "terminated")
    assert cloud.machines[cancelled].state == "running"


def test_a_guest_reads_what_it_is_only_with_a_token(cloud: AwsCloud) -> None:
    script = f"#!/bin/sh\n{IMDS}ask meta-data/instance-id; ask meta-data/placement/availability-zone; curl -s $CLOUDTRAIN_IMDS/latest/meta-data/instance-id; echo end"
    machine = run(cloud, script)
    until(lambda: "end" in cloud.room.console(machine))
    zone = str(backend("ec2", cloud.account, "us-east-1").get_instance(machine).placement.zone)
    assert re.fullmatch(r"us-east-1[a-f]", zone)
    assert cloud.room.console(machine) == f"{machine}{zone}Unauthorizedend\n"


def test_a_guest_is_told_before_it_is_taken_back(cloud: AwsCloud) -> None:
    script = f"#!/bin/sh\n{IMDS}until ask meta-data/spot/instance-action; do sleep 0.1; done"
    machine = run(cloud, script, InstanceMarketOptions={"MarketType": "spot"})
    until(lambda: machine in cloud.room.running)
    cloud.preempt(machine)
    until(lambda: '"action": "terminate"' in cloud.room.console(machine))
    assert cloud.machines[machine].state == "running"
    cloud.clock.advance(121.0)
    until(lambda: cloud.machines[machine].state == "terminated")


def test_a_machine_that_restarts_runs_only_its_per_boot_scripts(cloud: AwsCloud) -> None:
    again = 'printf "#!/bin/sh\\necho again\\n" >$CLOUDTRAIN_PER_BOOT/x; chmod 755 $CLOUDTRAIN_PER_BOOT/x'
    machine = run(cloud, f"#!/bin/sh\necho first\n{again}\nreboot\nsleep 1000\n")
    until(lambda: "again" in cloud.room.console(machine))
    assert cloud.room.console(machine) == "first\nagain\n"
    assert cloud.machines[machine].state == "running"


def test_our_user_data_sets_a_timer_that_ends_the_machine(cloud: AwsCloud) -> None:
    from importlib.resources import files

    text = files("cloudtrain.templates").joinpath("machine", "aws_user_data.sh").read_text()
    machine = run(cloud, text.replace("@DEADLINE@", str(int(time.time()) + 3600)))
    until(lambda: machine in cloud.room.running and cloud.room.running[machine].folder.joinpath("per-boot").exists())
    until(lambda: list(cloud.room.running[machine].folder.joinpath("per-boot").iterdir()))
    cloud.clock.advance(3660)
    until(lambda: not cloud.leftovers())


def test_machines_do_not_run_unless_they_are_asked_to(cloud: AwsCloud, tmp_path: Path) -> None:
    cloud.machines_run = False
    machine = run(cloud, f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    until(lambda: cloud.leftovers() and cloud.machines[machine].state == "running")
    assert machine not in cloud.room.running
    assert not os.listdir(tmp_path)
