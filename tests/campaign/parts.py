"""The private parts of `stacks` that campaigns drive, found the way the product finds them: never imported twice."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def crud() -> ModuleType:
    """`stacks/_lifecycle/crud.py`."""
    return import_module("cloudtrain.stacks._lifecycle.crud")


def recover() -> ModuleType:
    """`stacks/_lifecycle/recover.py`."""
    return import_module("cloudtrain.stacks._lifecycle.recover")


def journal() -> ModuleType:
    """`stacks/_lifecycle/journal.py`."""
    return import_module("cloudtrain.stacks._lifecycle.journal")
