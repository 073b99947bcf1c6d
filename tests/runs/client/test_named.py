"""`up --row ID`: the quote is cut down to the row, or a sentence says why it cannot be started."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain import settings
from cloudtrain.errors import NothingViable, OverBudget, UsageError
from cloudtrain.quote.row import Quote
from cloudtrain.runs.client import named
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.prepare import chosen_line
from cloudtrain.runs.quoting import QuoteOptions, quote

SECOND = "gcp/c4d-highmem-64/us-west4/spot"


def quoted(provider: str, model: str = "qwen3-0.6b", **more: Any) -> Quote:
    """A quote of one provider."""
    return quote(QuoteOptions(model, infra=(provider,), **more), settings.load())


def test_the_named_row_is_taken_though_another_is_cheaper() -> None:
    """Upper case does not matter; nothing else is left in the quote."""
    whole = quoted("gcp")
    assert whole.chosen is not None
    assert whole.ids()[whole.chosen] != SECOND
    cut = named.only(whole, UpOptions(row=SECOND.upper()))
    assert (cut.ids(), cut.chosen) == ([SECOND], 0)
    assert chosen_line(cut) is whole.lines[whole.ids().index(SECOND)]
    assert named.only(whole, UpOptions()) is whole


def test_a_row_that_cannot_be_started_says_why() -> None:
    """By hand, not yet, too large, experimental: exit 3 and the reason; a machine alone needs no reason."""
    for provider, model, row, says in [
        ("kaggle", "qwen3-0.6b", "kaggle/tpuv5e8/free", "only a person can start it"),
        ("gcp", "qwen3-30b-a3b", "gcp/v6e-1/us-central1", "one mixture of experts"),
        ("runpod", "llama-3.1-405b", "runpod/mi300x/eu-ro-1", "needs"),
        ("aws", "qwen3-0.6b", "aws/trn1.2xlarge/use1-az5", "no Neuron back end"),
    ]:
        whole = quoted(provider, model)
        with pytest.raises(NothingViable, match=f"row `{row}` cannot be started: .*{says}") as raised:
            named.only(whole, UpOptions(row=row))
        assert f"--why {row}" in raised.value.hint
    with pytest.raises(NothingViable, match="nobody has shown"):
        named.only(quoted("aws", method="lora"), UpOptions(row="aws/trn1.2xlarge/use1-az5"))
    cut = named.only(quoted("aws", method="lora"), UpOptions(row="aws/trn1.2xlarge/use1-az5", machine_only=True))
    assert (len(cut.lines), cut.chosen) == (1, 0)


def test_a_row_over_the_cap_is_over_budget() -> None:
    """Not a row that cannot work: exit 5."""
    cut = named.only(quoted("gcp", max_cost=Decimal("0.0001")), UpOptions(row=SECOND))
    assert cut.chosen is None
    with pytest.raises(OverBudget, match="over the cap"):
        chosen_line(cut)


@pytest.mark.parametrize(
    ("row", "hint"), [("gcp/c4d-highmem-64/us-west", "did you mean `gcp/c4d-highmem-64/us-west"), ("gcp/x", "--all")]
)
def test_an_unknown_row_gets_the_nearest(row: str, hint: str) -> None:
    """Exit 2."""
    with pytest.raises(UsageError, match="no row") as raised:
        named.only(quoted("gcp"), UpOptions(row=row))
    assert hint in raised.value.hint


def test_a_row_is_looked_for_at_its_provider() -> None:
    """The settings' places do not matter; what asks for several rows beside it is refused."""
    assert named.infra(UpOptions(row="RunPod/mi300x/eu-ro-1")) == ("runpod",)
    assert named.infra(UpOptions(infra=("aws",))) == ("aws",)
    for others in ({"infra": ("gcp",)}, {"hardware": ("mi300x",)}, {"spot": False}):
        with pytest.raises(UsageError, match="asks for several"):
            named.infra(replace(UpOptions(row=SECOND), **others))
    with pytest.raises(UsageError, match="ids begin with a provider"):
        named.infra(UpOptions(row="mi300x"))
