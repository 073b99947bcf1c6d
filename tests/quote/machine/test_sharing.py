"""How chips share a micro-batch, as the TPU trainer's mesh modules decide it."""

from __future__ import annotations

import pytest

from cloudtrain.estimate.options import Options
from cloudtrain.models import registry
from cloudtrain.quote.machine.sharing import uneven


@pytest.mark.parametrize(
    ("model", "sharding", "devices", "rows", "refused"),
    [
        ("llama-3.1-8b", "fsdp", 4, 4, False),
        ("llama-3.1-8b", "fsdp", 4, 1, False),  # four chips share 32 heads
        ("llama-3.1-8b", "fsdp", 8, 6, False),  # two take rows, four share heads
        ("smollm2-135m", "fsdp", 4, 1, True),  # 9 heads
        ("smollm2-135m", "fsdp", 4, 8, False),
        ("longcat-flash", "ep", 16, 1, True),
        ("longcat-flash", "ep", 16, 32, False),
        ("smollm2-135m", "fsdp", 1, 1, False),
    ],
)
def test_rows_and_heads_are_shared_out_evenly_or_not(
    model: str, sharding: str, devices: int, rows: int, refused: bool
) -> None:
    """The sentence names what to write in a spec."""
    options = Options(estimator="tpu", chip="tpu-v6e", devices=devices, batch=rows, sharding=sharding)  # type: ignore[arg-type]
    said = uneven(registry.find(model), options)
    assert bool(said) == refused
    assert not refused or f"`grad_accum: {devices}`" in said


def test_other_trainers_are_not_asked() -> None:
    """What PyTorch makes of several devices is said elsewhere."""
    assert uneven(registry.find("smollm2-135m"), Options(devices=4)) == ""
