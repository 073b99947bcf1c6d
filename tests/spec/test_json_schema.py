"""The JSON Schema of a spec says what the spec says: the same keys, words and bounds, and what each key is for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given

from cloudtrain.spec import json_schema
from cloudtrain.spec.messages import descriptions
from cloudtrain.spec.schema import Spec
from cloudtrain.spec.starter import starter
from tests.conftest import Result
from tests.spec.valid_specs import specs

SCHEMA = json_schema.json_schema()


def faults(text: str) -> list[str]:
    """What an editor would underline in a YAML text: the keys, dots between levels."""
    found = jsonschema.Draft7Validator(SCHEMA).iter_errors(yaml.safe_load(text))
    return [".".join(str(part) for part in fault.absolute_path) for fault in found]


def test_every_key_is_there_with_its_description() -> None:
    """Hovering over a key in an editor shows what the starter says beside it."""

    def walk(group: dict[str, Any], above: str) -> list[tuple[str, str]]:
        keys = []
        for key, entry in group["properties"].items():
            keys.append((f"{above}{key}", entry["description"]))
            inner = next((kind for kind in entry.get("anyOf", []) if "properties" in kind), entry)
            keys += walk(inner, f"{key}.") if "properties" in inner else []
        return keys

    assert walk(SCHEMA, "") == descriptions(Spec)
    assert all(text for _, text in descriptions(Spec))


def test_it_is_a_schema() -> None:
    """The document itself is valid."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_what_init_writes_is_accepted() -> None:
    """No line of a fresh spec is underlined, empty groups included."""
    assert faults(starter("llama-3.1-8b", "rows.jsonl")) == []


@given(specs())
def test_every_valid_spec_is_accepted(spec: Spec) -> None:
    """What we read, an editor does not complain of."""
    assert faults(spec.to_yaml()) == []


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("methd: lora", ""),
        ("lora: {rnk: 8}", "lora"),
        ("method: qlra", "method"),
        ("seed: 1.5", "seed"),
        ("packing: maybe", "packing"),
        ("lora: {rank: 0}", "lora.rank"),
        ("warmup: 1", "warmup"),
        ("budget: {max_hours: -1}", "budget.max_hours"),
        ("lora: 5", "lora"),
    ],
)
def test_what_a_run_refuses_is_underlined(line: str, key: str) -> None:
    """Unknown keys and wrong values, at every level."""
    assert faults(f"model: x\ndata: a.jsonl\n{line}\n") == [key]


def test_missing_keys_are_underlined() -> None:
    """A spec without its model or data is not whole; `data` may be one word."""
    assert faults("data: a.jsonl\n") == [""]
    assert faults("model: x\n") == [""]
    assert faults("model: x\ndata: {format: text}\n") == ["data"]
    assert faults("model: x\ndata: a.jsonl\n") == []


def test_init_writes_it_beside_the_spec(
    cloudtrain: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first line of the spec leads an editor to the file, which is what `cloudtrain schema spec` prints."""
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cloudtrain("init", "qwen3-0.6b", "d.jsonl", "-f", "deep/mine.yaml").code == 0
    first = (tmp_path / "deep" / "mine.yaml").read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    written = (tmp_path / "deep" / first.partition("=")[2]).read_text()
    assert written == cloudtrain("schema", "spec").out
    assert json.loads(written) == SCHEMA
