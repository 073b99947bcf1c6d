"""Measurements are read twice over: by a record, and by a quote that does not wait for one. Both say the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import DamagedRecord
from cloudtrain.providers import PriceSource
from cloudtrain.quote import engine
from cloudtrain.quote.assessment import Assessment
from cloudtrain.quote.lessons.measured import NEVER_NULL, SHAPE, Measurement, Measurements, measurement
from cloudtrain.quote.request import Request
from cloudtrain.records import MeasurementRecord, read
from tests.quote.test_engine import TERMS, offer, request

WHOLE = MeasurementRecord(
    hardware="cpu-zen", count=2, run="mine", time=1.0, model="m", method="lora", stack="trl-cpu", dtype="fp32",
    out_of_memory=False, tokens_per_second=5.0, flops_per_s=1e9, peak_bytes=3, required_bytes=2, provider="aws",
    forgotten=False, tokens=10, steps=4, sequence_length=512, load=0.5,
)  # fmt: skip
VALUES: list[Any] = ["x", "", 1, 0, 1.5, True, False, None, [], {}, float("nan")]


def by_record(line: str) -> MeasurementRecord | None:
    """What the record's reader makes of a line."""
    try:
        return read(MeasurementRecord, line.encode(), "x")
    except DamagedRecord:
        return None


@pytest.mark.parametrize("field", [*SHAPE, "version"])
@pytest.mark.parametrize("value", VALUES, ids=[repr(value) for value in VALUES])
def test_both_readers_take_the_same_lines(field: str, value: Any) -> None:
    """Any value in any field that a quote looks at."""
    line = json.dumps({**WHOLE.as_document(), field: value})
    assert (measurement(line) is None) == (by_record(line) is None)


@pytest.mark.parametrize("field", SHAPE)
def test_both_readers_agree_on_what_may_be_absent(field: str) -> None:
    """And on what stands for it."""
    line = json.dumps({name: value for name, value in WHOLE.as_document().items() if name != field})
    found, record = measurement(line), by_record(line)
    assert (found is None) == (record is None) == (field in ("hardware", "count"))
    assert found is None or getattr(found, field) == getattr(record, field)


def test_a_line_is_read_as_what_it_says() -> None:
    """Every field, and every field of the quote's is one of the record's."""
    found = measurement(WHOLE.as_line().decode())
    assert found is not None
    assert found._asdict() == {name: getattr(WHOLE, name) for name in Measurement._fields}
    assert set(NEVER_NULL) < set(SHAPE) == set(Measurement._fields)


def test_a_line_of_another_shape_is_passed_over(tmp_path: Any) -> None:
    """A quote goes on with the others: it is no place to complain about a state."""
    bad = ["[1]", "{}", "not json", '{"hardware": 3, "count": 2, "flops_per_s": 5}', "\x00"]
    bad.append(json.dumps({**WHOLE.as_document(), "peak_bytes": "many"}))
    bad.append(json.dumps({**WHOLE.as_document(), "flops_per_s": 0}))
    (tmp_path / "measurements.jsonl").write_text("\n".join([*bad, WHOLE.as_line().decode()]) + "\n")
    assert [run.hardware for run in Measurements.of_state(str(tmp_path)).runs] == ["cpu-zen"]


def test_what_was_forgotten_is_not_known(tmp_path: Any) -> None:
    """All earlier lines of its run; a later one counts again."""
    taken_back = MeasurementRecord(hardware="", count=0, run="mine", forgotten=True)
    lines = [WHOLE, WHOLE, WHOLE.replace(run="other"), taken_back]
    path = tmp_path / "measurements.jsonl"
    path.write_bytes(b"\n".join(line.as_line() for line in lines))
    assert [run.run for run in Measurements.of_state(str(tmp_path)).runs] == ["other"]
    path.write_bytes(b"\n".join(line.as_line() for line in [*lines, WHOLE]))
    assert [run.run for run in Measurements.of_state(str(tmp_path)).runs] == ["other", "mine"]


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -1.0, 0.0, None])
@pytest.mark.parametrize("field", ["tokens", "steps", "sequence_length", "load", "tokens_per_second"])
def test_an_odd_figure_counts_as_unknown(field: str, odd: Any) -> None:
    """Evidence has finite variances all the same."""
    found = measurement(json.dumps({**WHOLE.as_document(), field: odd}))
    assert found is not None
    told = found.evidence(request(), "aws")
    assert all(math.isfinite(each) and each > 0 for each in (told.own, told.shared + 1))


def quoted(tmp_path: Path, asked: Request, *found: MeasurementRecord) -> Assessment:
    """The assessment of a host of 64 vCPUs at gcp where this was measured."""
    (tmp_path / "measurements.jsonl").write_bytes(b"\n".join(each.as_line() for each in found))
    known = Measurements.of_state(str(tmp_path))
    return engine.judged(asked, PriceSource("gcp", lambda context: [], TERMS), [offer()], None, known)[0].assessment


def test_a_busy_demo_moves_a_large_quote_a_little(tmp_path: Path) -> None:
    """12 steps of a model of 135 M, a fifth as fast as quoted: the 8 B model's hours grow by less than a third."""
    small, large = request("smollm2-135m", sequence_length=256), request("qwen3-8b")
    shipped = {each.spec.name: quoted(tmp_path, each) for each in (small, large)}
    rate = shipped[small.spec.name].tokens_per_second
    assert rate is not None
    busy = MeasurementRecord(
        hardware="cpu-zen", count=64, run="demo", method="qlora", stack="trl-cpu", provider="gcp", load=0.8, steps=12,
        tokens=12 * 256, sequence_length=256, tokens_per_second=rate.likely / 5,
        flops_per_s=rate.likely / 5 * small.flops_per_token(),
    )  # fmt: skip
    before, after = shipped[large.spec.name], quoted(tmp_path, large, busy)
    assert before.hours is not None
    assert after.hours is not None
    assert after.learnt is not None
    assert before.hours.likely < after.hours.likely < 4 / 3 * before.hours.likely
    assert after.hours.high / after.hours.low >= before.hours.high / before.hours.low
    assert "measured: n = 1 run of qlora" in after.basis


def test_a_line_of_an_older_version_is_weighed_too(tmp_path: Path) -> None:
    """Without steps, length and load it counts less than one that has them, and does not narrow a range."""
    asked = request("qwen3-8b")
    whole = MeasurementRecord(
        hardware="cpu-zen", count=64, run="one", method="qlora", stack="trl-cpu", provider="gcp", load=0.0, steps=2000,
        tokens=4_000_000, sequence_length=2048, tokens_per_second=50.0, flops_per_s=50.0 * asked.flops_per_token(),
    )  # fmt: skip
    kept = ("hardware", "count", "run", "method", "stack", "tokens_per_second", "flops_per_s")
    old = MeasurementRecord(**{name: getattr(whole, name) for name in kept})
    new, before = quoted(tmp_path, asked, whole), quoted(tmp_path, asked)
    found = quoted(tmp_path, asked, old)
    assert found.learnt is not None
    assert new.learnt is not None
    assert 0 < found.learnt.weight < new.learnt.weight
    assert found.tokens_per_second is not None
    assert before.tokens_per_second is not None
    ratios = [each.high / each.low for each in (found.tokens_per_second, before.tokens_per_second)]
    assert ratios[0] >= ratios[1]
