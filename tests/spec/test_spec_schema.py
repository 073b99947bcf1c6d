"""The spec file: what it accepts, what it says when it does not, and that it is kept without loss."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.spec.schema import Spec, load, parse

SHORT = "model: llama-3.1-8b\ndata: rows.jsonl\n"
FOLDER = Path("/project")


def read(text: str, *overrides: str) -> Spec:
    return parse(text, "cloudtrain.yaml", FOLDER, overrides)


def refused(text: str, *overrides: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(text, *overrides)
    return caught.value


def test_two_lines_are_a_whole_spec() -> None:
    """A model and a data file are enough; the rest has its documented default."""
    spec = read(SHORT)
    assert (spec.model, spec.data.path) == ("llama-3.1-8b", "/project/rows.jsonl")
    assert (spec.method, spec.lr, spec.sequence_length, spec.packing) == ("qlora", 2e-4, 2048, True)
    assert (spec.lora.rank, spec.lora.alpha, spec.lora.targets) == (16, 32, "all-linear")
    assert (spec.epochs, spec.max_steps, spec.grad_accum, spec.batch_tokens) == (1, None, 1, None)
    assert (spec.checkpoint.every_s, spec.checkpoint.keep, spec.eval.every) == (300, 2, 0)
    assert (spec.budget.max_cost, spec.budget.max_hours) == (None, None)


def test_the_fast_trainer_must_be_asked_for() -> None:
    """Quotes count the plain one."""
    assert read("model: a/b\ndata: x.jsonl\n").trainer == "plain"
    assert read("model: a/b\ndata: x.jsonl\n", "trainer=fast").trainer == "fast"


def test_defaults_follow_other_fields() -> None:
    """The learning rate follows the method and alpha is twice the rank, unless they are written."""
    assert read(SHORT + "method: full").lr == 2e-5
    assert read(SHORT + "lora: {rank: 8}").lora.alpha == 16
    assert read(SHORT + "lora: {rank: 8, alpha: 9}").lora.alpha == 9


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("lr: 1e-4", "lr", 1e-4),
        ("lr: 0.0001", "lr", 1e-4),
        ("revision: 0123456", "revision", "0123456"),
        ("revision: 12e10", "revision", "12e10"),
        ("revision: 2024-01-31", "revision", "2024-01-31"),
        ("revision: no", "revision", "no"),
        ("revision:", "revision", None),
        ("seed: 010", "seed", 10),
        ("sequence_length: 4_096", "sequence_length", 4096),
        ("packing: off", "packing", False),
        ("method: null", "method", "qlora"),
        ("lr: &rate 3e-4", "lr", 3e-4),
    ],
)
def test_values_are_read_by_the_type_of_their_field(line: str, key: str, value: object) -> None:
    """YAML 1.1's guesses about plain words (octal numbers, dates, truth values) have no say."""
    assert getattr(read(SHORT + line), key) == value


