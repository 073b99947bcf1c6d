"""What is advised for a rejected row really works."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudtrain.models import registry
from cloudtrain.quote import engine
from cloudtrain.quote.chips import chips
from cloudtrain.quote.remedies import advisor, is_viable
from cloudtrain.quote.row import Quote
from cloudtrain.units import GIB
from tests.quote.test_engine import lines, offer, request


def advice(asked: engine.Request, *offers: engine.Offer) -> str:
    """The remedy of the first rejected line."""
    judged = lines(asked, *offers)
    quoted = Quote(tuple(judged), (), None, "", "", 0.0, asked)
    return advisor(quoted)(next(line for line in judged if not line.viable))


def test_a_shorter_sequence_that_is_advised_fits() -> None:
    """--seq N is the longest half that fits, on that machine."""
    asked = request("qwen3-8b", method="lora", sequence_length=32768, batch=4)
    small = offer(memory_bytes=64 * GIB)
    said = advice(asked, small)
    assert said.startswith("--seq ") or said == "--batch 1"
    changed = replace(asked, batch=1)
    if said.startswith("--seq "):
        changed = replace(changed, sequence_length=int(said.removeprefix("--seq ")))
    assert is_viable(changed, small, chips()["cpu-zen"])
    assert not is_viable(asked, small, chips()["cpu-zen"])


def test_another_model_that_is_advised_fits() -> None:
    """The named model of the registry loads and fits there with the same method."""
    asked = request("longcat-flash")
    small = offer(memory_bytes=24 * GIB)
    said = advice(asked, small)
    name = said.removesuffix(" would fit")
    assert is_viable(replace(asked, spec=registry.find(name), targets=None), small, chips()["cpu-zen"])


def test_more_chips_of_the_kind_are_found_in_the_quote() -> None:
    """One MI300X is too small for LongCat; the offer with two is named."""
    one = offer(name="one", hardware="mi300x", count=1, memory_bytes=192 * GIB)
    two = one._replace(name="two", count=2)
    assert advice(request("longcat-flash"), one, two) == "two has enough memory"


def test_another_method_is_advised_where_only_that_loads() -> None:
    """Qwen3 in 4 bit has no TPU trainer; LoRA has."""
    tpu = offer(name="v6e-4", hardware="tpu-v6e", count=4, memory_bytes=32 * GIB)
    assert advice(request("qwen3-8b", method="qlora"), tpu) == "--method lora"


def test_the_length_that_a_model_has_positions_for_is_advised() -> None:
    """Where the sequence alone is in the way."""
    assert advice(request("llama-2-7b", sequence_length=8192), offer()) == "--seq 4096"


def test_the_method_that_unpacks_packed_weights_is_advised() -> None:
    """QLoRA cannot load gpt-oss as it is published; LoRA can."""
    assert advice(request("gpt-oss-20b"), offer()) == "--method lora"


@pytest.mark.parametrize(("of_settings", "said"), [(168.0, "--max-hours"), (2.0, "`cloudtrain config set max_hours")])
def test_more_time_is_advised_where_it_helps(of_settings: float, said: str) -> None:
    """--max-hours never goes above the setting; the hours are enough."""
    asked = request("qwen3-8b", max_hours=1.0, settings_hours=of_settings)
    advised = advice(asked, offer())
    hours = float(advised.split()[-1].strip("`"))
    assert advised.startswith(said)
    assert lines(replace(asked, max_hours=hours, settings_hours=hours), offer())[0].viable


@pytest.mark.parametrize("hardware", ["inferentia2", "gaudi1", "v520"])
def test_nothing_is_advised_for_what_trains_nothing(hardware: str) -> None:
    """No change of the job makes such a chip train."""
    assert advice(request(), offer(hardware=hardware, count=1)) == ""
