"""Whatever bytes are called a spec, the answer is a spec or a sentence, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudtrain.errors import CloudtrainError
from cloudtrain.spec.messages import known_keys
from cloudtrain.spec.schema import Spec, load, parse
from cloudtrain.spec.starter import starter
from tests.chance import examples

fuzz = settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))

KEYS = known_keys(Spec)
WORDS = st.one_of(
    st.sampled_from(
        [*(key.rpartition(".")[2] for key in KEYS), "<<", "~", "null", "yes", ".nan", "1e-4", "0x1F", "1:30"]
    ),
    st.sampled_from(
        ["qlora", "all-linear", "5m", "-1", "9" * 400, "é", "\U0001f600", "!!binary x", "!x y", "&a b", "*a"]
    ),
    st.sampled_from(
        ['"\\uD800"', '"\\x00"', '"\\U00110000"', "''", "|", ">-", "2024-02-30", "!!timestamp x", "%YAML 1.1"]
    ),
    st.text(max_size=6),
)
MARKS = st.sampled_from(
    [": ", ":", "\n", "\n  ", "\n    ", "- ", "\n- ", "[", "]", "{", "}", ", ", "#", " ", "\t", "? ", "---\n", "'"]
)
YAMLISH = st.lists(st.one_of(WORDS, MARKS), max_size=40).map("".join)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
OVERRIDES = st.lists(
    st.one_of(st.text(max_size=20), st.tuples(st.sampled_from(KEYS), WORDS | YAMLISH | VALUES.map(repr)).map("=".join)),
    max_size=3,
)
VALID = starter("llama-3.1-8b", "rows.jsonl")


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The starter spec with a few places cut out, doubled or written over."""
    text = VALID
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = draw(st.integers(begin, min(len(text), begin + 30)))
        text = text[:begin] + draw(st.one_of(WORDS, MARKS, st.just(""), st.just(text[begin:end] * 2))) + text[end:]
    return text


def answers(text: str, overrides: list[str]) -> None:
    """Parse and accept the closed set of errors alone; every message is a sentence for a person."""
    found: Spec | CloudtrainError
    try:
        found = parse(text, "cloudtrain.yaml", Path("/project"), overrides)
    except CloudtrainError as error:
        found = error
    if isinstance(found, Spec):
        assert parse(found.to_yaml(), "kept", Path("/project")) == found
    else:
        assert found.exit_code == 2
        assert found.message
        assert found.message.encode()


@fuzz
@given(YAMLISH, OVERRIDES)
def test_random_yaml_never_ends_in_a_traceback(text: str, overrides: list[str]) -> None:
    """YAML-like text gives a spec or a usage error."""
    answers(text, overrides)


@fuzz
@given(mutated(), OVERRIDES)
def test_mutated_specs_never_end_in_a_traceback(text: str, overrides: list[str]) -> None:
    """A valid spec with random damage gives a spec or a usage error."""
    answers(text, overrides)


@fuzz
@given(st.dictionaries(st.sampled_from(KEYS), VALUES | WORDS, max_size=6))
def test_random_values_never_end_in_a_traceback(values: dict[str, object]) -> None:
    """Any value on any key gives a spec or a usage error."""
    lines = [f"{key}: {value}" for key, value in values.items() if "." not in key]
    answers("model: x\ndata: y\n" + "\n".join(lines), [f"{key}={value}" for key, value in values.items() if "." in key])


@fuzz
@given(
    st.one_of(
        st.binary(max_size=200), mutated().map(str.encode).flatmap(lambda text: st.binary(max_size=5).map(text.__add__))
    )
)
def test_random_bytes_never_end_in_a_traceback(content: bytes) -> None:
    """Any bytes in the file give a spec or a usage error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloudtrain.yaml"
        path.write_bytes(content)
        found: Spec | CloudtrainError
        try:
            found = load(path)
        except CloudtrainError as error:
            found = error
        assert isinstance(found, Spec) or found.exit_code == 2
