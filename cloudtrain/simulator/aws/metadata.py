"""The instance metadata service of the fake EC2, version 2: nothing without a token."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from cloudtrain.simulator.aws import tables
from cloudtrain.simulator.aws.account import Machine
from cloudtrain.simulator.http_server import Reply, Request

LONGEST_TOKEN_S = 21600
TEXT = {"Content-Type": "text/plain"}


def answer(machine: Machine, zone: str, path: str, request: Request, now: float) -> Reply:
    """What the metadata service answers the guest in that zone: 400 and 401 as in the EC2 user guide, else 404."""
    if path == "/latest/api/token":
        return _token(machine, request, now)
    if not _knows(machine, request.headers.get("x-aws-ec2-metadata-token", ""), now):
        return Reply(401, b"Unauthorized", TEXT)
    if request.method != "GET":
        return Reply(405)
    if path == "/latest/user-data":
        return Reply(200, machine.script, TEXT) if machine.script else Reply(404)
    found = _documents(machine, zone).get(path.removeprefix("/latest/"))
    return Reply(404) if found is None else Reply(200, found.encode(), TEXT)


def _token(machine: Machine, request: Request, now: float) -> Reply:
    seconds = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
    if request.method != "PUT":
        return Reply(405)
    if "x-forwarded-for" in request.headers:
        return Reply(403)
    if not seconds.isdecimal() or not 1 <= int(seconds) <= LONGEST_TOKEN_S:
        return Reply(400, b"Bad Request", TEXT)
    return Reply(200, f"imds-{machine.id}-{now + int(seconds):.3f}".encode(), TEXT)


def _knows(machine: Machine, token: str, now: float) -> bool:
    owner, _, until = token.rpartition("-")
    try:
        return owner == f"imds-{machine.id}" and now < float(until)
    except ValueError:
        return False


def _documents(machine: Machine, zone: str) -> dict[str, str]:
    identity = {"instanceId": machine.id, "instanceType": machine.type, "region": machine.region}
    found = {
        "meta-data/instance-id": machine.id,
        "meta-data/instance-type": machine.type,
        "meta-data/instance-life-cycle": "spot" if machine.market == "spot" else "on-demand",
        "meta-data/placement/region": machine.region,
        "meta-data/placement/availability-zone": zone,
        "meta-data/placement/availability-zone-id": machine.zone,
        "meta-data/local-ipv4": "127.0.0.1",
        "dynamic/instance-identity/document": json.dumps(
            {**identity, "availabilityZone": zone, "architecture": tables.architecture(machine.type)}
        ),
    }
    if machine.tags_inside:
        found["meta-data/tags/instance"] = "\n".join(sorted(machine.tags))
        found |= {f"meta-data/tags/instance/{key}": value for key, value in machine.tags.items()}
    if machine.notice_at is not None:
        when = datetime.fromtimestamp(machine.notice_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found["meta-data/spot/instance-action"] = json.dumps({"action": "terminate", "time": when})
        found["meta-data/spot/termination-time"] = when
    return found
