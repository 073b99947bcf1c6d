"""How much disk a job is given: part by part, by method, and against what a machine can have."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.models import registry
from cloudtrain.offer import Offer
from cloudtrain.providers import PriceSource, Stack, load, names
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.costs import cost_parts
from cloudtrain.quote.document import frozen
from cloudtrain.quote.machine.disk import GB, Disk, fetched_bytes, rules
from cloudtrain.quote.remedy.remedies import advisor, cost_text
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import Quote, QuoteRow
from cloudtrain.units import GIB
from tests.quote.test_engine import offer, request

POD = {"provider": "runpod", "name": "cpu5c x8", "region": "any", "zone": "", "hardware": "cpu-zen", "count": 8}
POD |= {"vcpus": 8, "memory_bytes": 64 * GIB, "host_memory_bytes": 64 * GIB}


def row(asked: Request, made: Offer) -> QuoteRow:
    """One offer, judged with the terms and the stack of its own provider."""
    provider = made.provider
    source = load("pricing", provider, PriceSource)
    stack = load("stacks", provider, Stack) if provider in names("stacks") else None
    (found,) = engine.judged(asked, source, [made], stack, None)
    return found


def disk(asked: Request, **changes: Any) -> Disk:
    """The disk of a job on an offer."""
    found = row(asked, offer(**changes)).assessment.disk
    assert found is not None
    return found


def test_an_adapter_needs_the_weights_and_little_more() -> None:
    """Weights as published, packages, two checkpoints and a third being written, the result, and room beside them."""
    asked = request("qwen3-8b", method="lora")
    parts = disk(asked).parts
    assert parts.weights == 2 * asked.spec.params_total
    assert parts.environment > 1.5 * GB
    trained = asked.spec.params_lora()
    assert 36 * trained <= parts.checkpoints < 36 * trained + GB
    assert parts.output >= 4 * trained
    assert disk(asked).needed_gb >= sum(parts) / GB + 4


def test_full_training_keeps_whole_models() -> None:
    """Each checkpoint holds the model and two optimizer states, and the result is the model once more."""
    asked = request("smollm2-135m", method="full")
    found, model = disk(asked, hardware="cpu-amx").parts, 2 * asked.spec.params_total
    assert 3 * 3 * model <= found.checkpoints < 3 * 3 * model + GB
    assert model <= found.output < model + GB
    assert disk(asked, hardware="cpu").parts.output >= 2 * model  # float32 there


def test_a_frozen_model_is_saved_whole() -> None:
    """Its checkpoints hold every weight, though only the last layers learn."""
    asked = request("qwen3-8b", method="freeze")
    assert disk(asked).parts.checkpoints >= 3 * 2 * asked.spec.params_total


def test_more_checkpoints_need_more_disk() -> None:
    """What the spec keeps decides, and so do the data's own bytes."""
    few, many = (disk(request(method="full", checkpoints_kept=kept)).needed_gb for kept in (1, 5))
    assert many - few > 4 * 6 * 8  # GB: four more of an 8 B model
    assert disk(request(data_bytes=50 * GB)).needed_gb - disk(request(data_bytes=0)).needed_gb >= 100


