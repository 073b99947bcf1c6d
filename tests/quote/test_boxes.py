"""Rows of machines of one's own that are not this one."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.models import registry
from cloudtrain.offer import Box
from cloudtrain.providers import Context
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.boxes import boxes_of
from cloudtrain.quote.ids import row_ids
from cloudtrain.quote.request import Place, Request, parse_hardware
from cloudtrain.quote.row import QuoteRow
from cloudtrain.units import GIB


def row(model: str, text: str, method: str = "qlora", **said: object) -> QuoteRow:
    """The one owned row of a quote for hardware that is called `text`."""
    boxes = boxes_of((text,), said.get("memory_bytes"), said.get("watts"))  # type: ignore[arg-type]
    asked = Request(registry.find(model), method, hardware=parse_hardware(text), boxes=boxes, places=(Place("local"),))  # type: ignore[arg-type]
    quoted = engine.quote(asked, Context(catalog.shipped(), boxes=boxes))
    (found,) = (line for line in quoted.lines if line.offer.name.startswith("owned: "))
    assert quoted.chosen is None or quoted.lines[quoted.chosen] is not found
    return found


@pytest.mark.parametrize(
    ("text", "software"),
    [
        ("RX 7900 XTX", "ROCm 7.2"),
        ("mi210:2", "ROCm 7.2"),
        ("w7900", "ROCm 7.2"),
        ("RX 9070 XT", "ROCm 7.2"),
        ("Arc B580", "bitsandbytes 0.50.2 (SYCL)"),
        ("Max 1550", "bitsandbytes 0.50.2 (SYCL)"),
        ("M2 Ultra", "mlx-lm"),
    ],
)
def test_a_card_of_ones_own_is_an_owned_row(text: str, software: str) -> None:
    """It says whether the job fits and which software trains there; nothing but its owner can start it."""
    line = row("qwen3-8b", text)
    assert (line.offer.market, line.offer.provider, line.assessment.launch) == ("owned", "local", "by hand")
    assert software in line.assessment.software
    assert line.assessment.fits == "fits"
    assert line.offer.limits.by_hand


def test_a_box_has_a_short_id() -> None:
    """Provider and key, with the number where there are several."""
    for text, row_id in (
        ("RX 7900 XTX", "local/rx7900xtx"),
        ("M4 Max", "local/apple-m4-max"),
        ("MI210:2", "local/2xmi210"),
    ):
        assert row_ids([row("qwen3-0.6b", text).offer]) == [row_id]


def test_a_card_without_kernels_says_so_and_what_works() -> None:
    """4-bit has no kernels for RDNA2, CDNA1 and Vega under our ROCm; LoRA has."""
    for text in ("RX 6900 XT", "MI100", "MI50", "W6800"):
        line = row("qwen3-0.6b", text)
        assert line.assessment.loads == "no trainer"
        assert "4-bit kernels" in " ".join(line.reasons())
        assert row("qwen3-0.6b", text, "lora").assessment.loads == "yes"
    assert row("qwen3-0.6b", "MI210").assessment.loads == "yes"


def test_what_nothing_trains_on_has_a_reason() -> None:
    """Gaudi's trainer has ended, and a V520 is in no list of targets."""
    for text, reason in (("Gaudi 2", "optimum-habana"), ("Radeon Pro V520", "gfx1011")):
        line = row("qwen3-8b", text)
        assert not line.viable
        assert reason in " ".join(line.reasons())


def test_memory_is_what_was_said_of_it() -> None:
    """A smaller Mac is judged by its own memory, with three quarters of it for the chip."""
    assert row("llama-3.1-8b", "M4 Max").offer.memory_bytes == 128 * GIB
    assert "--memory says yours" in row("llama-3.1-8b", "M4 Max").offer.note
    small = row("llama-3.1-8b", "M4 Max", memory_bytes=16 * GIB)
    assert small.assessment.memory_bytes == 12 * GIB
    assert "--memory" not in small.offer.note
    assert row("llama-3.1-8b", "M4 Max 64GB").offer.memory_bytes == 64 * GIB


def test_watts_are_its_price() -> None:
    """Watts and the price of electricity are assumed where they are not said, each by itself; 0 is said."""
    priced = row("qwen3-8b", "RX 7900 XTX", watts=Decimal(350))
    assert priced.offer.usd_per_hour == Decimal("0.07")
    assert "assumed" in priced.offer.note
    assert "assumed" in priced.offer.price.source
    usual = row("qwen3-8b", "RX 7900 XTX:2").offer
    assert (usual.usd_per_hour, usual.price.is_assumed) == (Decimal("0.142"), True)
    assert "set --watts and usd_per_kwh" in usual.note
    free = row("qwen3-8b", "RX 7900 XTX", watts=Decimal(0)).offer
    assert (free.usd_per_hour, free.price.is_assumed, free.note) == (0, False, "")


def test_a_processor_of_ones_own_needs_its_cores_and_memory() -> None:
    """Without memory a processor's class only selects rented hosts; with memory its vCPUs have to be said too."""
    line = row("qwen3-8b", "cpu-zen:64", memory_bytes=256 * GIB)
    assert (line.offer.count, line.offer.vcpus, line.offer.memory_bytes) == (64, 64, 256 * GIB)
    assert line.assessment.launch == "by hand"
    assert boxes_of(("cpu-zen:64",), None, None) == ()
    with pytest.raises(UsageError, match="vCPUs"):
        boxes_of(("cpu-zen",), 256 * GIB, None)


def test_nobody_owns_what_is_only_rented() -> None:
    """TPUs, Trainium and Graviton are not sold."""
    assert boxes_of(("v6e:8", "trainium2", "Graviton4:64"), 64 * GIB, None) == ()


def test_what_is_missing_is_said() -> None:
    """A chip whose memory nobody noted needs --memory; --memory alone is about nothing."""
    with pytest.raises(UsageError, match="memory an Apple M5-PRO has"):
        boxes_of(("M5 Pro",), None, None)
    with pytest.raises(UsageError, match="--hardware names"):
        boxes_of((), 24 * GIB, None)


def test_an_architecture_is_a_row_for_each_card() -> None:
    """gfx1201 makes owned rows of all its cards."""
    assert {box.hardware for box in boxes_of(("gfx1201",), None, None)} == {
        *("rx9070xt", "rx9070", "rx9070gre", "r9700", "r9600d")
    }


def test_a_part_of_this_machine_is_not_shown_twice() -> None:
    """A card that this machine has is its own row already; a second one with other memory is another machine."""
    from cloudtrain.pricing import local

    boxes = boxes_of(("cpu-zen:2",), 8 * GIB, None)
    (here,) = local.machine_offers(Context(catalog.shipped()), local.this_system())[:1]
    same = Box(here.hardware, "the same", here.count, here.memory_bytes, said=False)
    context = Context(catalog.shipped(), boxes=(same, *boxes))
    names = [offer.name for offer in local.offers(context)]
    assert names.count("owned: cpu-zen") == 1
    assert sum(name.startswith("owned: ") for name in names) == 1
    other = context._replace(boxes=(same._replace(watts=Decimal(9)),))
    assert [offer.name for offer in local.offers(other)][-1] == f"owned: {same.count} x the same ({same.hardware})"
