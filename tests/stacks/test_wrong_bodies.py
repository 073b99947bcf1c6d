"""A cloud's answer of status 200 with a wrong body is the provider's failure, never "nothing of ours" and never ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from cloudtrain.errors import ProviderError, Unavailable, Unknown
from cloudtrain.plan import Plan
from cloudtrain.providers import Cloud, Stack, load
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Reply, Request
from tests.campaign.clouds import TARGETS

NOW = 1.8e9
WITH_BODIES = ("aws", "digitalocean", "gce", "runpod")
IDS = {"digitalocean": "500000001"}  # others take any word for an id
BODIES = {"html": b"<html>502 in disguise</html>", "nothing": b"", "json": b"{}"}


class Place(NamedTuple):
    """A cloud, and the fake behind it."""

    name: str
    fake: Any
    cloud: Cloud

    def garble(self, body: bytes, mutating_only: bool = False) -> None:
        """From now on every answer, or every one to a call that makes something, is this one."""
        answer, fake = self.fake.answer, self.fake

        def wrong(request: Request) -> Reply | None:
            if mutating_only and not fake.mutates(fake.call_of(request)):
                found: Reply | None = answer(request)
                return found
            return Reply(200, body, {"Content-Type": "text/xml"})

        fake.answer = wrong

    def machine(self) -> tuple[Any, dict[str, Any]]:
        """The driver of machines and the inputs of one."""
        target = TARGETS[self.name]
        plan = Plan("r", "i", target.provider, "f", target.line, {}, "", "", NOW + 7200, "", (), 1.0)
        resource = next(r for r in self.cloud.resources(plan, self.cloud.account()) if r.role == "machine")
        needs = {role: {"id": "sg-0123456789abcdef0"} for role in resource.after}
        return self.cloud.drivers[resource.kind], {**resource.inputs, "needs": needs}


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """An account, as far as it is asked before anything goes wrong."""
    target = TARGETS[request.param]
    fake = target.fake(Clock(NOW))
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", "2,0.2,0.05,0.01")
    cloud = load("stacks", target.provider, Stack).cloud
    assert cloud is not None
    list(cloud.list_owned(None, None))
    yield Place(request.param, fake, cloud)
    fake.stop()


every_place_and_body = pytest.mark.parametrize(
    ("place", "body"),
    [pytest.param(name, BODIES[body], id=f"{name}-{body}") for name in WITH_BODIES for body in BODIES],
    indirect=["place"],
)


def outcome(act: Callable[[], object]) -> type[ProviderError] | str:
    """What came of it: a provider's error, or what else."""
    try:
        return f"it returned {act()}"
    except ProviderError as error:
        return type(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@every_place_and_body
def test_a_list_with_a_wrong_body_is_no_empty_list(place: Place, body: bytes) -> None:
    """Somebody would believe that everything is gone."""
    place.garble(body)
    assert outcome(lambda: list(place.cloud.list_owned(None, None))) is Unavailable


@every_place_and_body
def test_a_status_with_a_wrong_body_is_no_state(place: Place, body: bytes) -> None:
    """Neither there nor gone."""
    driver, inputs = place.machine()
    place.garble(body)
    assert outcome(lambda: driver.status(inputs, IDS.get(place.name, "i-0123456789abcdef0"))) is Unavailable


@every_place_and_body
def test_a_create_with_a_wrong_body_is_unknown(place: Place, body: bytes) -> None:
    """It may have made something: only then somebody looks for it."""
    driver, inputs = place.machine()
    place.garble(body, mutating_only=True)
    assert outcome(lambda: driver.create(inputs)) is Unknown


@pytest.mark.parametrize("place", ["tpu"], indirect=True)
@pytest.mark.parametrize("body", [*BODIES.values(), b'{"foo": []}', b'{"locations": []}'])
def test_a_list_of_tpus_with_a_wrong_body_is_no_empty_list(place: Place, body: bytes) -> None:
    """The Cloud TPU API lists by REST; an empty list is `{}` there, but a list of places is never empty."""
    place.garble(body)
    assert outcome(lambda: list(place.cloud.list_owned(None, None))) is Unavailable


@pytest.mark.parametrize("place", ["aws", "gce"], indirect=True)
def test_an_answer_to_another_question_is_none(place: Place) -> None:
    """It is well formed, and about something else."""
    other = {
        "aws": b"<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>",
        "gce": b'{"kind": "compute#project", "name": "p"}',
    }[place.name]
    place.garble(other)
    assert outcome(lambda: list(place.cloud.list_owned(None, None))) is Unavailable