def test_aliases_repeat_a_value() -> None:
    """A few anchors and aliases work as anywhere in YAML."""
    spec = read("model: x\ndata: {path: a, eval_path: &e e.jsonl}\nrevision: *e\n")
    assert spec.revision == "e.jsonl"


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        (SHORT + "methd: lora", 3, "unknown key `methd`", "`method`"),
        (SHORT + "learning_rate: 1e-4", 3, "unknown key `learning_rate`", "`lr`"),
        (SHORT + "rank: 8", 3, "unknown key `rank`", "`lora.rank`"),
        (SHORT + "lora:\n  alpha: 3\n  rnk: 8", 5, "unknown key `lora.rnk`", "`lora.rank`"),
        (SHORT + "zzz: 8", 3, "unknown key `zzz`", "known here: model"),
        (SHORT + "method: qlra", 3, "`qlra` is not a value of `method`", "`qlora`"),
        (SHORT + "method: zzzz", 3, "`zzzz` is not a value of `method`", "write one of full"),
        (SHORT + "method: [lora]", 3, "a list is not a value of `method`", "`lora`"),
        (SHORT + "data: x", 3, "`data` is written twice (first on line 2)", "one of the two"),
        (SHORT + "seed: 1.5", 3, "`1.5` is not a value of `seed`", "whole number"),
        (SHORT + "lr: .nan", 3, "`.nan` is not a value of `lr`", "a number"),
        (SHORT + "lr: inf", 3, "`inf` is not a value of `lr`", "a number"),
        (SHORT + "packing: maybe", 3, "`maybe` is not a value of `packing`", "true or false"),
        (SHORT + "lora: 5", 3, "`5` is not a value of `lora`", "`key: value`"),
        (SHORT + "lora: {rank: 0}", 3, "`0` is not a value of `lora.rank`", "greater than or equal to 1"),
        (SHORT + "lora: {targets: attn}", 3, "(`lora.targets`) is neither", "[q_proj, v_proj]"),
        (SHORT + "lora: {targets: [a b]}", 3, "(`lora.targets`) is neither", "[q_proj, v_proj]"),
        (SHORT + "checkpoint: {every: 5}", 3, "`5` (`checkpoint.every`) has no unit", "5m"),
        (SHORT + "checkpoint: {every: 5q}", 3, "`5q` (`checkpoint.every`) is not a length", "90m"),
        (SHORT + "checkpoint: {every: 0s}", 3, "is not between 1 s and 7 days", ""),
        (SHORT + "epochs: 2\nmax_steps: 3", 3, "`epochs` excludes `max_steps`", ""),
        (SHORT + "grad_accum: 2\nbatch_tokens: 9000", 3, "`grad_accum` excludes `batch_tokens`", ""),
        (SHORT + "batch_tokens: 100", 3, "`batch_tokens` is less than one micro-batch", ""),
        (SHORT + "eval: {every: 5}", 3, "`eval.every` needs rows", ""),
        ("model: x\ndata: {path: a, eval_path: b, eval_fraction: 0.1}", 2, "excludes `data.eval_path`", ""),
        (SHORT + "budget: {max_cost: $5}", 3, "`$5` is not a value of `budget.max_cost`", "a number"),
        (SHORT + "lora:\n\trank: 3", 4, "cannot start any token", "spaces, not with tabs"),
        (SHORT + "seed: [1", 3, "expected ',' or ']'", "`key: value`"),
        (SHORT + "---\nmodel: y", 3, "another document", ""),
        (SHORT + "? [a]\n: b", 3, "a key is not one word", ""),
        (SHORT + "lr: !!python/object:os.system x", 3, "means nothing here", "without a tag"),
        (SHORT + "seed: *nowhere", 3, "undefined alias", ""),
        (SHORT + "x: &a [*a]", 3, "nested too deeply", ""),
        (SHORT + 'revision: "\\0"', 3, "`\\x00` (`revision`) is not one line", ""),
        (SHORT + 'revision: "\\U00110000"', 3, "is not YAML", ""),
        (SHORT + "seed: \x07", 3, "a character that YAML does not allow", ""),
        ("- model: x", 1, "is not a list of `key: value` lines", "model"),
    ],
)
def test_a_wrong_spec_is_one_sentence_with_its_line(text: str, line: int, says: str, hint: str) -> None:
    """Each fault names the file, the line, what is wrong and the nearest right word."""
    error = refused(text)
    assert error.message.startswith(f"cloudtrain.yaml:{line}: ")
    assert says in error.message
    assert hint in error.hint
    assert "\n" not in error.message
    assert error.exit_code == 2


def test_missing_fields_are_named() -> None:
    """Without `data` or `model` the error names the field, and an empty file is said to be empty."""
    assert "`data` is missing" in refused("model: x").message
    assert "`model` is missing" in refused("data: x").message
    assert "is empty" in refused("# nothing\n").message


def test_several_faults_come_in_the_order_of_the_file() -> None:
    """Up to five faults are listed by line, the rest are counted, and the hint is the first one's."""
    error = refused("model: x\nfoo: 1\ndata: a\nmethod: lra\nrank: 2\nseed: x\nb1: 1\nb2: 1")
    lines = error.message.split("\n")
    assert [int(line.split(":")[1]) for line in lines[:-1]] == [2, 4, 5, 6, 7]
    assert lines[-1] == "and 1 more"
    assert "known here" in error.hint


def test_the_rest_of_a_group_is_not_blamed_on_its_first_fault() -> None:
    """A default that depends on a wrong value adds no second sentence."""
    assert refused(SHORT + "method: lra").message.count("\n") == 0


def test_overrides_replace_values() -> None:
    """`key=value` reaches every level, and a later one wins."""
    spec = read(SHORT, "lora.rank=8", "budget.max_hours=2", "budget.max_cost=1.50", "lr=1e-3", "lr=1e-4")
    assert (spec.lora.rank, spec.lora.alpha, spec.lr) == (8, 16, 1e-4)
    assert (spec.budget.max_hours, spec.budget.max_cost) == (2, Decimal("1.50"))
    assert read(SHORT + "seed: 7", "seed=").seed == 42
    assert read(SHORT, "lora.targets=q_proj,v_proj").lora.targets == ("q_proj", "v_proj")
    assert read(SHORT, "lora.targets=[q_proj, v_proj]").lora.targets == ("q_proj", "v_proj")
    assert read(SHORT + "lora: {rank: 4}", "lora={rank: 2, dropout: 0.1}").lora.dropout == 0.1


