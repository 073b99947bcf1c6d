"""A machine that was measured is quoted by its own rate, in the number type that is faster there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import DamagedRecord
from cloudtrain.offer import Products, StepCosts
from cloudtrain.quote import probed
from cloudtrain.quote.assessment import Assessment
from cloudtrain.records import ProbeRecord, read
from cloudtrain.records.lines import StepCostsRecord
from cloudtrain.trainer import job
from cloudtrain.units import GIB
from tests.quote.test_engine import lines, offer, request

MINE = ProbeRecord(
    machine="me", time=1.7e9, hardware="cpu-zen", cores=2, bf16_flops_per_s=1e11, fp32_flops_per_s=2e11, load=0.1
)
SLOW_BF16 = Products(64 * 0.05e12, 64 * 0.09e12, 1.7e9, 0.02)  # the class is 0.21e12 a vCPU
USUAL = Products(64 * 0.21e12, 64 * 0.1e12, 1.7e9, 0.02)


def assessed(products: Products | None, **changes: Any) -> Assessment:
    """A host of 64 Zen vCPUs, measured or not."""
    return lines(request(), offer(products=products, threads_per_core=1, **changes))[0].assessment


def speed(found: Assessment) -> float:
    """Its likely tokens per second."""
    assert found.tokens_per_second is not None
    return found.tokens_per_second.likely


def dtype(found: Assessment) -> str:
    """What it is to be computed in."""
    assert found.recipe is not None
    return found.recipe.options.dtype


def test_the_rate_moves_the_quote() -> None:
    """Half the products, and between half and all of the speed; what equals the class changes nothing."""
    named, usual = assessed(None), assessed(USUAL)
    slow = assessed(Products(USUAL.bf16_flops_per_s / 2, 1.0, 1.7e9, 0.0))
    assert speed(usual) == pytest.approx(speed(named))
    assert 0.45 < speed(slow) / speed(named) < 0.8


def test_the_faster_type_is_quoted_with_its_memory() -> None:
    """Float32: more speed and more bytes than bf16 on the same machine."""
    narrow = assessed(SLOW_BF16._replace(fp32_flops_per_s=1.0))
    wide = assessed(SLOW_BF16)
    assert (dtype(narrow), dtype(wide)) == ("bf16", "fp32")
    assert wide.required_bytes > narrow.required_bytes
    assert speed(wide) > 1.2 * speed(narrow)


def test_float32_that_does_not_fit_is_not_quoted() -> None:
    """The row stays in bf16, and says what would be gained and what it needs."""
    wide, narrow = assessed(SLOW_BF16), assessed(USUAL)
    between = (wide.required_bytes + narrow.required_bytes) // 2
    found = assessed(SLOW_BF16, memory_bytes=between + 2 * GIB, host_memory_bytes=between + 2 * GIB)
    assert dtype(found) == "bf16"
    assert any("float32 would be 1.8 times as fast here" in reason for reason in found.reasons)


def test_the_basis_names_the_measurement() -> None:
    """Day, both rates, the type; and the load, where there was any to speak of."""
    quiet = assessed(SLOW_BF16).basis
    for words in ("2023-11-14", "3.2 TFLOP/s in bf16", "5.76 TFLOP/s in float32", "computed in float32"):
        assert words in quiet
    assert "others had" not in quiet
    assert "others had 60 % of the processors" in assessed(SLOW_BF16._replace(load=0.6)).basis


def test_a_measured_step_sets_the_speed() -> None:
    """In place of the share of peak that others reached, with a range that is narrow; wider up where others were busy."""
    costs = StepCosts(0.02, 0.01, 8e-9, 3e-11, 2e-10, 2e10)
    found = assessed(USUAL._replace(bf16_costs=costs))
    assert "tokens takes" in found.basis
    assert "computed in bf16" in found.basis
    span = found.tokens_per_second
    assert span is not None
    assert span.high / span.low < 1.8
    busy = assessed(USUAL._replace(bf16_costs=costs, load=0.5)).tokens_per_second
    assert busy is not None
    assert (busy.low, busy.likely) == (span.low, span.likely)
    assert busy.high == pytest.approx(2 * span.high)
    slower = assessed(USUAL._replace(bf16_costs=costs._replace(element_s=8e-8)))
    assert speed(slower) < 0.9 * speed(found)


def test_step_costs_travel_from_the_record() -> None:
    """As they were measured; odd ones are none."""
    costs = StepCostsRecord(
        step_s=0.02, layer_s=0.01, element_s=8e-9, head_s=3e-11, unpack_s=2e-10, attention_flops_per_s=2e10
    )
    line = MINE.replace(bf16_costs=costs).as_line().decode()
    found = probed.read(line, "me")
    assert found is not None
    assert found.products.bf16_costs == StepCosts(0.02, 0.01, 8e-9, 3e-11, 2e-10, 2e10)
    assert found.products.fp32_costs is None
    none = probed.read(line.replace("0.02", "-0.02"), "me")
    assert none is not None
    assert none.products.bf16_costs is None
    assert probed.read(line.replace('"step_s"', '"other"'), "me") is None


def test_the_job_may_choose_where_float32_is_counted() -> None:
    """And nowhere else: the trainer would take memory that nobody has looked for."""
    assert job.in_type({"model": "m"}, "fp32") == {"model": "m", "compute": "measured"}
    assert job.in_type({"model": "m"}, "bf16") == {"model": "m"}


def test_the_newest_probe_of_this_machine_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one of another machine that shares the state, nor a line that is damaged."""
    monkeypatch.setattr(probed, "this_machine", lambda: "me")
    assert probed.of_state(str(tmp_path)) is None
    newer = MINE.replace(bf16_flops_per_s=3e11)
    found = [MINE.as_line(), newer.as_line(), MINE.replace(machine="other").as_line(), b"{}", b"[1]", b"\xff"[:0], b"x"]
    (tmp_path / probed.FILE).write_bytes(b"\n".join(found))
    probe = probed.of_state(str(tmp_path))
    assert probe is not None
    assert probe == ("cpu-zen", 2, Products(3e11, 2e11, 1.7e9, 0.1))


@pytest.mark.parametrize("field", ["version", "machine", "time", "hardware", "cores", "bf16_flops_per_s", "load"])
@pytest.mark.parametrize("value", ["x", None, -1, 0, [], {}, float("nan"), float("inf")], ids=repr)
def test_an_odd_line_never_reaches_a_quote(field: str, value: Any) -> None:
    """Whatever is in it: it is passed over, or gives rates that can be divided by."""
    document = {**MINE.as_document(), field: value}
    found = probed.read(json.dumps(document), "me")
    assert found is None or (found.cores > 0 and 0 < found.products.bf16_flops_per_s < 1e20)
    if found is not None:
        probed.basis(found.products, "bf16")


def test_both_readers_agree_on_a_whole_line() -> None:
    """The record's and the quote's."""
    found = probed.read(MINE.as_line().decode(), "me")
    assert found is not None
    assert found.products.fp32_flops_per_s == read(ProbeRecord, MINE.as_line(), "x").fp32_flops_per_s
    with pytest.raises(DamagedRecord):
        read(ProbeRecord, b"{}", "x")
