"""What a run's things are called at each cloud: whose they are, as short as each cloud wants it, and never changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.plan import Plan
from cloudtrain.providers import Cloud, Resource, Stack, load, run_key, state_of
from tests.campaign.clouds import TARGETS

RECORDED = Path(__file__).parents[2] / "state" / "data" / "rented" / "runs" / "mine" / "journal.jsonl"
ACCOUNT = {"account": "100000000001", "partition": "aws", "user": "me", "project": "p", "key": "abc"}
SLICE = TARGETS["gce"].line.replace(offer="v6e-16", count=16)  # several hosts: a policy, a template, a group
LINES = {**{name: target.line for name, target in TARGETS.items()}, "gce slice": SLICE}
GOOGLE = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")  # names; RFC 1035
LABEL = re.compile(r"[a-z0-9_-]{0,63}")  # a label's value, the strictest of all clouds


def resources(line: str, state: str = "", run: str = "mine", attempt: int = 1) -> list[Resource]:
    """What a plan makes, of a run in the state with this id."""
    row = LINES[line]
    plan = Plan(run, "i", row.provider, "f", row, {}, "", "", 1.8e9, "", (), 1.0, attempt=attempt, state=state)
    cloud: Cloud | None = load("stacks", row.provider, Stack).cloud
    assert cloud is not None
    made = cloud.resources(plan, ACCOUNT)
    return [each for each in made if not cloud.drivers[each.kind].shared]


def marks(line: str, **more: Any) -> set[str]:
    """Names, tokens and keys of what a plan makes."""
    found = set()
    for each in resources(line, **more):
        inputs = each.inputs
        found |= {inputs["name"], inputs["token"], inputs.get("request_id", ""), inputs.get("target", "")}
        found |= {dict(inputs.get("tags") or {}).get("cloudtrain-key", "")}
    return found - {""}


@pytest.mark.parametrize("line", LINES)
def test_two_states_share_no_name_token_or_key(line: str) -> None:
    """The same run, the same attempt."""
    first, second, neither = marks(line, state="0a1b2c3d"), marks(line, state="4e5f6071"), marks(line)
    assert not first & second
    assert not (first | second) & neither
    assert len(first) == len(second) == len(neither) >= 2


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("run", ["mine", "A" * 99 + "_", "Ünï.codé-" * 11])
def test_every_cloud_takes_the_names(line: str, run: str) -> None:
    """Letters and lengths, with an attempt of four digits; policies say `ct-*`."""
    for each in resources(line, "0a1b2c3d", run, 9999):
        name, tags = str(each.inputs["name"]), dict(each.inputs.get("tags") or {})
        assert GOOGLE.fullmatch(name), name
        assert name.startswith("ct-0a1b2c3d")
        assert len(name) <= 58  # of a group, whose members get five characters more
        assert len(str(each.inputs["token"])) <= 64
        assert all(LABEL.fullmatch(value) for value in tags.values()), tags


def test_a_key_says_whose_run_it_is() -> None:
    """One of an older version says nothing."""
    assert state_of(run_key("mine", "0a1b2c3d")) == "0a1b2c3d"
    assert state_of(run_key("mine")) == ""


def test_a_run_of_an_older_version_is_called_as_then() -> None:
    """By the recorded journal: names, tokens and tags of its first attempt."""
    lines = [json.loads(text) for text in RECORDED.read_text().splitlines()]
    then = next(line["inputs"] for line in lines if line["phase"] == "intent" and line.get("kind") == "instance")
    now = next(each.inputs for each in resources("aws") if each.kind == "instance")
    assert [now[field] for field in ("name", "token")] == [then[field] for field in ("name", "token")]
    assert now["tags"]["cloudtrain-key"] == then["tags"]["cloudtrain-key"] == run_key("mine")
