"""Counts the bytes of living tensors, operator by operator, and remembers the highest moment and its split."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

STATES = ("weights", "gradients", "optimizer")
KINDS = (*STATES, "activations", "workspace")


class _Known(NamedTuple):
    storage: weakref.ref[Any]
    size: int
    kind: str


class LiveBytes(TorchDispatchMode):
    """While it is entered, every storage that an operator returns is counted until it dies.

    What the forward pass (or a recomputation) makes is an activation, anything else workspace, until `mark` says
    better. `phase` is set by the caller: forward, backward or optimizer.
    """

    def __init__(self, tied_gradient: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.phase = "forward"
        self.total = 0
        self.live = dict.fromkeys(KINDS, 0)
        self._known: dict[int, _Known] = {}
        self._tied_gradient = tied_gradient
        self.forget_peak()

    def forget_peak(self) -> None:
        """Start again with what is alive now as the highest moment."""
        self.peak, self.peak_phase, self.peak_live = self.total, self.phase, dict(self.live)

    def mark(self, tensors: Iterable[Any], kind: str) -> None:
        """Count these tensors as `kind`."""
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                self._count(tensor, kind)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._adds_tied_gradients(func, args):
            return args[0].add_(args[1])
        results = func(*args, **(kwargs or {}))
        kind = self._kind()
        for result in tree_iter(results):
            if isinstance(result, torch.Tensor):
                self._count(result, kind)
        return results

    def _kind(self) -> str:
        recomputing = self.phase == "backward" and torch.is_grad_enabled()
        return "activations" if self.phase == "forward" or recomputing else "workspace"

    def _adds_tied_gradients(self, func: Any, args: Any) -> bool:
        """Autograd adds the two float32 gradients of a tied table in place, unless a dispatch mode watches it.

        Only under autocast, where both are its own temporaries: then the caller gives the table's shape.
        """
        if self._tied_gradient is None or func is not torch.ops.aten.add.Tensor or torch.is_grad_enabled():
            return False
        return self.phase == "backward" and tuple(args[0].shape) == self._tied_gradient

    def _count(self, tensor: torch.Tensor, kind: str) -> None:
        try:
            storage = tensor.untyped_storage()
        except NotImplementedError:  # a tensor without memory of its own, such as a sparse one
            return
        key, size = id(storage), storage.nbytes()
        known = self._known.get(key)
        if known is not None and known.storage() is storage:
            kind = kind if kind in STATES else known.kind
            if (size, kind) == (known.size, known.kind):
                return
            self._add(known.kind, -known.size)
            self._known[key] = known._replace(size=size, kind=kind)
        else:
            reference = weakref.ref(storage, lambda _, key=key: self._died(key))
            self._known[key] = _Known(reference, size, kind)
        self._add(kind, size)
        if self.total > self.peak:
            self.forget_peak()

    def _died(self, key: int) -> None:
        known = self._known.pop(key)
        self._add(known.kind, -known.size)

    def _add(self, kind: str, size: int) -> None:
        self.live[kind] += size
        self.total += size
