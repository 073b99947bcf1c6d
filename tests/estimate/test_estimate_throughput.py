"""Speed: ranges that hold what was measured, and honest ignorance."""

from __future__ import annotations

import csv
import math
import random
from pathlib import Path
from statistics import median

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.estimate import efficiency, hardware, throughput
from cloudtrain.estimate.options import Options
from cloudtrain.estimate.throughput import Throughput, Work
from cloudtrain.models import registry
from cloudtrain.offer import Range

with open(efficiency._FILE, encoding="utf-8", newline="") as _stream:
    RECORDS = [row for row in csv.DictReader(_stream) if row["gflop_per_token"] and row["id"].startswith("p")]


def ask(record: dict[str, str], known: tuple[efficiency.Row, ...] | None = None) -> Throughput:
    """The speed that the rows `known` foretell for a measured record."""
    chip = hardware.find(record["hardware"])
    work = Work(
        float(record["gflop_per_token"]) * 1e9,
        record["method"],  # type: ignore[arg-type]
        record["moe"] == "yes",
        "fp8" if record["precision"] == "fp8" else "bf16",
        record["tier"],  # type: ignore[arg-type]
    )
    return throughput.tokens_per_second(chip, int(record["chips"]), work, known=known)


def span(found: Throughput) -> Range:
    """The range, which must be there."""
    assert found.range is not None
    return found.range


def test_left_out_rows_lie_inside_the_range() -> None:
    """Of the 73 measured rows, each foretold from the others, nine in ten lie inside a range of about 2.6 x.

    Eight in ten lie inside the narrower range that a quote samples.
    """
    inside, usual, ratios, errors = [], [], [], []
    for record in RECORDS:
        others = tuple(row for row in efficiency.rows() if row.id != record["id"])
        found, measured = span(ask(record, others)), float(record["tokens_per_s_per_chip"])
        narrower = throughput.eight_in_ten(found)
        inside.append(found.low <= measured <= found.high)
        usual.append(narrower.low <= measured <= narrower.high)
        ratios.append(found.high / found.low)
        errors.append(abs(found.likely / measured - 1))
    assert len(inside) == 73
    assert sum(inside) / len(inside) >= 0.9
    assert 0.8 <= sum(usual) / len(usual) < 0.9  # what a quote takes as P10 and P90
    assert median(ratios) <= 2.7
    assert median(errors) <= 0.13


def test_rows_in_the_data_lie_inside_their_own_range() -> None:
    """What was measured is never outside what is printed for it; runs in float32 are no runs of what is printed."""
    for record in RECORDS:
        if record["precision"] == "fp32" and record["hardware"] == "mi300x":
            continue
        found = span(ask(record))
        assert found.low <= float(record["tokens_per_s_per_chip"]) <= found.high, record["id"]


def test_ranges_are_ordered_for_every_chip() -> None:
    """Low <= likely <= high on every chip, method, precision and tier; no peak, no range."""
    for chip in hardware.all_hardware():
        for method in ("full", "lora", "qlora", "dora", "freeze"):
            for tier in (None, "tuned", "framework", "naive"):
                for moe in (False, True):
                    found = throughput.tokens_per_second(chip, 16, Work(1e10, method, moe, "bf16", tier))  # type: ignore[arg-type]
                    if chip.peak_flops is None:
                        assert found.range is None
                        assert "hours unknown" in found.basis
                        continue
                    assert 0 < span(found).low <= span(found).likely <= span(found).high


def test_our_own_trainer_on_a_processor_goes_as_measured() -> None:
    """On two Zen 4 vCPUs the default recipe does about 154 tokens a second on a 135 M model."""
    spec = registry.find("smollm2-135m")
    chip = hardware.find("cpu-zen")
    found = throughput.tokens_per_second(chip, 2, throughput.work_of(spec, Options(method="lora", sequence_length=512)))
    assert 2 * span(found).likely == pytest.approx(154, rel=0.02)
    assert "our own trainer" in found.basis


