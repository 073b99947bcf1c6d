"""The private parts of `stacks` that campaigns drive, found the way the product finds them: never imported twice."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def crud() -> ModuleType:
    """`stacks/_crud.py`."""
    return import_module("cloudtrain.stacks._crud")


def recover() -> ModuleType:
    """`stacks/_recover.py`."""
    return import_module("cloudtrain.stacks._recover")


def journal() -> ModuleType:
    """`stacks/_journal.py`."""
    return import_module("cloudtrain.stacks._journal")
