"""LongCat-Flash on rented machines, as far as no weights are needed: spec, data, quote, compatibility, price, preview."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator.aws import AwsCloud, s3
from tests.engine.test_bucket_state import newcomer

pytestmark = pytest.mark.engine


@pytest.fixture
def amazon() -> Iterator[AwsCloud]:
    """An account with a bucket."""
    made = AwsCloud()
    s3.make_bucket(made, "bucket-state")
    yield made
    made.stop()


def test_the_spec_of_the_tiny_copy_plans_the_real_one(amazon: AwsCloud, tmp_path: Path) -> None:
    """Every check passes, a machine with room for the 4-bit experts is chosen, and nothing is made by looking."""
    client = newcomer(tmp_path / "here", amazon, amazon)
    words = ("model=longcat-flash", "lora.targets=attention", "--infra", "aws", "--accept-stale", "--dry-run")
    ended = client.run("up", *words)
    assert ended.code == 0, ended.err
    shown = ended.out + ended.err
    assert "qlora of meituan-longcat/LongCat-Flash-Chat, transformers 4.57.6 + peft 0.18.1" in shown
    (memory,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["memory"]]
    assert 283 <= float(memory[1].replace(",", "")) <= float(memory[4].replace(",", ""))
    (ends,) = [line for line in shown.splitlines() if line.split()[:2] == ["ends", "at"]]
    assert " 2026-" in ends or " 2027-" in ends, ends
    assert "RunInstances" not in amazon.calls
    assert amazon.leftovers() == []
