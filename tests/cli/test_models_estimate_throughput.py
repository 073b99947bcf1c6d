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


def test_unknown_schema_names_the_nearest(golden: Command) -> None:
    """A wrong schema name is a sentence."""
    golden("schema-unknown", "schema", "qoute")