def test_another_processor_is_as_foretold() -> None:
    """Emerald Rapids, two cores, float32: our trainer made 145 tokens/s of rows of 256 there; only Zen 4 is in the data."""
    work = throughput.work_of(registry.find("smollm2-135m"), Options(method="lora", sequence_length=256))
    found = throughput.tokens_per_second(hardware.find("cpu-avx512-fp16"), 2, work)
    usual = throughput.eight_in_ten(span(found)).scaled(2)
    assert usual.low < 145 < usual.high
    assert usual.likely == pytest.approx(145, rel=0.15)


SPREADS = (
    (
        Range(1 / 2.3, 1.0, 2.3),
        Range(0.4, 0.75, 1.0),
        Range(0.8, 0.95, 1.0),
        Range(0.5, 0.55, 0.65),
    ),  # 96 threads, QLoRA
    (Range(1 / 2.3, 1.0, 2.3), Range(0.4, 0.75, 1.0), Range(1 / 4, 1.0, 4.0)),  # Graviton
    (Range(1 / 2.9, 1.0, 2.9), Range(0.63, 0.85, 1.0)),  # MI300X, QLoRA
)


@pytest.mark.parametrize("figures", SPREADS)
def test_nine_in_ten_products_lie_inside_the_product(figures: tuple[Range, ...]) -> None:
    """Of 20,000 random draws of the figures; all at their worst at once is much wider."""
    chance = random.Random(15)
    inside = 0
    found = throughput.product(*figures)
    for _ in range(20_000):
        drawn = 1.0
        for low, likely, high in figures:
            z = chance.gauss(0.0, 1.0) / 1.645
            drawn *= likely * ((likely / low) if z < 0 else (high / likely)) ** z
        inside += found.low <= drawn <= found.high
    assert inside / 20_000 == pytest.approx(0.9, abs=0.015)
    stacked = math.prod(each.high / each.low for each in figures)
    assert found.high / found.low < 0.75 * stacked


def test_eight_in_ten_are_p10_to_p90() -> None:
    """Of a normal logarithm: 1.28 standard deviations instead of 1.64, on each side."""
    found = throughput.eight_in_ten(Range(math.exp(-1.645), 1.0, math.exp(2 * 1.645)))
    assert found == pytest.approx((math.exp(-1.2816), 1.0, math.exp(2 * 1.2816)), rel=1e-3)
    assert throughput.product(Range(2.0, 3.0, 5.0), Range(1.0, 1.0, 1.0)) == pytest.approx((2.0, 3.0, 5.0))


def test_an_alias_of_two_processors_has_twice_the_peak() -> None:
    """Counting machines of two vCPUs gives twice the speed of counting vCPUs."""
    chip = hardware.find("cpu-amx")
    work = Work(1e9, "full", tier="naive")
    single = throughput.tokens_per_second(chip, 2, work)
    double = throughput.tokens_per_second(chip, 1, work, units=2)
    assert span(double) == span(single).scaled(2)


def test_default_tiers_are_what_our_trainer_reaches() -> None:
    """A plain loop on GPUs and processors, our own JAX on TPUs, a framework on Gaudi and Apple."""
    tiers = {
        key: throughput.default_tier(hardware.find(key)) for key in ("mi300x", "cpu-zen", "tpu-v6e", "apple-m3-max")
    }
    assert tiers == {"mi300x": "naive", "cpu-zen": "naive", "tpu-v6e": "own", "apple-m3-max": "framework"}


