"""What would be shipped is held against the machine before anything is asked or paid."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.errors import NothingViable
from cloudtrain.models import registry
from cloudtrain.offer import Offer, Price, Range, Terms
from cloudtrain.providers import PriceSource, Stack, load
from cloudtrain.quote import chips, engine
from cloudtrain.quote.machine import environments
from cloudtrain.quote.recipes import table
from cloudtrain.quote.request import Request
from cloudtrain.quote.row import QuoteRow
from cloudtrain.runs import runnable
from cloudtrain.units import GIB

ROCM = "rocm/pytorch:rocm7.2.4_ubuntu24.04_py3.12_pytorch_release_2.10.0"
PRICE = Price("snapshot", "2026-11-01", "the test", "VERIFIED")
TERMS = Terms(Range(1, 2, 3), Range(1e8, 1e8, 1e8), Range(1e8, 1e8, 1e8), Decimal(0), Decimal(0), Decimal(0), 60, "")


def line(hardware: str, count: int, request: Request, provider: str = "runpod", **changes: Any) -> QuoteRow:
    """A machine of the provider, judged as `up` judges it."""
    bytes_each = 192 * GIB if hardware == "mi300x" else 512 * GIB
    offer = Offer(
        provider, f"{hardware} x{count}", "any", "", hardware, count, bytes_each, 64, 512 * GIB, "on_demand", Decimal(2),
        PRICE,
    )._replace(**changes)  # fmt: skip
    source = PriceSource(provider, lambda context: [offer], TERMS)
    stack = load("stacks", provider, Stack)
    return engine.judged(request, source, [offer], stack, None)[0]


def asked(model: str = "qwen3-8b", method: str = "qlora") -> Request:
    """A job with a generous ceiling."""
    return Request(spec=registry.find(model), method=method, max_hours=1e6)


def test_one_mi300x_runs_the_rocm_environment() -> None:
    """The image that RunPod's stack asks for has the ROCm of the locked PyTorch."""
    request = asked()
    found = runnable.verdict(line("mi300x", 1, request), request)
    assert found == environments.Verdict("yes")


def test_longcat_is_rented_no_gpu_that_cannot_load_it() -> None:
    """Also with --experimental: it is known to fail at loading, after eight accelerators were paid for."""
    request = asked("longcat-flash")
    with pytest.raises(NothingViable, match=r"transformers 5\.23\.0") as refused:
        runnable.runnable_rows([line("mi300x", 8, request)], request, experimental=True)
    assert "--hardware cpu-amx" in refused.value.hint
    assert refused.value.exit_code == 3


def test_several_accelerators_are_refused_because_one_would_be_used() -> None:
    """The trainer is one process on one device; the other three would cost and idle."""
    request = asked()
    four = line("mi300x", 4, request)
    with pytest.raises(NothingViable, match="paid for 4") as refused:
        runnable.runnable_rows([four], request, experimental=True)
    assert ":1" in refused.value.hint
    one = line("mi300x", 1, request)
    assert runnable.runnable_rows([four, one], request, experimental=False) == [one]


def test_an_image_with_an_older_rocm_is_refused() -> None:
    """A PyTorch for ROCm 7.2 over libraries of ROCm 6 crashes on the machine."""
    job = environments.Job("rocm", "llama", "lora")
    assert environments.verdict(job, "mi300x", 1, "rocm/pytorch:rocm6.2.3_ubuntu22.04").word == "no"
    assert environments.verdict(job, "mi300x", 1, "").word == "no"
    assert environments.verdict(job, "mi300x", 1, ROCM).word == "yes"


def test_what_is_experimental_needs_the_word() -> None:
    """A 4-bit run on Arm was never made by us."""
    job = environments.Job("cpu", "qwen3", "qlora")
    assert environments.verdict(job, "cpu-graviton4", 1, "").word == "experimental"
    assert environments.verdict(job._replace(method="lora"), "cpu-graviton4", 1, "").word == "yes"


def test_every_environment_that_a_stack_starts_is_in_the_table() -> None:
    """No accelerator of the table meets an environment of which nothing is known, where a job can be started."""
    stacks = [load("stacks", name, Stack) for name in ("aws", "gcp", "runpod")]
    able = frozenset().union(*(stack.backends for stack in stacks))
    for chip in chips.chips().values():
        if chip.backend not in able or not chip.trains:
            continue
        rows = table()[chip.backend].values()
        for flavour in {value for row in rows for name, value in row.items() if name.startswith("flavour")}:
            found = environments.verdict(environments.Job(flavour, "longcat_flash", "lora"), chip.key, 1, ROCM)
            assert not found.reason.startswith("nothing is known"), (chip.key, flavour)


def test_every_refusal_says_why_and_names_something_else() -> None:
    """A row that is no plain yes has both."""
    entries = environments.entries()
    assert len(entries) > 5
    for entry in entries:
        assert (entry.verdict.word == "yes") == (not entry.verdict.reason)
        assert bool(entry.verdict.instead) == bool(entry.verdict.reason)
