"""Whatever bytes are called training data, the answer is a report or a sentence, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudtrain.errors import CloudtrainError
from cloudtrain.spec.dataset import DataReport, check
from tests.chance import examples

fuzz = settings(max_examples=examples(150), suppress_health_check=list(HealthCheck))

KEYS = st.sampled_from(
    [
        "messages",
        "conversations",
        "prompt",
        "completion",
        "instruction",
        "input",
        "output",
        "text",
        "role",
        "content",
        "from",
        "value",
        "tool_calls",
        "chosen",
        "",
        "\ud800",
    ]
) | st.text(max_size=4)
WORDS = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "", " ", "\ud83d", "\x00"]) | st.text(
    max_size=8
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": WORDS | VALUES, "content": WORDS | VALUES}, optional={"tool_calls": VALUES}),
    max_size=4,
)
ROWS = st.one_of(
    VALUES,
    st.fixed_dictionaries({"messages": MESSAGES | VALUES}),
    st.fixed_dictionaries(
        {"conversations": st.lists(st.fixed_dictionaries({"from": WORDS | VALUES, "value": WORDS}), max_size=3)}
    ),
    st.fixed_dictionaries({"prompt": MESSAGES | WORDS, "completion": MESSAGES | WORDS}),
    st.fixed_dictionaries({"instruction": WORDS, "output": WORDS}, optional={"input": VALUES}),
    st.fixed_dictionaries({"text": WORDS | VALUES}),
)
VALID = b"".join(
    json.dumps(
        {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "\u00e9" * i}]}
    ).encode()
    + b"\n"
    for i in range(1, 6)
)
DAMAGE = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b"\n", b"{", b"}", b'"', b"null", b"\xff", b"[", b"\\ud800", b"\r", b"\0", b","]),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Valid JSON lines with a few places cut out, doubled or written over."""
    content = VALID
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(content)))
        end = draw(st.integers(begin, min(len(content), begin + 20)))
        content = content[:begin] + draw(st.one_of(DAMAGE, st.just(content[begin:end] * 2))) + content[end:]
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def answers(path: Path, content: bytes, **options: Any) -> None:
    """Check and accept the closed set of errors alone; every message is a sentence for a person."""
    path.write_bytes(content)
    found: DataReport | CloudtrainError
    try:
        found = check(path, **options)
    except CloudtrainError as error:
        found = error
    if isinstance(found, DataReport):
        assert found.rows > 0
        assert not any(problem.fatal for problem in found.problems)
    else:
        assert found.exit_code == 2
        assert found.message.startswith(str(path.parent))
        assert found.message.encode()


@fuzz
@given(st.binary(max_size=120), st.sampled_from(["rows.jsonl", "rows.csv"]))
def test_random_bytes_never_end_in_a_traceback(folder: Path, content: bytes, name: str) -> None:
    """Any bytes, as JSON lines or as CSV, give a report or a usage error."""
    answers(folder / name, content)


@fuzz
@given(mutated())
def test_mutated_rows_never_end_in_a_traceback(folder: Path, content: bytes) -> None:
    """Valid rows with random damage give a report or a usage error, also as the evaluation file of themselves."""
    answers(folder / "rows.jsonl", content, eval_path=folder / "rows.jsonl")


@fuzz
@given(st.lists(ROWS, max_size=4), st.sampled_from([0.0, 0.5]))
def test_random_values_never_end_in_a_traceback(folder: Path, rows: list[Any], share: float) -> None:
    """Any JSON value on any line gives a report or a usage error."""
    content = "\n".join(json.dumps(row) for row in rows).encode()
    answers(folder / "rows.jsonl", content, eval_fraction=share)


CELLS = st.sampled_from(
    ["text", "prompt", "completion", '"', '""', ",", "\n", "\r\n", "\r", "a", " ", "é", "\0", '"a\nb"']
)


@fuzz
@given(st.lists(CELLS, max_size=30).map("".join))
def test_random_tables_never_end_in_a_traceback(folder: Path, text: str) -> None:
    """CSV-like text gives a report or a usage error."""
    answers(folder / "rows.csv", text.encode())
