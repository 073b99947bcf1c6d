"""A droplet at DigitalOcean is made once with its tags, found by name or tag, looked at, and proven gone."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest

from cloudtrain import errors
from cloudtrain.offer import OfferKey
from cloudtrain.providers import Cloud, Driver, Stack, load, run_key
from cloudtrain.simulator.digitalocean import TOKEN, DigitaloceanCloud
from cloudtrain.simulator.faults import Kind
from cloudtrain.simulator.http_server import Reply
from tests.stacks.digitalocean.digitalocean_world import LINE, NOW, ON_DEMAND, cloud, droplet, fake, inputs_of

__all__ = ["cloud", "droplet", "fake"]  # fixtures


def test_a_droplet_goes_from_made_to_gone(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """Made as building, ready, found, deleted, not found, and the ledger is empty."""
    inputs = inputs_of(cloud)
    fake.droplets.ready_s = 60
    made = droplet.create(inputs)
    assert (made.state, made.outputs["usd_per_hour"]) == ("building", "2.46")
    fake.clock.advance(61)
    assert droplet.status(inputs, made.id).state == "ready"
    assert [seen.id for seen in droplet.find(inputs)] == [made.id]
    droplet.delete(inputs, made.id)
    fake.clock.advance(1)
    droplet.delete(inputs, made.id)
    with pytest.raises(errors.NotFound):
        droplet.status(inputs, made.id)
    assert droplet.find(inputs) == []
    assert fake.leftovers() == []


def test_create_sends_one_call_with_every_tag(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """Nothing is looked at, repeated, waited for or tagged afterwards."""
    inputs = inputs_of(cloud)
    fake.calls.clear()
    made = droplet.create(inputs)
    assert fake.calls == ["createDroplet"]
    body = fake.droplets.all[int(made.id)].body
    key = run_key("one", "0123abcd")
    wanted = {"cloudtrain", f"cloudtrain-key:{key}", "cloudtrain-run:one", f"cloudtrain-exp:{int(NOW + 3600)}"}
    assert wanted <= set(body["tags"])
    assert (body["size"], body["region"], body["image"]) == ("gpu-mi350x1-288gb-spot", "ric1", "gpu-amd-base")


def test_nothing_that_is_sent_or_kept_holds_the_token(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """The token travels in one header alone: a machine that had it could end every other."""
    inputs = inputs_of(cloud)
    made = droplet.create(inputs)
    owned = list(cloud.list_owned(None, None))
    kept = json.dumps([inputs, made, fake.droplets.all[int(made.id)].body, str(owned)])
    assert "PLANTED-SECRET" not in kept


@pytest.mark.parametrize("by_tag", [False, True])
def test_a_droplet_is_found_on_every_page(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver, by_tag: bool) -> None:
    """Among others, twice under one name, switched off, and whether or not a list by tag has GPUs."""
    fake.gpus_by_tag = by_tag
    inputs = inputs_of(cloud)
    for run, attempt in (("two", 1), ("one", 2), ("one", 11), ("three", 1)):
        droplet.create(inputs_of(cloud, run, attempt))
    ours = [droplet.create(inputs).id for _ in range(3)]
    fake.power_off(ours[0])
    found = [(seen.id, seen.state) for seen in droplet.find(inputs)]
    assert sorted(found) == sorted(zip(ours, ("ended", "ready", "ready"), strict=True))
    listed = [each.id for each in cloud.list_owned(run_key("one", "0123abcd"), [inputs["place"]])]
    assert (len(listed), len(set(listed)), len(list(cloud.list_owned(None, None)))) == (5, 5, 7)


def test_a_droplet_that_is_off_costs_on_until_it_is_deleted(
    fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver
) -> None:
    """It is `ended`, which is what must still be deleted, at its full price."""
    inputs = inputs_of(cloud)
    made = droplet.create(inputs)
    fake.clock.advance(3601)  # its own timer
    assert droplet.status(inputs, made.id).state == "ended"
    (left,) = cloud.list_owned(None, None)
    assert (left.usd_per_hour, left.bills, left.expires) == (Decimal("2.46"), True, NOW + 3600)
    before = fake.ledger.usd()
    fake.clock.advance(3600)
    assert fake.ledger.usd() - before == pytest.approx(2.46)
    droplet.delete(inputs, made.id)
    fake.clock.advance(1)
    assert fake.leftovers() == []


def test_renamed_or_stripped_of_tags_it_is_still_ours(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """A person may change either; what has neither is nobody's."""
    renamed, stripped, stranger = (droplet.create(inputs_of(cloud, run)).id for run in ("one", "two", "three"))
    at: dict[str, dict[str, Any]] = {
        id_: dict(fake.droplets.all[int(id_)].body) for id_ in (renamed, stripped, stranger)
    }
    at[renamed]["name"] = "mine"
    at[stripped]["tags"] = []
    at[stranger] |= {"name": "mine-too", "tags": ["cloudtrain-key:no-key"]}
    for id_, body in at.items():
        fake.droplets.all[int(id_)].body = body
    owned = {each.id: (each.run, each.expires) for each in cloud.list_owned(None, None)}
    assert owned == {
        renamed: (run_key("one", "0123abcd"), NOW + 3600),
        stripped: (run_key("two", "0123abcd"), None),
    }
    assert droplet.status(inputs_of(cloud, "three"), stranger).owner == ""