def test_an_overridden_data_file_keeps_the_rest_of_its_group() -> None:
    """`data=file` is short for `data.path=file`, whichever way the file is written."""
    spec = read("model: x\ndata: {path: a, eval_fraction: 0.1}", "data=b")
    assert (spec.data.path, spec.data.eval_fraction) == ("/project/b", 0.1)
    assert read(SHORT, "data.format=text").data.path == "/project/rows.jsonl"


def test_an_override_replaces_the_other_way_of_saying_it() -> None:
    """`max_steps=` on the command line takes the place of the file's `epochs`; two overrides that clash are an error."""
    spec = read(SHORT + "epochs: 3\ngrad_accum: 4", "max_steps=10", "batch_tokens=5000")
    assert (spec.epochs, spec.max_steps, spec.grad_accum, spec.batch_tokens) == (None, 10, None, 5000)
    assert read(SHORT + "epochs: 3", "max_steps=").epochs == 3
    assert "excludes" in refused(SHORT, "epochs=2", "max_steps=3").message


@pytest.mark.parametrize(
    ("override", "says", "hint"),
    [
        ("lora.rnk=8", "override `lora.rnk=8`: unknown key `lora.rnk`", "`lora.rank`"),
        ("lora.rank=x", "override `lora.rank=x`: `x` is not a value of `lora.rank`", "whole number"),
        ("sed=1", "override `sed=1`: unknown key `sed`", "`seed`"),
        ("seed.x=1", "override `seed.x=1`: a group is not a value of `seed`", "whole number"),
        ("seed", "`seed` is not an override", "key=value"),
        ("=1", "`=1` is not an override", "key=value"),
        ("a..b=1", "`a..b=1` is not an override", "key=value"),
        ("lora.targets=[q", "override `lora.targets=[q`:1: expected", ""),
        ("lora={rank: 8, rank: 9}", "override `lora={rank: 8, rank: 9}`:1: `rank` is written twice", ""),
    ],
)
def test_a_wrong_override_is_named(override: str, says: str, hint: str) -> None:
    """The error points at the command line, not at the file."""
    error = refused(SHORT, override)
    assert error.message.startswith(says)
    assert hint in error.hint


def test_an_override_below_a_wrong_group_blames_the_file() -> None:
    """`lora: 5` in the file stays the fault, with its line, when `lora.rank` is overridden."""
    assert refused(SHORT + "lora: 5", "lora.rank=3").message.endswith("`5` is not a value of `lora`")


def test_paths_count_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data is found beside the spec; a model is a folder only when there is one, else a name."""
    (tmp_path / "here").mkdir()
    (tmp_path / "spec.yaml").write_text("model: here\ndata: {path: ../a.jsonl, eval_path: ~/b.jsonl}\n")
    monkeypatch.setenv("HOME", "/home/somebody")
    spec = load(tmp_path / "spec.yaml")
    assert spec.model == str(tmp_path / "here")
    assert spec.data.path == str(tmp_path.parent / "a.jsonl")
    assert spec.data.eval_path == "/home/somebody/b.jsonl"
    assert load(tmp_path / "spec.yaml", ["model=org/name"]).model == "org/name"
    assert load(tmp_path / "spec.yaml", ["data=s3://bucket/a.jsonl"]).data.path == "s3://bucket/a.jsonl"


def test_files_that_cannot_be_read_are_usage_errors(tmp_path: Path) -> None:
    """A missing file, a folder, other encodings and too much of it each get their own sentence."""
    cases = {"latin.yaml": b"model: x\n# \xe9", "big.yaml": b"#" * (2**20 + 1)}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    for name, says in {
        "none.yaml": "does not exist",
        ".": "is not a file",
        "latin.yaml": "latin.yaml:2: is not UTF-8",
        "big.yaml": "larger than 1 MiB",
        "a\0b": "cannot be read",
        "x" * 300: "cannot be read",
    }.items():
        with pytest.raises(UsageError, match=re.escape(says)):
            load(tmp_path / name)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """What Windows editors put before the first key does no harm."""
    (tmp_path / "spec.yaml").write_bytes(b"\xef\xbb\xbf" + SHORT.replace("\n", "\r\n").encode())
    assert load(tmp_path / "spec.yaml").model == "llama-3.1-8b"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "a: " + "{a: " * 100_000,
        "- " * 100_000,
        "a: &a [x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)},*{chr(97 + i)}]\n" for i in range(20)),
        "".join(f"k{i}: 1\n" for i in range(50_000)),
    ],
    ids=["brackets", "braces", "dashes", "laughs", "keys"],
)
def test_a_bomb_is_refused(text: str) -> None:
    """Depth, aliases and numbers of keys are bounded before anything is built."""
    assert "has more parts than a spec can have" in refused(text).message
