"""Everything of ours in an AWS account, by tag or name, whatever our records say; in every enabled region."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloudtrain.errors import MissingCredentials, NotFound, Permission, ProviderError
from cloudtrain.providers import OwnedResource

from .._lifecycle.names import A_KEY, EXPIRES, KEY
from .client import read, read_all, tags_of
from .guard import expiry, is_ours
from .machine import instances

HOME = "us-east-1"
ONLY_REGIONS = "CLOUDTRAIN_AWS_REGIONS"  # for accounts that may not even look at some regions
SCHEDULE = re.compile(rf"ct-({A_KEY})-\d+-")
AT_ONCE = 8


def account() -> dict[str, str]:
    """Who we are: `account` (12 digits), `partition`, `user`. Free, and allowed for everybody.

    Raises MissingCredentials and the like. `user` is the same in every session of a role.
    """
    answer = read("sts", home_region(), "get_caller_identity")
    arn = str(answer["Arn"]).split(":", 5)
    parts = arn[5].split("/")
    return {"account": str(answer["Account"]), "partition": arn[1], "user": parts[1] if len(parts) > 1 else parts[0]}


def home_region() -> str:
    """The user's region, or us-east-1."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or HOME


def regions() -> list[str]:
    """Every region that the account has switched on, or those of CLOUDTRAIN_AWS_REGIONS."""
    if only := os.environ.get(ONLY_REGIONS, "").replace(",", " ").split():
        return only
    return sorted(each["RegionName"] for each in read("ec2", home_region(), "describe_regions")["Regions"])


def switched_off(region: str) -> str:
    """Why nothing can be made in `region`, or "": an account has the younger regions only when it asks for them.

    Calls to a region that is off are refused like wrong credentials, so they would explain nothing. Who may not ask
    which regions are on is not held up. Raises MissingCredentials, Unavailable.
    """
    try:
        on = regions()
    except Permission:
        return ""
    return "" if region in on else f"region {region} is not switched on in this AWS account"


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterator[OwnedResource]:
    """Instances that are not terminated, volumes left alone, security groups, open spot requests, schedules.

    Of the run with this key, or of all; in the places' regions, or in every one. What can be seen is yielded before
    the error of a region that cannot. Raises MissingCredentials when the places belong to another account: an empty
    answer of this one would prove nothing.
    """
    who = account()
    check_account(who["account"], places)
    where = sorted({place["region"] for place in places}) if places is not None else regions()
    failures: list[tuple[str, ProviderError]] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = map if len(where) == 1 else pool.map
        for region, (found, error) in zip(where, together(lambda r: in_region(r, run, who), where), strict=True):
            yield from found
            if error:
                failures.append((region, error))
    if failures:
        region, error = failures[0]
        hint = f"{error.hint}; or name the regions to search in {ONLY_REGIONS}".lstrip("; ")
        raise type(error)(
            f"{error.message} in {', '.join(name for name, _ in failures)}",
            hint if isinstance(error, Permission) else error.hint,
        )


def check_account(mine: str, places: Sequence[Mapping[str, str]] | None) -> None:
    """Raises MissingCredentials when a place is in another account than ours."""
    for place in places or ():
        if place.get("account", mine) != mine:
            raise MissingCredentials(
                f"the credentials are of AWS account {mine}, the run is in {place['account']}",
                "set AWS_PROFILE to the account that the run was started in",
            )


def in_region(region: str, run: str | None, who: Mapping[str, str]) -> tuple[list[OwnedResource], ProviderError | None]:
    """What is there, and the error that ended the looking."""
    place = {**who, "region": region, "zone": ""}
    mine = [{"Name": f"tag:{KEY}", "Values": [run]}] if run else [{"Name": "tag-key", "Values": [KEY]}]
    found: list[OwnedResource] = []
    try:
        for kind in (_instances, _spot_requests, _volumes, _security_groups):
            found += kind(place, mine)
        found += _schedules(place, run)
    except ProviderError as error:
        return found, error
    return found, None


def _owned(place: Mapping[str, str], kind: str, id: str, tags: Mapping[str, str], **more: Any) -> OwnedResource:  # noqa: A002
    from .links import console_url

    expires = tags.get(EXPIRES, "")
    return OwnedResource(
        run=tags.get(KEY, ""),
        id=id,
        kind=kind,
        inputs={"place": dict(place), "name": tags.get("Name", "")},
        expires=float(expires) if expires.isdigit() else None,
        console_url=console_url({"place": place}, id),
        **more,
    )


def _instances(place: Mapping[str, str], mine: list[dict[str, Any]]) -> list[OwnedResource]:
    return [
        _owned(
            *(place, "instance", each["InstanceId"], tags_of(each)),
            what=f"{each['InstanceType']} {each['State']['Name']} in {place['region']}",
            bills=each["State"]["Name"] not in ("shutting-down",),
        )
        for each in instances(place["region"], mine)
    ]


def _spot_requests(place: Mapping[str, str], mine: list[dict[str, Any]]) -> list[OwnedResource]:
    live = [*mine, {"Name": "state", "Values": ["open", "active"]}]
    found = read_all(
        *("ec2", place["region"], "describe_spot_instance_requests", "SpotInstanceRequests"),
        Filters=live,
    )
    return [
        _owned(
            *(place, "spot_request", each["SpotInstanceRequestId"], tags_of(each)),
            what=f"spot request, {each['State']}, in {place['region']}",
            bills=False,
        )
        for each in found
    ]


def _volumes(place: Mapping[str, str], mine: list[dict[str, Any]]) -> list[OwnedResource]:
    alone = [*mine, {"Name": "status", "Values": ["available", "error"]}]
    found = read_all("ec2", place["region"], "describe_volumes", "Volumes", Filters=alone)
    return [
        _owned(
            *(place, "volume", each["VolumeId"], tags_of(each)),
            what=f"volume of {each['Size']} GB, attached to nothing, in {place['region']}",
        )
        for each in found
    ]


def _security_groups(place: Mapping[str, str], mine: list[dict[str, Any]]) -> list[OwnedResource]:
    found = read_all("ec2", place["region"], "describe_security_groups", "SecurityGroups", Filters=mine)
    return [
        _owned(
            *(place, "security_group", each["GroupId"], tags_of(each)),
            what=f"security group in {place['region']}",
            bills=False,
        )
        for each in found
    ]


def _schedules(place: Mapping[str, str], run: str | None) -> list[OwnedResource]:
    prefix = f"ct-{run}-" if run else "ct-"
    listed = read_all("scheduler", place["region"], "list_schedules", "Schedules", NamePrefix=prefix)
    found = []
    for name in (str(each["Name"]) for each in listed):
        key = SCHEDULE.match(name)
        try:
            schedule = read("scheduler", place["region"], "get_schedule", Name=name) if key else {}
        except NotFound:
            continue  # it fired, and removed itself
        if key and is_ours(schedule):
            tags = {KEY: key[1], "Name": name, EXPIRES: str(int(expiry(schedule) or 0) or "")}
            found.append(_owned(place, "time_limit", name, tags, what=f"schedule in {place['region']}", bills=False))
    return found
