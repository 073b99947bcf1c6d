"""A step of the optimizer on several machines: each takes what it has room for at once, the steps are the same ones."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain import backends, settings
from cloudtrain.plan import Plan
from cloudtrain.quote import recipes
from cloudtrain.quote.document import candidate, frozen
from cloudtrain.quote.engine import quote_here
from cloudtrain.quote.request import parse_place
from cloudtrain.quote.row import Quote, QuoteRow
from cloudtrain.runs import prepare
from cloudtrain.runs.prepare import Chosen, Prepared
from cloudtrain.runs.transfer.bundle import portable_job
from cloudtrain.units import money

ROWS = [{"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "yes"}]} for n in range(9)]
SPLIT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import orders
job, most = json.load(sys.stdin)
orders.take_at_once(job, most)
print(json.dumps(job))
"""


@pytest.fixture(autouse=True)
def slow_unpacking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A rate at which it counts, whatever the shipped one is by now."""
    row = recipes.row_of("torch-cpu", "longcat_flash", "qlora")
    assert row is not None
    monkeypatch.setitem(row, "dequantise_per_vcpu_s", [165e6, 280e6, 410e6])
    recipes.recipe.cache_clear()
    yield
    monkeypatch.undo()
    recipes.recipe.cache_clear()


def prepared(folder: Path, text: str) -> Prepared:
    """A spec of LongCat's, read as `up` reads it."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    path = folder / "cloudtrain.yaml"
    path.write_text(f"model: longcat-flash\ndata: rows.jsonl\nlora: {{targets: attention}}\n{text}\n")
    return prepare.prepare(path, [])


def quoted(spec: Prepared) -> Quote:
    """Its quote at Google."""
    return quote_here(
        prepare.request_for(spec, (1_000_000, "a test"), (parse_place("gcp"),), 168.0, None), settings.load()
    )


def on_processors(quote: Quote) -> list[QuoteRow]:
    """The viable rows that unpack 4-bit weights."""
    return [line for line in quote.lines if line.viable and line.offer.hardware.startswith("cpu")]


def planned(spec: Prepared, quote: Quote, row: QuoteRow) -> Plan:
    """The plan of a run on a row."""
    return prepare.make_plan(spec, Chosen(quote, row, frozen(row)), "r", Path("runs/r"), time.time())


def on_a_machine(job: dict[str, Any], most: int | None) -> dict[str, Any]:
    """The job as the agent of a machine makes it."""
    machine = backends.templates() / "machine"
    words = [sys.executable, "-c", SPLIT, str(machine)]
    done = subprocess.run(words, input=json.dumps([job, most]), capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_each_machine_has_its_own_split_of_the_same_steps(tmp_path: Path) -> None:
    """A step of 32 sequences is one of 32 everywhere, and the run the same one; a later machine splits the first's job."""
    spec = prepared(tmp_path, "batch_tokens: 65536\nmax_steps: 20")
    quote = quoted(spec)
    first, *others = {line.offer.memory_bytes: line for line in on_processors(quote)}.values()
    job = planned(spec, quote, first).job
    bundled = portable_job(job, {})
    found = set()
    for line in (first, *others):
        plan = planned(spec, quote, line)
        recipe = candidate(line).recipe
        assert recipe is not None
        assert recipe.batch is not None
        assert plan.job["micro_batch"] == recipe.batch
        assert plan.job["micro_batch"] * plan.job["grad_accum"] == 32
        assert plan.job["max_steps"] == 20
        assert plan.identity == spec.identity
        there = on_a_machine(bundled, recipe.batch)
        assert {**bundled, "micro_batch": plan.job["micro_batch"], "grad_accum": plan.job["grad_accum"]} == there
        found.add(recipe.batch)
    assert len(found) > 1


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("", (1, 1)),
        ("grad_accum: 8", (8, 1)),
        ("grad_accum: 6", (6, 1)),
        ("batch_tokens: 16384", (8, 1)),
        ("micro_batch: 2\ngrad_accum: 4", (2, 4)),
        ("micro_batch: 1\nbatch_tokens: 16384", (1, 8)),
    ],
)
def test_a_spec_decides_the_step(tmp_path: Path, text: str, split: tuple[int, int]) -> None:
    """Nobody's number of steps is changed to save money."""
    spec = prepared(tmp_path, text)
    quote = quoted(spec)
    plan = planned(spec, quote, max(on_processors(quote), key=lambda line: line.offer.memory_bytes))
    assert (plan.job["micro_batch"], plan.job["grad_accum"]) == split


def test_a_spec_that_names_nothing_hears_what_would_be_cheaper(tmp_path: Path) -> None:
    """In the words of its keys, with the dollars of that row."""
    rows = on_processors(quoted(prepared(tmp_path, "")))
    then = {line.key: line for line in on_processors(quoted(prepared(tmp_path, "grad_accum: 8")))}
    told = [line for line in rows if line.cheaper]
    assert told
    for line in told:
        assert line.cheaper == f"cheaper with `grad_accum: 8`: likely {money(then[line.key].usd_likely)}"


@pytest.mark.parametrize(
    ("have", "most", "made"),
    [((8, 1), 8, (8, 1)), ((8, 1), 4, (4, 2)), ((1, 6), 4, (3, 2)), ((1, 7), 4, (1, 7)), ((2, 3), None, (2, 3))],
)
def test_a_machine_never_changes_the_sequences_of_a_step(
    have: tuple[int, int], most: int | None, made: tuple[int, int]
) -> None:
    """It takes the largest even share that it has room for."""
    found = on_a_machine({"micro_batch": have[0], "grad_accum": have[1]}, most)
    assert (found["micro_batch"], found["grad_accum"]) == made
