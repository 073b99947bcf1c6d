"""What is advised for a rejected row really works, at the price and in the time that are said."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.models import registry
from cloudtrain.offer import Limits
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import engine
from cloudtrain.quote.remedy.kin import smaller_kin
from cloudtrain.quote.remedy.remedies import Advisor, advisor, cost_text, is_good
from cloudtrain.quote.row import Quote, QuoteRow
from cloudtrain.units import GIB
from tests.price_answers import answering, selling
from tests.quote.test_engine import lines as judged_with
from tests.quote.test_engine import offer, request

TERMS = load("pricing", "gcp", PriceSource).terms  # a remedy is priced with the provider's own
ONE = offer(name="chips x1", hardware="mi300x", count=1, memory_bytes=192 * GIB)
TWO = ONE._replace(name="chips x2", count=2, usd_per_hour=Decimal(4))


def lines(asked: engine.Request, *offers: engine.Offer) -> list[QuoteRow]:
    """The offers as judged lines, under the terms of their provider."""
    return judged_with(asked, *offers, terms=TERMS)


def advised(asked: engine.Request, *offers: engine.Offer) -> tuple[Advisor, QuoteRow]:
    """The advisor of a quote of these offers, and its first rejected line."""
    judged = sorted(lines(asked, *offers), key=lambda line: (not line.viable, line.rank))
    quoted = Quote(tuple(judged), (), None, "", "", 0.0, asked)
    return advisor(quoted), next(line for line in judged if not line.viable)


def advice(asked: engine.Request, *offers: engine.Offer) -> str:
    """The change that is advised for the first rejected line."""
    found, line = advised(asked, *offers)
    return found.change(line)


def then(asked: engine.Request, here: engine.Offer, **changes: Any) -> str:
    """Dollars and hours of the changed job there, which has to be good."""
    (line,) = lines(asked._replace(**changes), here)
    assert is_good(line), line.reasons()
    return cost_text(line)


def test_a_shorter_sequence_that_is_advised_fits() -> None:
    """--seq N is the longest half that fits, on that machine, with its price."""
    asked = request("qwen3-8b", method="lora", sequence_length=32768, max_hours=None)
    small = offer(memory_bytes=32 * GIB)
    words, _, priced = advice(asked, small).partition(": ")
    assert words.startswith("--seq ")
    length = int(words.removeprefix("--seq "))
    assert priced == then(asked, small, sequence_length=length)
    assert not is_good(lines(asked._replace(sequence_length=2 * length), small)[0])


def test_a_shorter_sequence_says_the_batch_it_needs() -> None:
    """What was checked is what is said."""
    asked = request("qwen3-8b", method="lora", sequence_length=32768, batch=4, max_hours=None)
    small = offer(memory_bytes=32 * GIB)
    words, _, priced = advice(asked, small).partition(": ")
    assert words.startswith("--batch 1 --seq ")
    assert priced == then(asked, small, batch=1, sequence_length=int(words.split()[-1]))


def test_the_cheapest_of_several_changes_is_advised() -> None:
    """A larger machine that costs less than the shorter job comes first, and the other way round."""
    asked = request("qwen3-8b", method="lora", sequence_length=32768, max_hours=None)
    small, large = offer(memory_bytes=32 * GIB), offer(name="host-512")
    cheap = advice(asked, small, large._replace(usd_per_hour=Decimal("0.01")))
    dear = advice(asked, small, large._replace(usd_per_hour=Decimal(500)))
    assert cheap.startswith("host-512 does it for likely $")
    assert dear.startswith(("--seq ", "--method "))


def test_more_chips_of_the_kind_are_found_in_the_quote() -> None:
    """One MI300X is too small for LongCat; the offer with two is named, and said once."""
    found, line = advised(request("longcat-flash"), ONE, TWO)
    (larger,) = lines(request("longcat-flash"), TWO)
    named = f"2 x MI300X does it for {cost_text(larger)}"
    assert found.change(line) == named
    assert found(line).count("MI300X") == 1
    assert found(line).startswith(f"gcp {named}")


def test_the_best_row_of_the_quote_is_said_first() -> None:
    """It is the cheapest that works, and the row's own change comes after it."""
    asked = request("qwen3-8b", method="lora", sequence_length=32768, max_hours=None)
    small = offer(memory_bytes=32 * GIB)
    other = offer(name="amx-64", hardware="cpu-amx")
    found, line = advised(asked, small, other)
    first, _, second = found(line).partition("; ")
    assert first.startswith("gcp amx-64 does it for likely $")
    assert second == found.change(line) != ""


def test_what_is_only_tight_is_not_advised() -> None:
    """A larger machine that holds the job with no room to spare is passed over."""
    asked = request("longcat-flash", sequence_length=256, max_hours=None)
    (roomy,) = lines(asked, TWO)
    need = roomy.assessment.required_bytes
    tight = TWO._replace(memory_bytes=int(need / 0.95))
    assert lines(asked, tight)[0].assessment.fits == "tight"
    assert lines(asked, tight)[0].viable
    found, line = advised(asked, ONE._replace(memory_bytes=64 * GIB), tight)
    assert found(line) == ""


def test_what_is_over_the_ceiling_is_not_advised() -> None:
    """A shorter job that would still take too long is none."""
    asked = request("qwen3-8b", method="lora", sequence_length=32768, max_hours=0.01)
    said = advice(asked, offer(memory_bytes=32 * GIB, count=2, vcpus=2))
    assert not said.startswith(("--seq", "--batch", "--method"))


