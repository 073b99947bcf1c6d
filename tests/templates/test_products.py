"""Which number type a trainer computes in, on a clock and with rates of the test's own: nothing here is timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import job as jobs
import number_type
import pytest
from products import LARGEST, MOST_OPERATIONS, Shape, faster, race, shapes

from tests.templates.conftest import TORCH

SQUARE = Shape(100, 10, 10)  # 20,000 operations


class FakeProcessor:
    """A clock that only its own products move: each takes the next of the seconds given for its type."""

    def __init__(self, **seconds: list[float]) -> None:
        self.now = 0.0
        self.left = seconds
        self.made: list[str] = []

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def make(self, name: str, shape: Shape) -> Callable[[], object]:
        """A product of a type."""

        def run() -> None:
            self.made.append(name)
            times = self.left[name]
            self.now += times.pop(0) if len(times) > 1 else times[0]

        return run


def test_the_best_repeat_counts_and_warming_up_does_not() -> None:
    """A first product of a minute and a neighbour's disturbance change nothing."""
    here = FakeProcessor(bf16=[60.0, 2.0, 1.0, 9.0], fp32=[60.0, 7.0, 0.5, 7.0])
    assert race([SQUARE], here.make, here.clock, 3, 1e9) == {"bf16": 20_000, "fp32": 40_000}


def test_the_types_take_turns() -> None:
    """So that load which comes and goes meets both."""
    here = FakeProcessor(bf16=[1.0], fp32=[1.0])
    race([SQUARE], here.make, here.clock, 3, 1e9)
    assert here.made == ["bf16", "fp32"] * 4


def test_a_slow_machine_is_timed_once_and_no_longer() -> None:
    """The limit ends repeats, not the measurement."""
    here = FakeProcessor(bf16=[100.0], fp32=[50.0])
    assert race([SQUARE, SQUARE], here.make, here.clock, 50, 1.0) == {"bf16": 200, "fp32": 400}
    assert here.made == ["bf16", "fp32"] * 4


@pytest.mark.parametrize(("fp32", "wanted"), [(1.8, "fp32"), (1.1, "fp32"), (1.05, "bf16"), (0.5, "bf16")])
def test_float32_has_to_be_worth_it(fp32: float, wanted: str) -> None:
    """It doubles the bytes of everything else."""
    assert faster({"bf16": 1.0, "fp32": fp32}) == wanted


def test_large_models_are_measured_by_a_part() -> None:
    """Sides and operations are bounded; a small model's layer is what it is."""
    assert shapes(2048, 576, 1536) == [Shape(2048, 576, 1536), Shape(2048, 1536, 576), Shape(2048, 576, 576)]
    for shape in shapes(10**6, 16384, 53248):
        assert shape.inputs == shape.outputs == LARGEST
        assert 0 < shape.operations <= MOST_OPERATIONS


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A processor with kernels for bf16 on which float32 is 1.8 times as fast."""
    known: dict[str, Any] = {"kernels": True, "bf16": 1e11, "fp32": 1.8e11, "measured": 0}

    def measured(layers: list[Shape], **limits: Any) -> dict[str, float]:
        known["measured"] += 1
        return {"bf16": known["bf16"], "fp32": known["fp32"]}

    monkeypatch.setattr(number_type, "computes_in_bf16", lambda accelerator: known["kernels"])
    monkeypatch.setattr(number_type, "measured", measured)
    monkeypatch.setattr(number_type, "sizes", lambda job: (64, 128))
    return known


def described(**changes: Any) -> jobs.Job:
    """A job."""
    return jobs.Job("m", jobs.Data("/d"), jobs.Checkpoint("/c"), "/o", **changes)


def test_float32_is_taken_where_the_plan_counted_it(here: dict[str, Any]) -> None:
    """And never where it was not: the job may not fit any more."""
    assert number_type.choose(described(compute="measured"), None).name == "fp32"
    kept = number_type.choose(described(), None)
    assert (kept.name, kept.rates) == ("bf16", {"bf16": 1e11, "fp32": 1.8e11})
    assert "1.80 times" in kept.why
    assert "has not counted" in kept.why


def test_bf16_is_taken_where_it_is_faster(here: dict[str, Any]) -> None:
    """Whatever the plan has room for."""
    here["fp32"] = 0.6e11
    assert number_type.choose(described(compute="measured"), None).name == "bf16"


def test_without_bf16_kernels_nothing_is_measured(here: dict[str, Any]) -> None:
    """PyTorch's own take many times as long."""
    here["kernels"] = False
    assert number_type.choose(described(), None).name == "fp32"
    assert here["measured"] == 0


@pytest.mark.parametrize("pinned", ["bf16", "fp32"])
@pytest.mark.parametrize("kernels", [True, False])
def test_a_job_can_say_which(here: dict[str, Any], pinned: str, kernels: bool) -> None:
    """Nothing is measured then."""
    here["kernels"] = kernels
    assert number_type.choose(described(compute=pinned), None).name == pinned
    assert here["measured"] == 0


@pytest.mark.parametrize("compute", ["auto", "measured", "bf16", "fp32"])
def test_a_resumed_run_keeps_its_checkpoints_type(here: dict[str, Any], compute: str) -> None:
    """Whatever this machine, the job and the plan say; an older checkpoint was computed as the processor could."""
    for kept in ("bf16", "fp32"):
        assert number_type.choose(described(compute=compute), {"compute": kept}).name == kept
    assert number_type.choose(described(compute=compute), {}).name == "bf16"
    here["kernels"] = False
    assert number_type.choose(described(compute=compute), {}).name == "fp32"
    assert here["measured"] == 0


def test_the_type_is_no_part_of_the_recipe() -> None:
    """So that checkpoints of older versions, and of machines that compute otherwise, can be resumed."""
    assert described(compute="fp32").recipe == described().recipe
    assert "compute" not in described().recipe


def test_the_back_end_names_the_program_that_measures() -> None:
    """It is what `cloudtrain probe` starts."""
    assert (Path(TORCH) / "measure.py").is_file()
