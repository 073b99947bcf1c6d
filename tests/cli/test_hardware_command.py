"""Machines of one's own, kept for every quote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from cloudtrain.settings import boxes
from tests.conftest import Result

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def pinned(this_machine: Callable[..., None]) -> None:
    """The machine is pinned in all of these."""


def owned(result: Result) -> list[tuple[object, object, object]]:
    """Hardware, count and price of the rows of other boxes in a quote's JSON."""
    lines = json.loads(result.out)["lines"]
    return [
        (line["hardware"], line["count"], line["price_usd_per_hour"])
        for line in lines
        if line["offer"].startswith("owned: ")
    ]


def test_what_is_kept_is_in_every_quote(cloudtrain: Command) -> None:
    """Added once, a machine has its row without being named, and goes when it is forgotten."""
    assert cloudtrain("hardware", "add", "RX 7900-XTX:2", "--watts", "700").code == 0
    assert cloudtrain("hardware", "add", "M4 Max", "--memory", "64GB").code == 0
    quote = ("quote", "qwen3-8b", "--infra", "local", "-o", "json")
    assert sorted(owned(cloudtrain(*quote))) == [("apple-m4-max", 1, "0.029"), ("rx7900xtx", 2, "0.14")]
    assert owned(cloudtrain(*quote, "--hardware", "7900xtx:2")) == [("rx7900xtx", 2, "0.14")]
    assert owned(cloudtrain("quote", "qwen3-8b", "--infra", "gcp", "-o", "json")) == []
    assert cloudtrain("hardware", "forget", "RX 7900-XTX:2").code == 0
    assert owned(cloudtrain(*quote)) == [("apple-m4-max", 1, "0.029")]
    assert cloudtrain("hardware", "forget", "RX 7900-XTX:2").code == 2


def test_the_list_follows_its_schema(cloudtrain: Command) -> None:
    """A name is kept once, with what was said of it last."""
    for memory in ("256GB", "512GB"):
        cloudtrain("hardware", "add", "cpu-zen:64", "--memory", memory)
    found = json.loads(cloudtrain("hardware", "list", "-o", "json").out)
    jsonschema.validate(found, json.loads(cloudtrain("schema", "hardware").out))
    assert [(each["hardware"], each["count"], each["memory_bytes"] >> 30) for each in found] == [("cpu-zen", 64, 512)]
    assert "512 GiB" in cloudtrain("hardware", "list").out


@pytest.mark.parametrize("words", [["v6e:8"], ["cpu-zen:64"], ["gfx1100"], ["rx 7901"], ["M5 Pro"]])
def test_what_is_no_machine_of_ones_own_is_not_kept(cloudtrain: Command, words: list[str]) -> None:
    """A sentence, and nothing is written."""
    assert cloudtrain("hardware", "add", *words).code == 2
    assert not boxes.path().exists()


@pytest.mark.parametrize(
    "text", ["hardware,memory\n", "hardware,memory,watts\nmi210\n", "x\n", "hardware,memory,watts\nnone,,\n"]
)
def test_a_broken_file_is_named(cloudtrain: Command, text: str) -> None:
    """Whoever edits it by hand is told the file."""
    path: Path = boxes.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    result = cloudtrain("quote", "qwen3-8b")
    assert result.code == 2
    assert str(path) in result.err
