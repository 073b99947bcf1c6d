"""A run that ran out of memory says by how much the estimate was exceeded and what fits; later quotes know it."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.offer import Offer, Price
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote.assess import assess
from cloudtrain.quote.chips import chips
from cloudtrain.quote.lessons.measured import Measurements, kept_here
from cloudtrain.records import ExitRecord, GoneRecord, QuoteRecord, RecipeRecord, UsdBounds
from cloudtrain.runs import reconcile
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements, out_of_memory
from cloudtrain.runs.results.outcome import failure
from cloudtrain.state.store import LocalFolder
from cloudtrain.units import GIB
from tests.records import begin, machine, row

SPEC = """
model: qwen3-0.6b
method: {method}
data: data.jsonl
sequence_length: {length}
micro_batch: {batch}
grad_accum: 2
"""
OTHERS = [
    row(
        **{"provider": "aws", "region": "us-east-1", "hardware": "cpu-amx", "count": count, "offer": f"m{count}"},
        memory_bytes=count * 4 * GIB,
        required_bytes=10 * GIB,
        total_usd=UsdBounds(low=Decimal(count), likely=Decimal(count), high=Decimal(count)),
    )
    for count in (4, 8, 16, 32)
]
Ended = Callable[..., Run]


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    """A rented run on 16 GiB whose estimate was 10 GiB, and whose process was refused more at 15."""

    def make(method: str = "lora", batch: int = 4, length: int = 2048, peak: int = 15 * GIB, **exit_record: Any) -> Run:
        run = Run(LocalFolder(tmp_path / "state"), "mine")
        run.store.write(run.key("spec.yaml"), SPEC.format(method=method, batch=batch, length=length).encode())
        begin(run.store, "mine", provider="aws", max_restarts=3, deadline=9e12)
        line = OTHERS[0].replace(recipe=RecipeRecord(method=method, stack="trl-cpu"))
        run.write("quote.json", QuoteRecord(line=line, flops_per_token=1e9))
        reconcile.keep_candidates(run.store, "mine", OTHERS)
        run.write("machine.json", machine())
        run.write("gone.json", GoneRecord(time=1.0))
        usual = {"reason": "out_of_memory", "peak_bytes": peak, "ended_at": 1.0}
        run.write("exit.json", ExitRecord(**{**usual, **exit_record}))
        return Run(run.store, "mine")

    return make


def test_the_sentence_says_by_how_much(ended: Ended) -> None:
    """A rented machine had 16 GiB and nothing else to do: the run needed at least these, 60 % over 10."""
    told = failure(ended())
    assert told.exit_code == 100
    assert "needed at least 16.0 GiB, 6.0 GiB (60 %) more than the estimated 10.0 GiB" in told.message
    assert "measured peak was 15.0 GiB" in told.message


def test_the_least_fitting_change_keeps_the_batch_of_a_step(ended: Ended) -> None:
    """Smaller micro-batches, more of them; the estimator agrees that it fits, with what the run has shown."""
    run = ended()
    short, estimate = out_of_memory.shortage(run), out_of_memory.Estimate.of(run)
    assert short is not None
    assert estimate is not None
    words = out_of_memory.setting(run, short)
    batch, accumulation = map(int, re.findall(r"=(\d+)", words))
    assert batch * accumulation == 8
    assert batch < 4
    factor = short.needed / estimate.required(estimate.request)
    smaller = estimate.request._replace(batch=batch)
    assert max(1.0, factor) * estimate.required(smaller) <= 0.92 * short.memory
    assert max(1.0, factor) * estimate.required(estimate.request._replace(batch=2 * batch)) > 0.92 * short.memory


def test_the_sequence_is_shortened_where_the_batch_is_one(ended: Ended) -> None:
    """And a method that needs less comes after that."""
    run = ended(batch=1, length=8192)
    short = out_of_memory.shortage(run)
    assert short is not None
    assert "sequence_length=" in out_of_memory.setting(run, short)


def test_the_method_is_changed_where_nothing_else_is_left(ended: Ended) -> None:
    """A run that needed a little too much at the shortest sequence: qlora."""
    run = ended(batch=1, length=256)
    short = out_of_memory.shortage(run)
    assert short is not None
    assert out_of_memory.setting(run, short) in ("", "`cloudtrain up method=qlora` fits by the estimate")


def test_the_next_machine_is_the_cheapest_that_holds_it(ended: Ended) -> None:
    """10 GiB estimated, 16 needed: 32 GiB do, and 64 are dearer."""
    run = ended()
    short = out_of_memory.shortage(run)
    assert short is not None
    assert "--hardware cpu-amx:8` (m8) has 32.0 GiB" in out_of_memory.larger_machine(run, short)


def test_nothing_is_tried_again(ended: Ended) -> None:
    """Neither out of memory nor bad data, bad spec or a missing accelerator ask for another machine."""
    for reason in ("out_of_memory", "bad_data", "bad_spec", "wrong_accelerator"):
        assert not reconcile.wants_another(ended(reason=reason))
    assert reconcile.wants_another(ended(reason="preempted"))


def test_a_missing_accelerator_has_a_sentence_of_its_own(ended: Ended) -> None:
    """With the trainer's words in it."""
    told = failure(ended(reason="wrong_accelerator", message="PyTorch sees no rocm device"))
    assert "the accelerator it was to use is not there: PyTorch sees no rocm device" in told.message
    assert "no other machine was tried" in told.hint