def test_float32_rows_are_converted_in_all_three_bounds() -> None:
    """By the two peaks of the chip (8 on MI300X), partly: 8 B with LoRA goes at 4,000 to 5,000 tokens/s there."""
    chip = hardware.find("mi300x")
    rows = [row for row in efficiency.rows() if row.id in ("p066", "p067", "p068")]
    assert {row.precision for row in rows} == {"fp32"}
    work = Work(31.63e9, "lora")
    converted = span(throughput.tokens_per_second(chip, 1, work, known=tuple(rows)))
    plain = span(
        throughput.tokens_per_second(chip, 1, work, known=tuple(row._replace(precision="bf16") for row in rows))
    )
    gains = [after / before for after, before in zip(converted, plain, strict=True)]
    assert gains == pytest.approx([8**0.25, 8**0.5, 8**0.75], rel=0.01)
    found = throughput.tokens_per_second(chip, 1, work)
    assert 4_000 <= span(found).likely <= 5_000
    assert "p066, p068 ran in float32: converted by the two peaks" in found.basis
    assert "(inference)" in found.basis


@pytest.mark.parametrize("key", ["tpu-v5e", "tpu-v5p", "tpu-v6e", "tpu7x"])
def test_our_jax_trainer_is_foretold_from_tuned_software(key: str) -> None:
    """About half of it, with a wide range, and the basis says that nobody ran it; one run of ours undoes it."""
    chip = hardware.find(key)
    tuned = span(throughput.tokens_per_second(chip, 1, Work(1e10, "lora", tier="tuned")))
    found = throughput.tokens_per_second(chip, 1, Work(1e10, "lora"))
    assert 0.5 * tuned.likely < span(found).likely < 0.6 * tuned.likely
    assert span(found).high / span(found).low > tuned.high / tuned.low
    assert "own software" in found.basis
    assert "never run on this chip" in found.basis
    mine = efficiency.rows()[0]._replace(
        id="mine", hardware=chip, tier="own", stack="jax-own", adapts=True, moe=False, share=0.3
    )
    own = throughput.tokens_per_second(chip, 1, Work(1e10, "lora"), known=(*efficiency.rows(), mine))
    assert span(own).likely == pytest.approx(0.3 * (chip.peak_flops or 0) / 1e10)
    assert "never run" not in own.basis


@pytest.mark.parametrize(("chip", "low", "high"), [("tpu-v6e", 1.0, 3.0), ("tpu-v5p", 2.0, 4.5)])
def test_a_step_of_longcat_takes_seconds(chip: str, low: float, high: float) -> None:
    """2048 tokens a chip: operations at the peak take 0.4 and 0.85 s, bytes about 3 on v6e; all-to-all comes on top."""
    spec = registry.find("longcat-flash")
    work = throughput.work_of(spec, Options(method="qlora", estimator="tpu", chip=chip, targets="attention"))
    found = span(throughput.tokens_per_second(hardware.find(chip), 16, work))
    assert low < 2048 / found.likely < high
    assert 2048 / found.high > low / 3


@pytest.mark.parametrize("key", ["trainium1"])
def test_pretraining_of_pods_is_halved_for_an_adapter(key: str) -> None:
    """Likely is half of it, low is as wide as it was, and the basis says inference; a measured adapter undoes it."""
    chip = hardware.find(key)
    full, lora = (throughput.tokens_per_second(chip, 1, Work(1e10, method)) for method in ("full", "lora"))  # type: ignore[arg-type]
    assert span(lora).likely < 0.65 * span(full).likely
    assert span(lora).high / span(lora).low > span(full).high / span(full).low
    assert "half of full training on" in lora.basis
    assert "half of full training" not in full.basis
    mine = efficiency.rows()[0]._replace(id="mine", hardware=chip, tier="framework", adapts=True, moe=False, share=0.4)
    own = throughput.tokens_per_second(chip, 1, Work(1e10, "lora"), known=(*efficiency.rows(), mine))
    assert span(own).likely == pytest.approx(0.4 * (chip.peak_flops or 0) / 1e10)
    assert "half of full training" not in own.basis


def test_a_processors_basis_says_its_number_type() -> None:
    """Float32 where the class is faster in it, or the recipe says so; never bf16 for what runs in float32."""
    for key, word in (("cpu-avx2", "float32"), ("cpu", "float32"), ("cpu-zen", "bf16"), ("cpu-avx512-fp16", "float32")):
        assert (
            f"TFLOP/s {word} per counted unit" in throughput.tokens_per_second(hardware.find(key), 2, Work(1e9)).basis
        )
    measured = throughput.tokens_per_second(hardware.find("cpu-zen"), 2, Work(1e9, dtype="fp32"))
    assert "TFLOP/s float32 per counted unit" in measured.basis


