"""The fake DigitalOcean is as strict and as expensive as the real one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.digitalocean import TOKEN, DigitaloceanCloud
from tests.patience import PATIENCE_S, until

SMALL = {"name": "ct-x", "region": "nyc3", "size": "s-2vcpu-4gb", "image": "ubuntu-24-04-x64", "tags": ["cloudtrain"]}
GPU = {**SMALL, "region": "ric1", "size": "gpu-mi350x1-288gb-spot", "image": "gpu-amd-base"}


@pytest.fixture
def cloud() -> Iterator[DigitaloceanCloud]:
    """A fake DigitalOcean whose clock stands still."""
    cloud = DigitaloceanCloud(Clock(1.79e9))
    yield cloud
    cloud.stop()


def ask(cloud: DigitaloceanCloud, method: str, path: str, body: Any = None, token: str = TOKEN) -> requests.Response:
    """One call."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {token}"}
        return session.request(method, cloud.url + path, json=body, headers=headers, timeout=PATIENCE_S)


def make(cloud: DigitaloceanCloud, **changes: Any) -> int:
    """A new droplet's id."""
    reply = ask(cloud, "POST", "/v2/droplets", {**GPU, **changes})
    assert reply.status_code == 202, reply.text
    return int(reply.json()["droplet"]["id"])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"expires": 3600}, 422),
        ({"names": ["a", "b"]}, 422),
        ({"tags": "cloudtrain"}, 422),
        ({"tags": ["a b"]}, 422),
        ({"tags": ["a" * 256]}, 422),
        ({"tags": ["run=one"]}, 422),
        ({"name": "ct_x"}, 422),
        ({"name": "ct-x-"}, 422),
        ({"name": ""}, 422),
        ({"user_data": "x" * 65537}, 422),
        ({"ssh_keys": [289794]}, 422),
        ({"size": "gpu-mi350x1-288gb"}, 422),
        ({"region": "xyz1"}, 422),
        ({"region": "tor1"}, 422),
        ({"image": "gpu-h100x1-base"}, 422),
        ({"image": "rocm"}, 422),
        ({"backups": 1}, 422),
    ],
)
def test_what_the_description_forbids_makes_nothing(
    cloud: DigitaloceanCloud, changes: dict[str, Any], status: int
) -> None:
    reply = ask(cloud, "POST", "/v2/droplets", {**GPU, **changes})
    assert (reply.status_code, set(reply.json())) == (status, {"id", "message", "request_id"})
    assert cloud.leftovers() == []


@pytest.mark.parametrize("absent", ["name", "region", "size", "image"])
def test_what_is_needed_must_be_there(cloud: DigitaloceanCloud, absent: str) -> None:
    body = {key: value for key, value in GPU.items() if key != absent}
    assert ask(cloud, "POST", "/v2/droplets", body).status_code == 422


def test_full_looks_like_a_wrong_region(cloud: DigitaloceanCloud) -> None:
    """Nobody can tell them apart."""
    wrong = ask(cloud, "POST", "/v2/droplets", {**GPU, "region": "tor1"})
    cloud.faults.add("createDroplet", "no_capacity")
    full = ask(cloud, "POST", "/v2/droplets", GPU)
    assert (wrong.status_code, wrong.json()) == (full.status_code, full.json())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/droplets?page=0", 400),
        ("/v2/droplets?page=two", 400),
        ("/v2/droplets?per_page=201", 400),
        ("/v2/droplets?tag=cloudtrain", 400),
        ("/v2/droplets?tag_name=cloudtrain&type=gpus", 400),
        ("/v2/droplets?type=gpu", 400),
        ("/v2/sizes?region=ric1", 400),
        ("/v2/droplets/1", 404),
        ("/v2/droplets/x", 404),
        ("/v1/droplets", 404),
    ],
)
def test_a_question_outside_the_description_is_refused(cloud: DigitaloceanCloud, path: str, status: int) -> None:
    assert ask(cloud, "GET", path).status_code == status


@pytest.mark.parametrize("path", ["/v2/droplets", "/v2/account", "/v2/sizes"])
def test_a_missing_wrong_or_expired_token_is_401(cloud: DigitaloceanCloud, path: str) -> None:
    assert ask(cloud, "GET", path, token="wrong").status_code == 401
    assert ask(cloud, "GET", path).status_code == 200
    cloud.token_ends = cloud.clock.now() + 10
    cloud.clock.advance(11)
    assert ask(cloud, "GET", path).status_code == 401


def test_the_same_post_twice_makes_two_droplets(cloud: DigitaloceanCloud) -> None:
    """Names are not unique, and there is no request id."""
    assert make(cloud) != make(cloud)
    assert len(cloud.ledger.running()) == 2


