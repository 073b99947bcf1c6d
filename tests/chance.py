"""What is random in the tests: the same in every run of the gate, fresh and printed in the soak.

CLOUDTRAIN_SEED moves every seed, and `tests/soak.py` sets it to a fresh number that it prints.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SEED = "CLOUDTRAIN_SEED"
# On a busy machine making an example may take longer than hypothesis thinks right, and each may; fixtures are for reading.
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


def seed(fixed: int) -> int:
    """The seed of a test: its own in the gate, one that depends on CLOUDTRAIN_SEED where that is set."""
    return fixed + 1_000_003 * int(os.environ.get(SEED) or 0)


def examples(count: int) -> int:
    """How many examples of something random a test takes: ten times as many in the soak."""
    return count * (10 if os.environ.get(SEED) else 1)


def load_profile() -> None:
    """One hypothesis profile: no time limit an example, and the same examples every time unless a seed is given."""
    settings.register_profile("gate", derandomize=True, max_examples=100, **UNHURRIED)
    settings.register_profile("soak", max_examples=1000, print_blob=True, database=None, **UNHURRIED)
    settings.load_profile("soak" if os.environ.get(SEED) else "gate")
