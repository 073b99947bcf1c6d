"""What `up` promises before it asks, and what stops it: risk, price, money cap, nobody to ask."""

from __future__ import annotations

import json

import pytest

from cloudtrain.units import rfc3339
from tests.campaign.client import Client
from tests.campaign.clouds import TARGETS, Target

pytestmark = pytest.mark.engine
PLAIN = ("up", "--machine-only", "--infra", "runpod", "--hardware", "mi300x:1", "--max-hours", "2h", "--name", "mine")


@pytest.fixture
def target() -> Target:
    """RunPod: one call makes a machine, and its prices can be asked."""
    return TARGETS["runpod"]


def intent(client: Client) -> dict[str, object]:
    """What was written down before anything was made."""
    found: dict[str, object] = json.loads(client.document("mine", "intent.json").read_text())
    return found


def test_one_guard_needs_consent(client: Client) -> None:
    """RunPod ends nothing by itself: exit 2, and nothing is made or kept."""
    ended = client.run(*PLAIN, "-y")
    assert (ended.code, "only 1 guard" in ended.err) == (2, True)
    assert client.fake.leftovers() == []
    assert not client.document("mine", "intent.json").exists()


def test_nobody_to_ask_is_an_error(client: Client) -> None:
    """Without a terminal and without -y nothing starts."""
    ended = client.run(*PLAIN, "--accept-risk")
    assert (ended.code, "there is no terminal to ask on" in ended.err) == (2, True)
    assert client.fake.leftovers() == []


def test_a_money_cap_becomes_a_deadline_on_the_machine(client: Client) -> None:
    """One dollar at $2.39 an hour, and the disk beside it, is less than half an hour, though two hours were allowed."""
    assert client.run(*PLAIN, "-y", "--accept-risk", "--max-cost", "1").code == 0
    document = intent(client)
    stands_s = float(str(document["deadline"])) - float(str(document["created"]))
    assert 1300 < stands_s < 1506
    (entry,) = [e for e in client.fake.ledger.running() if "pod" in e.what]
    client.fake.clock.advance(stands_s + 120)
    assert entry.end is not None
    assert float(client.fake.ledger.usd()) <= 1.01
    assert client.run("down", "mine").code == 0


def test_a_cap_below_the_cheapest_way_rents_nothing(client: Client) -> None:
    """Ten cents do not finish it."""
    ended = client.run(*PLAIN, "-y", "--accept-risk", "--max-cost", "0.05")
    assert ended.code in (3, 5), ended.err
    assert client.fake.leftovers() == []


def test_a_price_above_the_quote_stops(client: Client) -> None:
    """The provider asks a third more than the catalogue says: exit 5 with both prices."""
    (gpu,) = [row for row in client.fake.catalog.sold["gpus"] if "MI300X" in row["id"]]
    gpu["secure"] = 3.19
    ended = client.run(*PLAIN, "-y", "--accept-risk")
    assert ended.code == 5, ended.err
    assert "$3.19/h now" in ended.err
    assert client.fake.leftovers() == []


def test_the_plan_has_an_end(client: Client) -> None:
    """The deadline in the pod's name, in the record and on the screen is one instant."""
    ended = client.run(*PLAIN, "-y", "--accept-risk")
    assert ended.code == 0, ended.err
    deadline = float(str(intent(client)["deadline"]))
    assert str(rfc3339(deadline)) in ended.err
    (pod,) = json.loads(client.run("sweep", "--provider", "runpod", "-o", "json").out)
    assert pod["deadline_at"] == rfc3339(int(deadline))
    assert client.run("down", "mine").code == 0