def test_a_spot_droplet_that_is_taken_back_is_gone(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """Two hours after an e-mail to a person; the API says nothing before."""
    inputs = inputs_of(cloud)
    made = droplet.create(inputs)
    fake.droplets.guests = False
    fake.preempt(made.id)
    fake.clock.advance(1800)
    assert droplet.status(inputs, made.id).state == "ready"
    fake.clock.advance(7200)
    with pytest.raises(errors.NotFound):
        droplet.status(inputs, made.id)
    assert fake.leftovers() == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("no_capacity", errors.NoCapacity),
        ("quota", errors.Quota),
        ("permission", errors.Permission),
        ("throttled", errors.Unavailable),
        ("unavailable", errors.Unknown),
        ("lost_reply", errors.Unknown),
        ("cut", errors.Unknown),
    ],
)
def test_each_refusal_is_an_error_of_the_seam(
    fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver, kind: Kind, error: type[Exception]
) -> None:
    """What is full, over a limit or forbidden is told by words alone; what may exist is Unknown."""
    inputs = inputs_of(cloud)
    fake.faults.add("createDroplet", kind)
    with pytest.raises(error):
        droplet.create(inputs)
    assert bool(fake.leftovers()) == (kind in ("lost_reply", "cut"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("creating this/these droplet(s) will exceed your droplet limit", errors.Quota),
        ("Size is not available in this region.", errors.NoCapacity),
        ("This size is unavailable", errors.NoCapacity),
        ("unavailable due to limited capacity", errors.NoCapacity),
        ("You specified an invalid image for Droplet creation.", errors.Rejected),
    ],
)
def test_a_422_is_what_its_words_say(cloud: Cloud, words: str, error: type[Exception]) -> None:
    """It has no code of its own."""
    assert cloud  # its modules can be imported now
    assert type(import_module("cloudtrain.stacks.digitalocean.api").refusal("POST", 422, words)) is error


