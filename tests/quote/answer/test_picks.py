"""Which rows answer a quote, what is missing to start them, and the command that makes `up` take one of them."""

from __future__ import annotations

from functools import cache

import pytest

from cloudtrain.models import registry
from cloudtrain.providers import Context
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.answer.picks import answer, picks
from cloudtrain.quote.answer.start import Here, start
from cloudtrain.quote.renewal import has_credentials
from cloudtrain.quote.request import Request, parse_place
from cloudtrain.quote.row import Quote
from tests.price_answers import answering

NOW = 1795521600.0  # 2026-11-24
NOBODY = Here("/state", frozenset(), "", NOW)
SOMEBODY = Here("s3://bucket/runs", frozenset(("aws", "gcp", "runpod")), "HF_TOKEN", NOW)


@cache
def quoted(model: str = "qwen3-8b", method: str = "qlora") -> Quote:
    """A quote of all that is rented."""
    return of(Request(spec=registry.find(model), method=method, max_hours=168.0, settings_hours=168.0))  # type: ignore[arg-type]


def of(request: Request) -> Quote:
    """The quote for a request, without this machine."""
    rented = tuple(parse_place(name) for name in ("aws", "colab", "gcp", "kaggle", "runpod"))
    return engine.quote(request if request.places else request._replace(places=rented), Context(catalog.folder()))


def test_each_row_stands_once_with_all_that_it_is() -> None:
    """The roles of the options are those of the picks; the free one is also the cheapest."""
    quote = quoted("llama-3.1-8b")
    found = answer(quote, NOBODY)
    rows = [option.row for option in found.options]
    assert len(set(rows)) == len(rows)
    assert {role: option.row for option in found.options for role in option.roles} == {
        role: index for role, index in found.picks._asdict().items() if index is not None
    }
    assert found.picks.free == found.picks.cheapest


def test_the_fastest_is_not_bought_with_a_hundred_chips() -> None:
    """Nothing is more than a quarter faster, and what is as fast is not cheaper."""
    quote = quoted("llama-3.1-8b")
    fastest = quote.lines[picks(quote).fastest or 0]
    for line in quote.lines:
        if line.viable and line.assessment.hours and fastest.assessment.hours:
            assert line.assessment.usual_h * 1.25 >= fastest.assessment.usual_h
            assert line.rank >= fastest.rank or line.assessment.usual_h > fastest.assessment.usual_h


def test_nvidia_is_never_the_answer() -> None:
    """Though its rows are looked at for comparison."""
    quote = of(Request(spec=registry.find("qwen3-8b"), include_nvidia=True))
    vendors = {quote.lines[index].offer.hardware for index in picks(quote) if index is not None}
    assert vendors
    assert not vendors & {"h100", "a100-80g", "h200", "b200", "l40s"}


def test_up_is_told_the_row_unless_it_takes_it_anyway() -> None:
    """Nothing was left out of the quote and it is the chosen one: no option. Else its id, which `up` takes."""
    whole = engine.quote(
        Request(spec=registry.find("qwen3-8b"), max_hours=168.0, settings_hours=168.0), Context(catalog.folder())
    )
    chosen = whole.chosen or 0
    assert "--row" not in start(whole, chosen, SOMEBODY).command
    part = quoted()
    row = part.chosen or 0
    assert f" --row {part.ids()[row]}" in start(part, row, SOMEBODY).command


def test_what_is_missing_is_named_with_the_first_remedy() -> None:
    """Without anything: a bucket, a key, a licence; with all of them the command that starts it."""
    quote = quoted("llama-3.1-8b")
    row = quote.chosen or 0
    bare = start(quote, row, NOBODY)
    provider = quote.lines[row].offer.provider
    assert bare.missing == ("bucket", f"{provider} key", "licence")
    assert bare.command == "cloudtrain config set state gs://BUCKET"
    ready = start(quote, row, SOMEBODY)
    assert ready.missing == ()
    assert ready.command.startswith("cloudtrain up")
    assert "--hub-token-from HF_TOKEN" in ready.command


@pytest.mark.parametrize(("provider", "scheme"), [("gcp", "gs"), ("aws", "s3"), ("runpod", "s3")])
def test_the_bucket_is_of_the_machines_own_cloud(provider: str, scheme: str) -> None:
    """For such a one the row is quoted: bytes between clouds are billed, and nothing is kept there."""
    quote = quoted()
    row = next(
        index
        for index, line in enumerate(quote.lines)
        if line.offer.provider == provider and line.viable and line.assessment.launch == "yes"
    )
    assert start(quote, row, NOBODY).command == f"cloudtrain config set state {scheme}://BUCKET"


def test_what_up_refuses_unasked_is_said_in_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """RunPod has one guard that works alone; a stale price of who cannot be asked needs a flag, of who can none."""
    answering(monkeypatch, "gcp", None)
    quote = quoted()
    for provider, accepts in (("runpod", {"--accept-risk"}), ("gcp", {"--accept-stale"})):
        row = next(i for i, line in engine.choosable(quote.lines, False) if line.offer.provider == provider)
        flags = set(start(quote, row, SOMEBODY).command.split())
        assert flags & {"--accept-risk", "--accept-stale"} == accepts


def test_credentials_are_found_without_asking(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """In a variable, or in a file of the provider's own tools."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert not has_credentials("aws")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", __file__)
    assert has_credentials("aws")
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    assert not has_credentials("runpod")
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    assert has_credentials("runpod")


@pytest.mark.parametrize(("method", "overridden"), [("qlora", []), ("lora", ["method=lora"])])
def test_the_command_keeps_the_method(method: str, overridden: list[str]) -> None:
    """A new spec says qlora: another method is overridden."""
    quote = quoted("qwen3-8b", method)
    row = quote.chosen or 0
    words = start(quote, row, SOMEBODY).command.split()
    assert [word for word in words if word.startswith("method")] == overridden
