"""How what libraries say becomes one of our reasons."""

from __future__ import annotations

import pytest
from failures import OutOfMemory, as_failure, of_a_save


@pytest.mark.parametrize(
    "said",
    [
        "RESOURCE_EXHAUSTED: Error allocating device buffer: Attempting to allocate 9.10G.",
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm.",
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_memory_that_is_missing_has_its_own_code_and_advice(said: str) -> None:
    """Whichever library runs out of it."""
    found = as_failure(RuntimeError(said))
    assert isinstance(found, OutOfMemory)
    assert "smaller micro_batch" in str(found)


def test_a_full_disk_is_told_from_other_faults() -> None:
    """By what the libraries say that write files."""
    assert "the one before it is intact" in str(
        of_a_save(Exception("I/O error: No space left on device (os error 28)"))
    )
    assert of_a_save(ValueError("shapes differ")) is None