@pytest.mark.parametrize("key", ["cpu-graviton4", "cpu-arm", "cpu-arm-sve", "cpu-arm-neon"])
def test_arm_has_a_wide_range_that_says_why(key: str) -> None:
    """No run was measured there: at least 4 times to either side, and the basis says inference."""
    found = throughput.tokens_per_second(hardware.find(key), 64, Work(1e10))
    assert span(found).likely >= 4 * span(found).low
    assert span(found).high >= 4 * span(found).likely
    assert "no run was measured" in found.basis
    assert "x/÷ 4" in found.basis


def test_adapters_on_tpu_say_that_nothing_was_measured() -> None:
    """The basis owns up to the missing measurement and the range is wider than for full training."""
    chip = hardware.find("tpu-v6e")
    lora, full = (throughput.tokens_per_second(chip, 8, Work(1e10, method)) for method in ("lora", "full"))  # type: ignore[arg-type]
    assert "never run on this chip" in lora.basis
    assert span(lora).high / span(lora).low > span(full).high / span(full).low


def test_more_gpus_beyond_a_node_each_do_less() -> None:
    """Speed per GPU falls beyond eight; TPU slices keep it."""
    work = Work(1e10, "full", tier="tuned")
    gpu, tpu = hardware.find("mi325x"), hardware.find("tpu-v6e")
    node = span(throughput.tokens_per_second(gpu, 8, work)).likely
    assert node == span(throughput.tokens_per_second(gpu, 1, work)).likely
    assert span(throughput.tokens_per_second(gpu, 64, work)).likely < node
    assert throughput.tokens_per_second(tpu, 256, work) == throughput.tokens_per_second(tpu, 8, work)


def test_fp8_uses_the_fp8_peak() -> None:
    """Where fp8 was measured its own peak counts; without one the hours are unknown."""
    mi355x = throughput.tokens_per_second(hardware.find("mi355x"), 8, Work(307.01e9, "lora", False, "fp8", "tuned"))
    assert span(mi355x).low <= 6016 <= span(mi355x).high
    none = throughput.tokens_per_second(hardware.find("tpu-v5e"), 8, Work(1e9, "full", False, "fp8", "tuned"))
    assert none.range is None


def test_the_file_can_be_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CLOUDTRAIN_THROUGHPUT names another file, and its rows decide."""
    file = tmp_path / "mine.csv"
    header = "id,hardware,tier,method,moe,precision,mfu_pct,chips,stack\n"
    file.write_text(header + "mine,MI300X,naive,lora,no,bf16,20,1,trl-rocm\n")
    monkeypatch.setenv(efficiency.VARIABLE, str(file))
    found = throughput.tokens_per_second(hardware.find("mi300x"), 1, Work(1e10, "lora"))
    assert span(found).likely == pytest.approx(0.2 * 1307.4e12 / 1e10)
    assert "mine" in found.basis


@pytest.mark.parametrize(
    "content",
    [
        "",
        "id\n",
        "id,hardware\nx,mi300x\n",
        "id,hardware,tier,method,moe,precision,mfu_pct,chips,stack\nx,MI300X,naive,lora,no,bf16,much,1,s\n",
    ],
)
def test_a_useless_file_is_refused(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty, short or wrong file is a UsageError that names it."""
    file = tmp_path / "mine.csv"
    file.write_text(content)
    monkeypatch.setenv(efficiency.VARIABLE, str(file))
    with pytest.raises(UsageError, match=r"mine\.csv"):
        efficiency.rows()
    monkeypatch.setenv(efficiency.VARIABLE, str(tmp_path / "nothing.csv"))
    with pytest.raises(UsageError, match="cannot read"):
        efficiency.rows()
