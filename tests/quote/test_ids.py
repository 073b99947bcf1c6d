"""Ids of rows: one for each, the same in every quote."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.models import registry
from cloudtrain.offer import Offer, Price
from cloudtrain.providers import Context
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.ids import id_of, row_ids
from cloudtrain.quote.request import Request

JOBS = [("longcat-flash", "qlora"), ("llama-3.1-8b", "full"), ("qwen3-8b", "lora"), ("smollm2-135m", "qlora")]


def offer(name: str, **more: object) -> Offer:
    """An offer at a provider that nobody knows."""
    plain = Offer(
        *("acme", name, "North-1", "", "mi300x", 1, 192 << 30, 8, 64 << 30, "on_demand"),  # type: ignore[arg-type]
        *(Decimal(2), Price("snapshot", "2026-10-01", "a list", "VERIFIED")),  # type: ignore[arg-type]
    )
    return plain._replace(**more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("model", "method"), JOBS)
def test_ids_are_unique_and_the_same_for_every_job(model: str, method: str) -> None:
    """The whole shipped catalogue, NVIDIA's too: the order of the rows differs, the id of an offer does not."""
    context = Context(catalog.folder())
    first = engine.quote(Request(registry.find("qwen3-0.6b"), "lora", include_nvidia=True), context)
    known = dict(zip((line.offer for line in first.lines), row_ids([line.offer for line in first.lines]), strict=True))
    assert len(set(known.values())) == len(known) == len(first.lines) > 300
    again = engine.quote(Request(registry.find(model), method, include_nvidia=True), context)  # type: ignore[arg-type]
    offers = [line.offer for line in again.lines]
    assert offers != [line.offer for line in first.lines]
    assert row_ids(offers) == [known[each] for each in offers]


def test_leaving_rows_out_changes_no_id() -> None:
    """One provider, one market or one chip of the catalogue: the ids are those of the whole."""
    context = Context(catalog.folder())
    every = [line.offer for line in engine.quote(Request(registry.find("qwen3-8b")), context).lines]
    known = dict(zip(every, row_ids(every), strict=True))
    for kept in (lambda o: o.provider == "gcp", lambda o: o.market == "spot", lambda o: o.hardware == "tpu-v5e"):
        some = [each for each in every if kept(each)]
        assert some
        assert row_ids(some) == [known[each] for each in some]


def test_an_id_is_short_and_says_what_it_is() -> None:
    """Those of the catalogue that people will write; nothing in any that a shell or a list would break."""
    every = [line.offer for line in engine.quote(Request(registry.find("qwen3-8b")), Context(catalog.folder())).lines]
    ids = set(row_ids(every))
    assert ids >= {
        "runpod/mi300x/eu-ro-1",
        "runpod/2xmi300x/eu-ro-1",
        "gcp/c3-highmem-88/us-central1",
        "gcp/c3-highmem-88/us-central1/spot",
        "colab/tpu-v5e/units",
        "colab/tpu-v5e/free",
        "kaggle/tpuv5e8/free",
    }
    assert not [id_ for id_ in ids if set(id_) & set(" ,:=#$&'\"") or len(id_) > 60]


def test_names_that_shorten_alike_are_written_out() -> None:
    """Two names that both say one MI300X: whole names; the zones too, where one region has several lists of them."""
    found = row_ids([offer("MI300X x1 secure"), offer("MI300X x1 community"), offer("MI300X x2", count=2)])
    assert found == ["acme/mi300x-x1-secure/north-1", "acme/mi300x-x1-community/north-1", "acme/2xmi300x/north-1"]
    zoned = row_ids([offer("v6e-8", zone="north-1a north-1b"), offer("v6e-8", zone="north-1c north-1d")])
    assert zoned == ["acme/v6e-8/north-1a+north-1b", "acme/v6e-8/north-1c+north-1d"]


def test_rows_that_nothing_names_apart_are_numbered() -> None:
    """By size, then price, in whatever order they come; never with a number that is somebody's name."""
    small, large = offer("box"), offer("box", memory_bytes=256 << 30)
    dear = offer("box", memory_bytes=256 << 30, usd_per_hour=Decimal(3))
    assert row_ids([dear, small, large]) == ["acme/box/north-1~3", "acme/box/north-1", "acme/box/north-1~2"]
    assert row_ids([large, dear, small]) == ["acme/box/north-1~2", "acme/box/north-1~3", "acme/box/north-1"]
    assert len(set(row_ids([small] * 5))) == 5
    odd = [offer("Box"), offer("box!"), offer("b x", region=""), offer("", region=""), offer("?", region="")]
    assert len(set(row_ids(odd))) == 5


def test_the_id_of_one_row_is_that_among_all() -> None:
    """Also of one that has to be told apart from another."""
    offers = [offer("box", usd_per_hour=Decimal(usd)) for usd in (5, 1, 3)] + [offer("box", provider="other")]
    assert [id_of(each, offers) for each in offers] == row_ids(offers)
