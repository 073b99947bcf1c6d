"""The life of a fake EC2 instance: asked for, pending, running, ended by somebody; and its bill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cloudtrain.simulator.aws import tables
from cloudtrain.simulator.aws.account import AwsAccount, Machine
from cloudtrain.simulator.aws.guest import guest_deadline, guest_script
from cloudtrain.simulator.aws.wire import Call, Refused, answer, ask_moto, backend, part
from cloudtrain.simulator.guests import machine_url
from cloudtrain.simulator.http_server import Reply

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
NO_CAPACITY = "Server.InsufficientInstanceCapacity"
LISTED_AFTER_END_S = 3600.0
TOKEN_S = 24 * 3600.0


def tags_for(given: Mapping[str, Any], kind: str) -> dict[str, str]:
    """The tags that a request gives to one kind of thing."""
    specs = [spec for spec in given.get("TagSpecifications", []) if spec.get("ResourceType") == kind]
    return {tag["Key"]: tag.get("Value", "") for spec in specs for tag in spec.get("Tags", [])}


def run(cloud: AwsAccount, call: Call) -> Reply:
    """RunInstances. Raises Refused."""
    given, token = call.given, call.given.get("ClientToken", "")
    known = cloud.tokens.get((call.region, token)) if token else None
    if known:
        return _replay(cloud, call, *known)
    instance_type = given.get("InstanceType", "")
    market = given.get("InstanceMarketOptions", {}).get("MarketType") or "on_demand"
    zone, subnet = _zone(cloud, call, instance_type)
    image = _image(given, instance_type)
    _check_disks(given, image)
    script = guest_script(given.get("UserData"))
    if given.get("DryRun"):
        raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    if given.get("MinCount") != 1 or given.get("MaxCount") != 1:
        raise Refused("InvalidParameterValue", "this fake makes one instance per call")
    if cloud.faults.take("RunInstances", "no_capacity"):
        raise Refused(
            "InsufficientInstanceCapacity", f"We currently do not have sufficient {instance_type} capacity", 500
        )
    vcpus = tables.rows(cloud.prices.sold, instance_type, call.region)[0].vcpus
    _check_quota(cloud, call.region, instance_type, market, vcpus)
    reply = ask_moto(call, cloud.account, {} if given.get("SubnetId") else {"SubnetId": subnet})
    if reply.status >= 300:
        return reply
    id_ = re.search(r"<instanceId>(i-[0-9a-f]+)<", reply.body.decode())
    assert id_
    machine = Machine(
        *(id_[1], call.region, instance_type, market, zone, vcpus, tags_for(given, "instance")),
        groups=tuple(given.get("SecurityGroupIds", [])),
        behaviour=given.get("InstanceInitiatedShutdownBehavior", "stop"),
        deadline=guest_deadline(script),
        script=script,
        tags_inside=given.get("MetadataOptions", {}).get("InstanceMetadataTags") == "enabled",
    )
    _begin(cloud, machine, given, image)
    body = re.sub(rb"<code>16</code><name>running</name>", b"<code>0</code><name>pending</name>", reply.body)
    reply = reply._replace(body=body)
    if token:
        cloud.tokens[call.region, token] = (call.request.body, machine.id, reply, cloud.clock.now() + TOKEN_S)
    return reply


def _replay(cloud: AwsAccount, call: Call, body: bytes, id: str, reply: Reply, until: float) -> Reply:  # noqa: A002
    if cloud.clock.now() > until:
        del cloud.tokens[call.region, call.given["ClientToken"]]
        return run(cloud, call)
    if body != call.request.body:
        raise Refused("IdempotentParameterMismatch", "The client token was used with other parameters")
    if cloud.machines[id].state == "terminated":
        raise Refused("IdempotentInstanceTerminated", "The instance of this client token has been terminated")
    return reply


def _zone(cloud: AwsAccount, call: Call, instance_type: str) -> tuple[str, str]:
    """(zone id, subnet id) for the request, or Refused: no such type here, not in that zone, no such subnet."""
    sold = tables.rows(cloud.prices.sold, instance_type, call.region)
    if not sold:
        raise Refused("Unsupported", f"{instance_type} is not supported in {call.region}")
    allowed = None if any(not row.zones for row in sold) else {zone for row in sold for zone in row.zones}
    subnets = {s.id: s for s in backend("ec2", cloud.account, call.region).describe_subnets()}
    asked = call.given.get("SubnetId")
    if asked and asked not in subnets:
        raise Refused("InvalidSubnetID.NotFound", f"The subnet ID '{asked}' does not exist")
    choices = [subnets[asked]] if asked else list(subnets.values())
    fitting = [s for s in choices if allowed is None or s._availability_zone.zone_id in allowed]
    if not fitting:
        raise Refused("Unsupported", f"Your requested instance type ({instance_type}) is not supported in that zone.")
    return fitting[0]._availability_zone.zone_id, fitting[0].id


def _image(given: Mapping[str, Any], instance_type: str) -> str:
    asked = str(given.get("ImageId", ""))
    known = tables.IMAGES.get(asked.removeprefix("resolve:ssm:"))
    known = known or next((each for each in tables.IMAGES.values() if each[0] == asked), None)
    if known is None:
        raise Refused("InvalidAMIID.NotFound", f"The image id '[{asked}]' does not exist")
    if known[1] != tables.architecture(instance_type):
        raise Refused("InvalidParameterValue", f"The architecture of {instance_type} is not {known[1]}, the AMI's")
    return known[0]


def _check_disks(given: Mapping[str, Any], image: str) -> None:
    for mapping in given.get("BlockDeviceMappings", []):
        size = int(mapping.get("Ebs", {}).get("VolumeSize") or 8)
        least = tables.NEURON_IMAGE_GB if image.startswith("ami-0feed0000000000a") else 8
        if mapping["DeviceName"] == "/dev/sda1" and size < least:
            raise Refused("InvalidBlockDeviceMapping", f"Volume of size {size}GB is smaller than the snapshot")
        if size > tables.LARGEST_VOLUME_GB:
            raise Refused("InvalidParameterValue", f"Volume of {size}GiB is larger than {tables.LARGEST_VOLUME_GB}GiB")
        _check_speed(mapping.get("Ebs", {}))


def _check_speed(disk: Mapping[str, Any]) -> None:
    """What EC2 takes as the throughput of a volume. Raises Refused."""
    if "Throughput" not in disk:
        return
    speed, iops = int(disk["Throughput"]), int(disk.get("Iops") or tables.FREE_IOPS)
    if disk.get("VolumeType") != "gp3":
        raise Refused("InvalidParameterDependency", "The parameter Throughput is for gp3 volumes")
    if not tables.LEAST_MIB_S <= speed <= tables.LARGEST_MIB_S:
        raise Refused("InvalidParameterValue", f"Throughput of {speed} MiB/s is not between 125 and 1000")
    if speed > iops * tables.MIB_S_PER_IOPS:
        raise Refused("InvalidParameterCombination", f"Throughput (MiBps) to iops ratio of {speed}/{iops} is too high")


def _check_quota(cloud: AwsAccount, region: str, instance_type: str, market: str, vcpus: int) -> None:
    code = tables.quota_code(instance_type, market)
    used = sum(
        other.vcpus
        for other in cloud.machines.values()
        if other.region == region
        and other.state in ("pending", "running")
        and tables.quota_code(other.type, other.market) == code
    )
    if cloud.faults.take("RunInstances", "quota") or used + vcpus > cloud.quotas.get(code, 0.0):
        if market == "spot":
            raise Refused("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        raise Refused("VcpuLimitExceeded", f"You have requested more vCPU capacity than your current limit of {code}")


def _begin(cloud: AwsAccount, machine: Machine, given: Mapping[str, Any], image: str) -> None:
    cloud.machines[machine.id] = machine
    instance = moto_instance(cloud, machine)
    instance.image_id = image
    instance.launch_time = datetime.fromtimestamp(cloud.clock.now(), UTC).replace(tzinfo=None)
    volumes = {each.volume_id: each.size for _, each in instance.get_block_device_mapping}
    machine.volumes = list(volumes)
    sold = tables.rows(cloud.prices.sold, machine.type, machine.region)
    usd = tables.price(sold, machine.zone, machine.market)
    cloud.ledger.open(machine.id, f"instance {machine.type} {machine.market} {machine.region}", usd, machine.tags)
    on_disk = tags_for(given, "volume")
    asked = [int(each.get("Ebs", {}).get("Throughput") or 0) for each in given.get("BlockDeviceMappings", [])]
    for (volume, size), speed in zip(volumes.items(), [*asked, *[0] * len(volumes)], strict=False):
        per_hour = float(size or 8) * tables.VOLUME_USD_PER_GB_HOUR
        per_hour += max(0, speed - tables.LEAST_MIB_S) * tables.VOLUME_USD_PER_MIB_S_HOUR
        cloud.ledger.open(volume, f"volume {machine.region}", per_hour, on_disk)
    if machine.market == "spot":
        machine.spot_request = f"sir-{machine.id[2:10]}"
        instance.spot_instance_request_id = machine.spot_request
        cloud.spot_requests[machine.spot_request] = {
            "SpotInstanceRequestId": machine.spot_request,
            "State": "active",
            "Type": "one-time",
            "InstanceId": machine.id,
            "Tags": [{"Key": key, "Value": value} for key, value in tags_for(given, "spot-instances-request").items()],
            "region": machine.region,
        }
    set_state(cloud, machine, "pending")
    _plan_life(cloud, machine, instance)


def _plan_life(cloud: AwsAccount, machine: Machine, instance: Any) -> None:
    now, take = cloud.clock.now(), cloud.faults.take
    if stale := take("RunInstances", "stale"):
        cloud.hide("reservation", machine.region, _reservation(cloud, machine), stale.seconds)
    slow = take("RunInstances", "slow")
    ready_s = slow.seconds if slow else cloud.pending_s
    if failing := take("RunInstances", "no_capacity_later"):
        what = (NO_CAPACITY, "There is not enough capacity to fulfill your request")
        cloud.clock.at(now + failing.seconds, lambda: end(cloud, machine, *what))
        ready_s = max(ready_s, failing.seconds + 1.0)
    cloud.clock.at(now + ready_s, lambda: _boot(cloud, machine))


def _boot(cloud: AwsAccount, machine: Machine) -> None:
    if machine.state != "pending" or machine.id not in cloud.machines:
        return
    set_state(cloud, machine, "running")
    if not cloud.guests_boot:
        return
    if sandbox := cloud.run_machine(machine.id, {"CLOUDTRAIN_IMDS": machine_url(cloud.url, machine.id)}):
        if machine.script.startswith(b"#!"):
            sandbox.boot(machine.script)  # what it does to its power switch is its own affair
    elif machine.deadline is not None:
        now = cloud.clock.now()
        minutes = max(0, int((machine.deadline - now) // 60))
        cloud.clock.at(now + 60.0 * minutes, lambda: guest_shuts_down(cloud, machine))


def guest_shuts_down(cloud: AwsAccount, machine: Machine) -> None:
    """The guest has powered itself off."""
    if machine.state != "running":
        return
    if machine.behaviour == "terminate":
        end(cloud, machine, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
    else:
        cloud.room.cut(machine.id)
        set_state(cloud, machine, "stopped")  # the disks keep costing
        cloud.ledger.close(machine.id)


def end(cloud: AwsAccount, machine: Machine, code: str, message: str) -> None:
    """Terminate it, whoever asked. The meter of the machine stops now, that of its disks when they are gone."""
    if machine.state in ("shutting-down", "terminated") or machine.id not in cloud.machines:
        return
    cloud.room.cut(machine.id)
    set_state(cloud, machine, "shutting-down", code, message)
    cloud.ledger.close(machine.id)
    if code == NO_CAPACITY:
        _ended(cloud, machine, code, message)  # it never was a machine
    else:
        cloud.clock.at(cloud.clock.now() + cloud.ending_s, lambda: _ended(cloud, machine, code, message))


def _ended(cloud: AwsAccount, machine: Machine, code: str, message: str) -> None:
    if machine.id not in cloud.machines:
        return  # the cloud was reset
    moto_instance(cloud, machine).terminate()
    set_state(cloud, machine, "terminated", code, message)
    for volume in machine.volumes:
        if volume not in backend("ec2", cloud.account, machine.region).volumes:
            cloud.ledger.close(volume)
    if machine.spot_request:
        cloud.spot_requests[machine.spot_request]["State"] = "closed"
    cloud.clock.at(cloud.clock.now() + LISTED_AFTER_END_S, lambda: _unlist(cloud, machine))


def _unlist(cloud: AwsAccount, machine: Machine) -> None:
    if machine.id in cloud.machines:
        backend("ec2", cloud.account, machine.region).reservations.pop(_reservation(cloud, machine), None)


def _reservation(cloud: AwsAccount, machine: Machine) -> str:
    reservations = backend("ec2", cloud.account, machine.region).reservations
    return next((key for key, each in reservations.items() if each.instances[0].id == machine.id), "")


def moto_instance(cloud: AwsAccount, machine: Machine) -> Any:
    """moto's own object."""
    return backend("ec2", cloud.account, machine.region).get_instance(machine.id)


