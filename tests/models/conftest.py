"""The trainer's environment, for tests that hold our arithmetic to its transformers."""

from __future__ import annotations

from tests.trainer_fixtures import trainer_python, warm_python

__all__ = ["trainer_python", "warm_python"]
