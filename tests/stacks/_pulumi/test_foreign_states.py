"""A state of the engine that hides what it names, in every way in which the engine would still read it."""

from __future__ import annotations

import gzip
import json
from importlib import import_module
from typing import Any

import pytest

foreign = import_module("cloudtrain.stacks._pulumi.checkpoint").foreign
EVIL = "pulumi-python:dynamic:Resource"


def state(*resources: Any, **latest: Any) -> dict[str, Any]:
    """A stack's record."""
    return {"version": 3, "checkpoint": {"latest": {"resources": list(resources), **latest}}}


OURS = {"type": "cloudtrain:aws:instance", "inputs": {"type": EVIL, "resources": [{"type": EVIL}]}}
HOME = {"type": "pulumi:providers:cloudtrain", "inputs": {"version": "1.0"}, "outputs": {"version": "1.0"}}
HIDDEN = {
    "plain": json.dumps(state({"type": EVIL})).encode(),
    "case": json.dumps(state({"Type": EVIL})).encode(),
    "resources-case": json.dumps({"checkpoint": {"LATEST": {"Resources": [{"type": EVIL}]}}}).encode(),
    "twice": b'{"checkpoint": {"latest": {"resources": [{"type": "cloudtrain:a:b", "type": "%s"}]}}}' % EVIL.encode(),
    "pending": json.dumps(state(pending_operations=[{"resource": {"type": EVIL}, "type": "creating"}])).encode(),
    "no-text": json.dumps(state({"type": EVIL})).encode().replace(b'"version"', b'"\xff"'),
    "packed": gzip.compress(json.dumps(state({"type": EVIL})).encode()),
    "packed-in-parts": b"".join(gzip.compress(bytes([each])) for each in json.dumps(state({"type": EVIL})).encode()),
    "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "plugin": json.dumps(state({**HOME, "inputs": {"version": "1.0", "__internal": {"name": "x"}}})).encode(),
    "cut": json.dumps(state({"type": EVIL})).encode()[:-3],
    "cut-and-hidden": json.dumps(state({"type": EVIL})).encode()[:-3].replace(b"type", b"\\u0074ype"),
    "list": json.dumps(state([{"type": EVIL}])).encode(),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_type_is_found(name: str) -> None:
    """The engine is not given it."""
    assert foreign(HIDDEN[name])


@pytest.mark.parametrize("resources", [(), (OURS,), (HOME, OURS), ({"type": "pulumi:pulumi:Stack"}, HOME, OURS)])
def test_what_is_ours_may_hold_any_words(resources: tuple[Any, ...]) -> None:
    """Inputs are text to the engine."""
    assert foreign(json.dumps(state(*resources)).encode()) == ""
    assert foreign(gzip.compress(json.dumps(state(*resources)).encode())) == ""
