"""A fake AWS on loopback: moto's cloud, plus what real AWS does and moto does not.

Added: idempotency tokens, capacity, quotas, pending and shutting down, a bill, the guest's shutdown timer, schedules
that fire, spot requests, images by parameter, prices, lists that lag, security groups in use that cannot be deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cloudtrain.simulator.aws import (
    calls,
    cost_explorer,
    machines,
    metadata,
    price_api,
    s3,
    schedules,
    tables,
    web_identity,
)
from cloudtrain.simulator.aws.account import AwsAccount
from cloudtrain.simulator.aws.s3_signed import Keys
from cloudtrain.simulator.aws.wire import (
    FORMS,
    Call,
    Refused,
    answer,
    ask_moto,
    backend,
    name_of,
    refusal,
    scope,
    understood,
)
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import FaultTable, Kind
from cloudtrain.simulator.http_server import Reply, Request

HOME_REGION, ROOMY_QUOTA = "us-east-1", 10_000.0  # vCPUs
ACCESS_KEY = "AKIASIMULATOR0000000"
SECRET_KEY = "PLANTED-SECRET-AWS-0123456789abcdefghijk"  # noqa: S105  # planted, to be found where it must not be
READING = ("Describe", "Get", "List")
_MAKING: tuple[Kind, ...] = (
    "lost_reply",
    "dropped",
    "late",
    "throttled",
    "unavailable",
    "permission",
    "quota",
    "stale",
)
_READING: tuple[Kind, ...] = ("lost_reply", "dropped", "throttled", "unavailable")
_REMOVING: tuple[Kind, ...] = ("lost_reply", "dropped", "late", "throttled", "unavailable", "refused")
FAULT_TABLE: FaultTable = [
    ("RunInstances", (*_MAKING, "no_capacity", "no_capacity_later", "slow")),
    ("CreateSecurityGroup", _MAKING),
    ("CreateSchedule", _MAKING),
    ("CreateRole", _MAKING),
    ("PutRolePolicy", _REMOVING[:-1]),
    ("TerminateInstances", _REMOVING),
    ("DeleteSecurityGroup", _REMOVING),
    ("DeleteSchedule", _REMOVING),
    ("CancelSpotInstanceRequests", _REMOVING[:-1]),
    *(
        (name, _READING)
        for name in (
            *("DescribeInstances", "DescribeSubnets", "DescribeSecurityGroups", "DescribeVolumes", "DescribeRegions"),
            *("DescribeSpotInstanceRequests", "GetCallerIdentity", "GetRole", "GetRolePolicy", "GetSchedule"),
            "ListSchedules",
        )
    ),
]
NO_RIGHT = {"ec2": "UnauthorizedOperation", "iam": "AccessDenied", "sts": "AccessDenied"}
TOO_MANY = {
    "CreateSecurityGroup": "SecurityGroupLimitExceeded",
    "CreateSchedule": "ServiceQuotaExceededException",
    "CreateRole": "LimitExceeded",
}
REFUSALS = {"TerminateInstances": "OperationNotPermitted", "DeleteSecurityGroup": "DependencyViolation"}


class AwsCloud(AwsAccount):
    """One account. `regions` are those that it has switched on; the clock decides what has happened by now.

    `tables.regions()` are all that the shipped catalogue knows; `prices` is what it sells, and how it says so.
    """

    def __init__(self, clock: Clock | None = None, regions: tuple[str, ...] = ("us-east-1", "us-west-2")) -> None:
        super().__init__(clock, regions)
        self.fault_table = FAULT_TABLE
        self._local = threading.local()

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": self.regions[0],
            "AWS_REGION": self.regions[0],
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def call_of(self, request: Request) -> str:
        for_s3 = s3.is_for_s3(request)
        self._local.service = "s3" if for_s3 else scope(request)[2]
        return s3.name_of(request) if for_s3 else name_of(request)

    def mutates(self, call: str) -> bool:
        return not call.startswith((*READING, "S3."))

    def refuse(self, kind: str) -> Reply:
        service = getattr(self._local, "service", "")
        if service == "s3":
            return s3.refusal(Refused("SlowDown", "Please reduce your request rate.", 503))
        if kind == "unavailable":
            return refusal(
                service, Refused("Unavailable", "The server is overloaded and can't handle the request.", 503)
            )
        code = {"ec2": "RequestLimitExceeded", "iam": "Throttling", "sts": "Throttling"}.get(
            service, "ThrottlingException"
        )
        status = 503 if service == "ec2" else 400 if service in FORMS else 429
        return refusal(service, Refused(code, "Request limit exceeded.", status))

    def perform(self, call: str, request: Request) -> Reply:
        access_key, region, service = scope(request)
        if s3.is_for_s3(request):
            return s3.answer(self, request, self.keys_of)
        if web_identity.is_unsigned_call(request):
            service, region = "sts", self.regions[0]
        try:
            if service in ("ec2", "scheduler") and region not in self.regions:
                raise Refused("OptInRequired", f"{region} is not switched on in this account", 401)
            if not web_identity.is_unsigned_call(request):
                self._check_caller(access_key, service, request)
            known = understood(request, (region, service))
            self._refuse_by_fault(known)
            return self._do(known)
        except Refused as error:
            return refusal(service, error)

    def keys_of(self, access: str, token: str) -> Keys:
        """The keys of whoever asks. Raises Refused, in the words of S3."""
        return web_identity.keys_of(self, Keys(ACCESS_KEY, SECRET_KEY), access, token)

    def _check_caller(self, access: str, service: str, request: Request) -> None:
        try:
            self.keys_of(access, request.headers.get("x-amz-security-token", ""))
        except Refused as error:
            if error.code == "ExpiredToken":
                raise Refused("RequestExpired" if service == "ec2" else "ExpiredToken", error.message, 400) from None
            raise Refused("AuthFailure" if service == "ec2" else "InvalidClientTokenId", "no such key", 401) from None

    def _refuse_by_fault(self, call: Call) -> None:
        if self.faults.take(call.name, "permission"):
            code = NO_RIGHT.get(call.service, "AccessDeniedException")
            raise Refused(code, f"You are not authorized to perform {call.name}.", 403)
        if self.faults.take(call.name, "refused"):
            raise Refused(REFUSALS.get(call.name, "InternalServerException"), f"{call.name} is refused", 400)
        if call.name in TOO_MANY and self.faults.take(call.name, "quota"):
            raise Refused(TOO_MANY[call.name], "The maximum number has been reached.")

    def _do(self, call: Call) -> Reply:
        own = OWN.get(call.name)
        if call.name in ("RunInstances", "CreateSchedule", "CreateSecurityGroup", "CreateRole"):
            return own(self, call) if own else ask_moto(call, self.account)
        with self._lagging():
            return own(self, call) if own else ask_moto(call, self.account)

    @contextmanager
    def _lagging(self) -> Iterator[None]:
        now = self.clock.now()
        self.hidden = [each for each in self.hidden if each[0] > now]
        taken = []
        for _, kind, region, key in self.hidden:
            store = self._store(kind, region, key)
            if key in store:
                taken.append((store, key, store.pop(key)))
        try:
            yield
        finally:
            for store, key, thing in taken:
                store[key] = thing

    def _store(self, kind: str, region: str, key: str) -> dict[str, Any]:
        found: Mapping[str, Any] = {}
        if kind == "reservation":
            found = backend("ec2", self.account, region).reservations
        elif kind == "schedule":
            found = schedules.schedules(self, region)
        elif kind == "group":
            groups = backend("ec2", self.account, region).groups
            found = next((each for each in groups.values() if key in each), {})
        return found  # type: ignore[return-value]  # the stores themselves, to be changed

    def preempt(self, id: str, notice_s: float = 120.0) -> None:  # noqa: A002
        """AWS takes a Spot machine back: the guest can read that from now on, and it ends `notice_s` later."""
        with self.clock.lock:
            machine = self.machines[id]
            machine.notice_at = self.clock.now() + notice_s
            why = ("Server.SpotInstanceTermination", "Spot instance termination")
            self.clock.at(machine.notice_at, lambda: machines.end(self, machine, *why))
            self.clock.run_due()

    def asked_from_inside(self, id: str, path: str, request: Request) -> Reply:  # noqa: A002
        with self.clock.lock:
            machine = self.machines[id]
            zone = str(machines.moto_instance(self, machine).placement.zone)
            return metadata.answer(machine, zone, path, request, self.clock.now())

    def power_off(self, id: str) -> None:  # noqa: A002
        machines.guest_shuts_down(self, self.machines[id])

    def crash(self, id: str) -> None:  # noqa: A002
        machines.end(self, self.machines[id], "Server.InternalError", "it broke")

    def restart(self, id: str) -> None:  # noqa: A002
        self.room.running[id].boot_again(with_script=False)

    def leftovers(self) -> list[str]:
        with self.clock.lock:
            found = super().leftovers()
            found += [
                f"spot request {key}" for key, each in self.spot_requests.items() if each["State"] in ("open", "active")
            ]
            for region in self.regions:
                groups = backend("ec2", self.account, region).groups.values()
                found += [
                    f"security group {g.id}" for each in groups for g in each.values() if g.name.startswith("ct-")
                ]
                found += [f"schedule {name}" for name in schedules.schedules(self, region)]
            return found


def roomy() -> AwsCloud:
    """An account with every region of the catalogue switched on, and no quota in the way."""
    cloud = AwsCloud(regions=tuple(dict.fromkeys((HOME_REGION, *tables.regions()))))
    cloud.quotas = dict.fromkeys(cloud.quotas, ROOMY_QUOTA)
    return cloud


OWN: dict[str, Callable[[AwsCloud, Call], Reply]] = {
    "RunInstances": machines.run,
    "TerminateInstances": machines.terminate,
    "CreateSchedule": calls.create_schedule,
    "CreateSecurityGroup": calls.create_group,
    "DeleteSecurityGroup": calls.delete_group,
    "CreateRole": calls.create_role,
    "DeleteVolume": calls.delete_volume,
    "DescribeSpotInstanceRequests": calls.describe_spot_requests,
    "CancelSpotInstanceRequests": calls.cancel_spot_requests,
    "DescribeRegions": lambda cloud, call: answer(
        call, {"Regions": [{"RegionName": name, "OptInStatus": "opt-in-not-required"} for name in cloud.regions]}
    ),
    "DescribeSpotPriceHistory": price_api.spot_price_history,
    "GetProducts": price_api.get_products,
    "GetServiceQuota": calls.get_quota,
    "GetCostAndUsage": cost_explorer.get_cost_and_usage,
    "GetParameter": calls.get_parameter,
    web_identity.NAME: web_identity.assume,
    "GetCallerIdentity": lambda cloud, call: answer(
        call,
        {"UserId": ACCESS_KEY, "Account": cloud.account, "Arn": f"arn:aws:iam::{cloud.account}:user/simulation"},
    ),
}