def test_weights_in_a_folder_are_counted_there(tmp_path: Path) -> None:
    """A folder with weights tells their size; one with a config alone is taken as published."""
    config = {"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128, "vocab_size": 512}
    (tmp_path / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    spec = registry.find(str(tmp_path))
    assert fetched_bytes(spec) == spec.published_bytes > 0
    for name in ("model-1.safetensors", "model-2.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    assert fetched_bytes(spec) == 2000
    assert disk(Request(spec=spec, weights_bytes=7 * GB)).parts.weights == 7 * GB


def test_a_row_with_too_small_a_disk_is_not_launchable() -> None:
    """Its reason says how many GB are needed and what the most is."""
    small, large = (row(request(model), offer(**POD)) for model in ("smollm2-135m", "llama-3.3-70b"))
    assert (small.viable, small.assessment.launch) == (True, "yes")
    assert (large.viable, large.assessment.launch) == (False, "not yet")
    found = large.assessment.disk
    assert found is not None
    assert found.needed_gb > found.most_gb == 8 * 15
    assert f"needs {found.needed_gb} GB of disk, has at most 120 GB" in large.reasons()


def test_pods_of_the_older_generation_get_less_disk() -> None:
    """10 GB a vCPU, and 15 GB in the fifth."""
    assert [disk(request(), **{**POD, "name": name}).most_gb for name in ("cpu3g x8", "cpu5g x8")] == [80, 120]


def test_a_machine_with_a_fixed_disk_asks_and_bills_none() -> None:
    """A slice of the Cloud TPU API comes with 100 GB; a notebook with what it has."""
    slice_ = {"name": "v5litepod-8", "hardware": "tpu-v5e", "count": 8, "memory_bytes": 16 * GIB}
    fitting, large = (disk(request(model), **slice_) for model in ("llama-3.1-8b", "llama-3.3-70b"))
    assert (fitting.gb, fitting.billed_gb, fitting.shortage) == (100, 0, "")
    assert large.shortage == f"needs {large.needed_gb} GB of disk, has 100 GB"
    kaggle = {"provider": "kaggle", "name": "TpuV5E8", "hardware": "tpu-v5e", "count": 8, "memory_bytes": 16 * GIB}
    assert disk(request("gemma-3-27b-text"), **kaggle).shortage
    whole = disk(request("qwen2.5-14b", method="full", checkpoints_kept=1), **kaggle)
    assert whole.shortage == "its result has 30 GB, 20 GB are kept"


def test_every_host_of_a_slice_has_a_billed_disk() -> None:
    """Sixteen v6e chips are four hosts."""
    found = disk(request("llama-3.3-70b"), name="v6e-16", hardware="tpu-v6e", count=16, memory_bytes=32 * GIB)
    assert found.billed_gb == 4 * found.gb > 4 * 141


def test_the_quote_bills_the_disk_that_the_machine_gets() -> None:
    """The cost line is its size times the billed hours, and the kept row says the size."""
    found = row(request("llama-3.3-70b"), offer())
    assert found.assessment.billed_hours is not None
    (billed,) = [part for part in cost_parts(found) if part.name == "disk"]
    kept = frozen(found)
    assert kept.disk_gb is not None
    assert billed.quantity / Decimal(f"{found.assessment.billed_hours.likely:.6f}") == pytest.approx(kept.disk_gb)
    assert kept.disk_to_ask_gb == kept.disk_gb


def test_an_older_row_asks_for_what_it_charged() -> None:
    """It knew no size; its cost line did."""
    kept = frozen(row(request("llama-3.3-70b"), offer()))
    older = kept.replace(disk_gb=None)
    assert older.disk_to_ask_gb in (kept.disk_gb, (kept.disk_gb or 0) + 1)
    assert older.replace(cost_parts=()).disk_to_ask_gb == 20
    assert older.replace(cost_parts=(), hardware="trainium1").disk_to_ask_gb == 250


def test_loading_the_weights_must_fit_the_host() -> None:
    """A joined layer of experts passes through the host's memory, whatever the accelerator holds."""
    asked = request("qwen3-30b-a3b", method="lora")
    gpu = {"provider": "runpod", "name": "AMD Instinct MI300X OAM x1", "hardware": "mi300x", "count": 1}
    gpu |= {"memory_bytes": 192 * GIB}
    assert row(asked, offer(**gpu, host_memory_bytes=64 * GIB)).assessment.fits == "fits"
    assert row(asked, offer(**gpu, host_memory_bytes=None)).assessment.fits == "fits"
    short = row(asked, offer(**gpu, host_memory_bytes=5 * GIB))
    assert (short.assessment.fits, short.viable) == ("no", False)
    assert any(reason.startswith("loading the weights needs ") for reason in short.reasons())


def test_a_remedy_has_the_disk_for_it() -> None:
    """A roomier machine of the provider where there is one."""
    asked = request("qwen2.5-14b", max_hours=1000.0)
    small = row(asked, offer(**{**POD, "name": "cpu5c x2", "vcpus": 2, "usd_per_hour": Decimal("0.1")}))
    large = row(asked, offer(**POD))
    assert (small.viable, large.viable) == (False, True), (small.reasons(), large.reasons())
    advised = advisor(Quote((large, small), (), 0, "", "", 0.0, asked)).change(small)
    assert advised == f"cpu5c x8 does it for {cost_text(large)}"
    alone = advisor(Quote((small,), (), None, "", "", 0.0, asked)).change(small)
    assert alone.startswith(("`qwen2.5-7b` instead: likely $", "`qwen2.5-1.5b` instead: likely $"))


def test_every_offer_that_is_shipped_has_a_rule() -> None:
    """Nothing is quoted with a disk that nobody has looked at, and each rule says from where it is."""
    found = rules(catalog.shipped())
    for name in names("pricing"):
        assert any(each.provider == name and each.offers.pattern == ".*" for each in found), name
    assert all(each.source.count("(observed ") == 1 for each in found)


def test_a_broken_table_names_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue may bring its own sizes; what cannot be read is an error, not a guess."""
    text = (catalog.shipped() / "disks.csv").read_text()
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(tmp_path))
    assert rules(tmp_path) == rules(catalog.shipped())
    rules.cache_clear()
    (tmp_path / "disks.csv").write_text(text.replace("200,250,", "200,much,"))
    with pytest.raises(UsageError, match=r"disks\.csv` line 2: .*much"):
        rules(tmp_path)