def test_the_next_quote_is_raised_for_this_model_alone(ended: Ended) -> None:
    """The measurement goes into the state once; the same job no longer fits that machine."""
    run = ended(batch=1, length=512)
    estimate = out_of_memory.Estimate.of(run)
    assert estimate is not None
    bare = estimate.required(estimate.request)
    run = ended(batch=1, length=512, peak=5 * bare)
    measurements.learn(run)
    measurements.learn(run)
    known = Measurements.of_state(run.store.url)
    assert len(known.runs) == 1
    size = 3 * bare
    host = Offer("aws", "m4", "r", "", "cpu-amx", 4, size, 4, size, "spot", None, Price("", "", "", ""))
    terms = load("pricing", "aws", PriceSource).terms
    before = assess(estimate.request, host, terms, None)
    after = assess(estimate.request, host, terms, known)
    assert (before.fits, after.fits) == ("fits", "no")
    assert after.required_bytes == pytest.approx(5 * bare, rel=1e-6)
    assert any("memory raised by" in reason for reason in after.reasons)
    other = estimate.request._replace(method="qlora")
    assert assess(other, host, terms, known).required_bytes == assess(other, host, terms, None).required_bytes
    assert before.recipe is not None
    assert known.rate(host, before.recipe, estimate.request, before.tokens_per_second, 1e9) is None


def test_measurements_of_a_bucket_are_kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote asks no network for them: it reads what the last `up` or run has copied."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    store = LocalFolder(tmp_path / "bucket")
    store.append("measurements.jsonl", b'{"hardware": "cpu", "count": 1, "flops_per_s": 5.0}')
    store.url = "s3://bucket/team"
    assert Measurements.of_state(store.url).runs == ()
    measurements.refresh(store)
    assert [run.flops_per_s for run in Measurements.of_state("s3://bucket/team").runs] == [5.0]
    assert kept_here(str(tmp_path)) is None


def test_a_run_without_figures_is_told_plainly(ended: Ended) -> None:
    """An old record: the reason alone."""
    run = ended()
    run.store.delete("runs/mine/quote.json")
    assert "failed (out of memory)" in failure(Run(run.store, "mine")).message


def test_a_local_run_counts_its_own_peak(ended: Ended) -> None:
    """Other programs share this machine's memory: a run that stayed below its estimate is not blamed."""
    run = ended(peak=5 * GIB)
    begin(run.store, "mine")
    short = out_of_memory.shortage(Run(run.store, "mine"))
    assert short is not None
    assert "something else used the machine's memory" in short.describe()
    assert short.factor == 1.0
    assert "cpu-amx" in chips()
