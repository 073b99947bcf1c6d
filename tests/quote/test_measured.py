"""Measurements are read twice over: by a record, and by a quote that does not wait for one. Both say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudtrain.errors import DamagedRecord
from cloudtrain.quote.measured import NEVER_NULL, SHAPE, Measurement, Measurements, measurement
from cloudtrain.records import MeasurementRecord, read

WHOLE = MeasurementRecord(
    hardware="cpu-zen", count=2, run="mine", time=1.0, model="m", method="lora", stack="trl-cpu", dtype="fp32",
    out_of_memory=False, tokens_per_second=5.0, flops_per_s=1e9, peak_bytes=3, required_bytes=2,
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