def test_another_method_is_advised_where_only_that_loads() -> None:
    """A TPU has no DoRA of ours; QLoRA and LoRA it has."""
    tpu = offer(name="v6e-4", hardware="tpu-v6e", count=4, memory_bytes=32 * GIB)
    asked = request("qwen3-8b", method="dora")
    assert advice(asked, tpu) == f"--method qlora: {then(asked, tpu, method='qlora')}"


def test_the_length_that_a_model_has_positions_for_is_advised() -> None:
    """Where the sequence alone is in the way."""
    assert advice(request("llama-2-7b", sequence_length=8192), offer()).startswith("--seq 4096: likely $")


def test_the_method_that_unpacks_packed_weights_is_advised() -> None:
    """QLoRA cannot load gpt-oss as it is published; LoRA can."""
    assert advice(request("gpt-oss-20b"), offer()).startswith("--method lora: likely $")


@pytest.mark.parametrize(("of_settings", "said"), [(168.0, "--max-hours"), (0.02, "`cloudtrain config set max_hours")])
def test_more_time_is_advised_where_it_helps(of_settings: float, said: str) -> None:
    """--max-hours never goes above the setting; the hours are enough."""
    asked = request("qwen3-8b", max_hours=0.01, settings_hours=of_settings)
    words, _, priced = advice(asked, offer()).partition(": ")
    hours = float(words.split()[-1].strip("`"))
    assert words.startswith(said)
    assert priced == then(asked, offer(), max_hours=hours, settings_hours=hours)


def test_fewer_tokens_are_advised_where_a_session_ends_too_early() -> None:
    """The provider's limit cannot be raised: the job is cut until it ends within it."""
    asked = request("smollm2-135m", tokens=10**7, max_hours=None)
    (whole,) = lines(asked, offer())
    assert whole.assessment.hours is not None
    limited = offer(limits=Limits(session_hours=0.7 * whole.assessment.hours.likely))
    words, _, priced = advice(asked, limited).partition(": ")
    part = 10**7 // int(words.removeprefix("--tokens "))
    assert part in (2, 4, 8)
    assert priced == then(asked, limited, tokens=10**7 // part)
    (twice,) = lines(asked._replace(tokens=2 * 10**7 // part), limited)
    assert not twice.viable
    assert advice(asked._replace(rows="chat"), limited).startswith(f"1/{part} of the data: likely $")


def test_a_smaller_model_that_is_advised_works() -> None:
    """The largest smaller one of the same maker, family and generation that works there."""
    asked = request("llama-3.3-70b", max_hours=None)
    small = offer(memory_bytes=24 * GIB)
    words, _, priced = advice(asked, small).partition(": ")
    assert words == "`llama-3.1-8b` instead"
    assert priced == then(asked, small, spec=registry.find("llama-3.1-8b"))


@pytest.mark.parametrize(
    ("model", "kin"),
    [
        ("llama-3.1-405b", ["llama-3.3-70b", "llama-3.1-8b", "llama-3.2-3b", "llama-3.2-1b"]),
        ("longcat-flash", ["longcat-flash-lite"]),
        ("gpt-oss-120b", ["gpt-oss-20b"]),
        ("gemma-3-4b-text", ["gemma-3-1b", "gemma-3-270m"]),
        ("smollm2-360m", ["smollm2-135m"]),
        ("tinyllama-1.1b", []),
        ("kimi-k2", []),
    ],
)
def test_an_unrelated_model_is_no_kin(model: str, kin: list[str]) -> None:
    """Neither another maker's of the same architecture nor an older generation."""
    assert [spec.name for spec in smaller_kin(registry.find(model))] == kin


def test_an_unknown_price_is_asked_for_only_where_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command where there is one. A machine that is too small is not made larger by its price."""
    unpriced = offer(usd_per_hour=None)
    name = unpriced.provider
    answering(monkeypatch, name, selling(lambda row: "1"))
    assert advice(request(), unpriced) == f"`cloudtrain prices refresh --provider {name}` asks for its price"
    answering(monkeypatch, name, None)
    assert advice(request(), unpriced) == "ask the provider for its price"
    assert advice(request("longcat-flash"), unpriced._replace(memory_bytes=GIB)) == ""


def test_a_cap_is_raised_to_what_is_enough() -> None:
    """Where only the cap is in the way."""
    asked = request(max_cost=Decimal("0.01"))
    words, _, priced = advice(asked, offer()).partition(": ")
    cap = Decimal(words.removeprefix("--max-cost "))
    assert priced == then(asked, offer(), max_cost=cap)


@pytest.mark.parametrize("hardware", ["inferentia2", "gaudi1", "v520"])
def test_nothing_is_advised_for_what_trains_nothing(hardware: str) -> None:
    """No change of the job makes such a chip train."""
    assert advice(request(), offer(hardware=hardware, count=1)) == ""


def test_limits_on_time_are_one_sentence() -> None:
    """The provider's limit and the ceiling after the hours, which are said once."""
    (line,) = lines(request("qwen3-8b", max_hours=0.02), offer(limits=Limits(session_hours=0.01)))
    said = [reason for reason in line.reasons() if "takes" in reason]
    assert len(said) == 1
    assert said[0].endswith(" h, a session ends after 0.01 h, the ceiling is 0.02 h")
    assert line.assessment.barred
    assert line.assessment.late