def test_a_delete_that_is_refused_is_to_be_repeated(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """Another event is pending: nothing is deleted yet."""
    inputs = inputs_of(cloud)
    made = droplet.create(inputs)
    fake.faults.add("deleteDroplet", "refused")
    with pytest.raises(errors.Unavailable):
        droplet.delete(inputs, made.id)
    assert fake.leftovers()


@pytest.mark.parametrize("token", ["", "with space", "dop_v1_other"])
def test_without_a_token_that_is_accepted_nothing_is_proven(
    fake: DigitaloceanCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("DIGITALOCEAN_TOKEN", token)
    with pytest.raises(errors.MissingCredentials):
        list(cloud.list_owned(None, None))
    with pytest.raises(errors.MissingCredentials):
        cloud.account()


def test_another_teams_token_proves_nothing(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """A 404 for another team's droplet would read as its death certificate."""
    inputs = inputs_of(cloud)
    made = droplet.create(inputs)
    elsewhere = {**inputs, "place": {"account": "another-team", "region": "ric1"}}
    for ask in (
        lambda: droplet.status(elsewhere, made.id),
        lambda: droplet.delete(elsewhere, made.id),
        lambda: droplet.find(elsewhere),
        lambda: list(cloud.list_owned(None, [elsewhere["place"]])),
    ):
        with pytest.raises(errors.MissingCredentials, match="another DigitalOcean team"):
            ask()
    assert fake.leftovers()


def test_a_list_that_moves_while_it_is_read_is_refused(
    fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are counted: what is deleted on page one moves a droplet to a page that was read already."""
    ids = [droplet.create(inputs_of(cloud, run)).id for run in ("a", "b", "c", "d", "e")]
    answer = fake.answer

    def moving(request: Any) -> Any:
        reply = answer(request)
        if request.query.get("type") == ["gpus"] and request.query["page"] == ["1"]:
            fake.droplets.end(fake.droplets.all[int(ids[0])])
        return reply

    monkeypatch.setattr(fake, "answer", moving)
    with pytest.raises(errors.Unavailable, match="changed while it was read"):
        list(cloud.list_owned(None, None))


def test_a_tag_that_is_not_there_yet_hides_nothing(
    fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of GPUs says what there is; a 404 to that one is no empty list."""
    made = droplet.create(inputs_of(cloud))
    answer, absent = fake.answer, ["tag_name"]

    def without(request: Any) -> Any:
        return Reply(404, b"{}") if absent[0] in request.query else answer(request)

    monkeypatch.setattr(fake, "answer", without)
    assert [each.id for each in cloud.list_owned(None, None)] == [made.id]
    absent[0] = "type"
    with pytest.raises(errors.Unavailable):
        list(cloud.list_owned(None, None))


def test_an_id_that_is_no_number_asks_for_nothing(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """It could be another address: `../account`."""
    inputs = inputs_of(cloud)
    fake.calls.clear()
    with pytest.raises(errors.NotFound):
        droplet.status(inputs, "../account")
    assert fake.calls == []


@pytest.mark.parametrize(
    ("changes", "can"),
    [
        ({}, True),
        ({"market": "on_demand"}, False),
        ({"count": 8}, False),
        ({"region": ""}, False),
        ({"offer": "gpu-mi300x1-192gb", "hardware": "mi300x", "market": "on_demand"}, False),
        ({"hardware": "mi300x"}, False),
        ({"offer": "gpu-mi325x1-256gb", "hardware": "mi325x", "market": "on_demand"}, True),
    ],
)
def test_it_serves_single_gpus_in_their_market(cloud: Cloud, changes: dict[str, Any], can: bool) -> None:
    key = OfferKey("digitalocean", "gpu-mi350x1-288gb-spot", "ric1", "", "mi350x", 1, "spot")._replace(**changes)
    assert cloud.serves(key) == can
    assert bool(cloud.image(key)) == can


def test_no_guard_ends_the_price_alone() -> None:
    """Without a token on it a machine can only switch itself off, and off it costs on: `--accept-risk`, and said so."""
    guards = load("stacks", "digitalocean", Stack).guards(LINE.offer, "spot")
    assert not [guard for guard in guards if guard.alone]
    assert "costs on" in guards[0].name


def test_a_droplet_on_demand_is_made_where_it_is_sold(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    made = droplet.create(inputs_of(cloud, line=ON_DEMAND))
    assert made.outputs["region"] == "tor1"
    elsewhere = inputs_of(cloud, line=ON_DEMAND.replace(region="ric1"))
    with pytest.raises(errors.NoCapacity):
        droplet.create(elsewhere)


def test_a_message_never_shows_the_token(fake: DigitaloceanCloud, cloud: Cloud, droplet: Driver) -> None:
    """Not even when the provider repeats it."""
    inputs = dict(inputs_of(cloud))
    inputs["size"] = TOKEN
    with pytest.raises(errors.Rejected) as raised:
        droplet.create(inputs)
    assert TOKEN not in raised.value.message