def test_lists_come_two_at_a_time_and_by_kind(cloud: DigitaloceanCloud) -> None:
    """The usual list has no GPU; whether that by tag has, is the account's to say."""
    made = [make(cloud) for _ in range(5)]
    small = make(cloud, **SMALL)

    def every(query: str) -> list[int]:
        found, url = [], f"/v2/droplets?per_page=200{query}"
        while url:
            reply = ask(cloud, "GET", url.removeprefix(cloud.url)).json()
            assert len(reply["droplets"]) <= 2
            found += [each["id"] for each in reply["droplets"]]
            url = reply["links"].get("pages", {}).get("next", "")
        assert reply["meta"]["total"] == len(found)
        return found

    assert every("") == [small]
    assert every("&type=gpus") == made
    assert every("&tag_name=cloudtrain") == [small]
    cloud.gpus_by_tag = True
    assert every("&tag_name=cloudtrain") == [*made, small]


def test_off_costs_as_much_as_on(cloud: DigitaloceanCloud) -> None:
    """Only its deletion ends the price."""
    id_ = make(cloud)
    cloud.clock.advance(3600)
    assert ask(cloud, "POST", f"/v2/droplets/{id_}/actions", {"type": "power_off"}).status_code == 201
    cloud.clock.advance(3600)
    assert ask(cloud, "GET", f"/v2/droplets/{id_}").json()["droplet"]["status"] == "off"
    assert cloud.ledger.usd() == pytest.approx(2 * 2.46)
    assert ask(cloud, "DELETE", f"/v2/droplets/{id_}").status_code == 204
    assert ask(cloud, "DELETE", f"/v2/droplets/{id_}").status_code == 422
    cloud.clock.advance(1)
    assert (cloud.leftovers(), ask(cloud, "DELETE", f"/v2/droplets/{id_}").status_code) == ([], 404)


def test_a_new_droplet_may_be_unknown_for_a_while(cloud: DigitaloceanCloud) -> None:
    """It costs all the same."""
    cloud.faults.add("createDroplet", "stale", seconds=20)
    id_ = make(cloud)
    assert ask(cloud, "GET", f"/v2/droplets/{id_}").status_code == 404
    assert ask(cloud, "GET", "/v2/droplets?type=gpus").json()["meta"]["total"] == 0
    assert cloud.leftovers()
    cloud.clock.advance(21)
    assert ask(cloud, "GET", f"/v2/droplets/{id_}").status_code == 200


def test_an_accepted_droplet_may_never_come(cloud: DigitaloceanCloud) -> None:
    """202 is no success."""
    cloud.faults.add("createDroplet", "no_capacity_later", seconds=20)
    id_ = make(cloud)
    assert ask(cloud, "GET", f"/v2/droplets/{id_}").json()["droplet"]["status"] == "new"
    cloud.clock.advance(21)
    assert ask(cloud, "GET", f"/v2/droplets/{id_}").status_code == 404
    assert cloud.leftovers() == []


def test_the_limit_of_droplets_holds(cloud: DigitaloceanCloud) -> None:
    cloud.droplet_limit = 1
    make(cloud)
    reply = ask(cloud, "POST", "/v2/droplets", GPU)
    assert (reply.status_code, "droplet limit" in reply.json()["message"]) == (422, True)


def test_sizes_are_those_of_the_test(cloud: DigitaloceanCloud) -> None:
    """Prices, places and the whole list; two at a time."""
    cloud.sizes["gpu-mi350x1-288gb-spot"] |= {"price_hourly": 3.21, "regions": ["ric1", "atl1"]}
    first = ask(cloud, "GET", "/v2/sizes?per_page=200").json()
    assert (len(first["sizes"]), first["meta"]["total"]) == (2, len(cloud.sizes))
    last = ask(cloud, "GET", f"/v2/sizes?page={(len(cloud.sizes) + 1) // 2}").json()
    assert "pages" not in last["links"]
    shown = ask(cloud, "GET", "/v2/sizes?page=3").json()["sizes"]
    assert [(row["price_hourly"], row["regions"]) for row in shown if row["slug"] == "gpu-mi350x1-288gb-spot"] == [
        (3.21, ["ric1", "atl1"])
    ]


def test_a_machine_runs_its_script_and_its_switch_bills_on() -> None:
    """Plain user data at the first boot; per-boot scripts at others; `poweroff` ends the work alone."""
    cloud = DigitaloceanCloud()
    cloud.machines_run = True
    try:
        script = '#!/bin/sh\necho up\nprintf "#!/bin/sh\\necho again\\npoweroff\\n" >"$CLOUDTRAIN_PER_BOOT/x"\n'
        id_ = str(make(cloud, user_data=script + 'chmod 700 "$CLOUDTRAIN_PER_BOOT/x"\nreboot\n'))
        until(lambda: ask(cloud, "GET", f"/v2/droplets/{id_}").json()["droplet"]["status"] == "off")
        assert cloud.room.console(id_).split() == ["up", "again"]
        assert [entry.usd_per_hour for entry in cloud.ledger.running()] == [2.46]
    finally:
        cloud.stop()
