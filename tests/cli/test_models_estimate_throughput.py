"""The commands that answer for exactly what they are given."""

from __future__ import annotations

import json
from collections.abc import Callable

import jsonschema
import pytest

from tests.conftest import Result

Command = Callable[..., Result]


@pytest.mark.parametrize(
    ("schema", "argv"),
    [
        ("models", ["models"]),
        ("estimate", ["estimate", "longcat-flash"]),
        ("estimate", ["estimate", "llama-3.1-8b", "--method", "full", "--devices", "8", "--sharding", "zero2"]),
        ("throughput", ["throughput", "llama-3.1-8b", "--hardware", "v6e", "--method", "full"]),
        ("throughput", ["throughput", "--gflop-per-token", "51.5", "--hardware", "Graviton4"]),
    ],
)
def test_json_follows_its_schema(cloudtrain: Command, schema: str, argv: list[str]) -> None:
    """`-o json` validates against `cloudtrain schema`."""
    document = json.loads(cloudtrain(*argv, "-o", "json").out)
    jsonschema.validate(document, json.loads(cloudtrain("schema", schema).out))


def test_models_as_a_table(golden: Command) -> None:
    """The registry, with sizes that a person reads."""
    golden("models", "models")


def test_the_parts_of_an_estimate_sum_to_its_peak(cloudtrain: Command) -> None:
    """What is printed adds up, to the byte."""
    document = json.loads(cloudtrain("estimate", "qwen3-8b", "--method", "lora", "-o", "json").out)
    assert sum(document["parts"].values()) == document["peak_bytes"] <= document["required_bytes"]


def test_an_estimate_with_its_assumptions(golden: Command) -> None:
    """--explain shows all phases and every assumption."""
    golden("estimate-explain", "estimate", "longcat-flash", "--explain")


def test_throughput_takes_one_kind_of_work(golden: Command) -> None:
    """A model and a number of operations at once are refused."""
    golden("throughput-both", "throughput", "qwen3-8b", "--gflop-per-token", "3", "--hardware", "mi300x")


def test_the_same_words_name_hardware_everywhere(cloudtrain: Command) -> None:
    """A number behind the name is --count of `throughput` and the --devices of `estimate`."""
    job = ("--method", "lora", "-o", "json")
    for key, text in (("rx7900xtx", "AMD RX 7900-XTX"), ("mi250", "MI250:1"), ("apple-m4-max", "Apple M4 Max")):
        speed = [cloudtrain("throughput", "qwen3-8b", "--hardware", name, *job).out for name in (key, text)]
        assert speed[0] == speed[1] != ""
    two = cloudtrain("throughput", "qwen3-8b", "--hardware", "mi300x", "--count", "16", *job).out
    assert cloudtrain("throughput", "qwen3-8b", "--hardware", "16 x MI300X", *job).out == two
    four = cloudtrain("estimate", "qwen3-8b", "--chip", "mi250", "--devices", "4", *job).out
    assert cloudtrain("estimate", "qwen3-8b", "--chip", "MI250:2", *job).out == four != ""


@pytest.mark.parametrize(
    "argv",
    [
        ["throughput", "qwen3-8b", "--hardware", "mi210:2", "--count", "3"],
        ["estimate", "qwen3-8b", "--chip", "mi210:2", "--devices", "3"],
        ["estimate", "qwen3-8b", "--chip", "gfx1100"],
    ],
)
def test_two_numbers_or_several_cards_are_refused(cloudtrain: Command, argv: list[str]) -> None:
    """Both say how many, or the name is one of many cards."""
    assert cloudtrain(*argv).code == 2


def test_unknown_schema_names_the_nearest(golden: Command) -> None:
    """A wrong schema name is a sentence."""
    golden("schema-unknown", "schema", "qoute")