def set_state(cloud: AwsAccount, machine: Machine, state: str, code: str = "", message: str = "") -> None:
    """Move it, here and in moto."""
    machine.state = state
    instance = moto_instance(cloud, machine)
    instance._state.name, instance._state.code = state, CODES[state]
    instance.state_reason = part("moto.ec2.models.instances").StateReason(message, code)


def terminate(cloud: AwsAccount, call: Call) -> Reply:
    """TerminateInstances: an unknown id spoils the whole call. Raises Refused."""
    ids = call.given.get("InstanceIds", [])
    reservations = backend("ec2", cloud.account, call.region).reservations.values()
    listed = {instance.id for each in reservations for instance in each.instances}
    for id_ in ids:
        if id_ not in listed:
            raise Refused("InvalidInstanceID.NotFound", f"The instance ID '{id_}' does not exist")
    if call.given.get("DryRun"):
        raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
    changes = []
    for machine in (cloud.machines[id_] for id_ in ids):
        before = machine.state
        end(cloud, machine, "Client.UserInitiatedShutdown", "User initiated shutdown")
        changes.append(
            {
                "InstanceId": machine.id,
                "PreviousState": {"Code": CODES[before], "Name": before},
                "CurrentState": {"Code": CODES[machine.state], "Name": machine.state},
            }
        )
    return answer(call, {"TerminatingInstances": changes})
