"""Optimisers as far as memory goes: torch's own AdamW, and states and temporaries of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

BLOCK = 256  # numbers that share one float32 scale in an 8-bit state
SMALL = 4096  # bitsandbytes keeps the states of smaller tensors in 32 bit


def _floats(*sizes: int) -> list[Any]:
    return [torch.zeros(size, dtype=torch.float32) for size in sizes]


def _adamw_8bit(parameter: Any) -> list[Any]:
    numbers = parameter.numel()
    if numbers < SMALL:
        return _floats(numbers, numbers)
    scales = -(-numbers // BLOCK)
    return [torch.zeros(numbers, dtype=torch.uint8), torch.zeros(numbers, dtype=torch.uint8), *_floats(scales, scales)]


def _adafactor(parameter: Any) -> list[Any]:
    shape = parameter.shape
    if parameter.dim() < 2:
        return [torch.zeros(shape)]
    return [torch.zeros(shape[:-1]), torch.zeros(shape[:-2] + shape[-1:])]


STATES: dict[str, Callable[[Any], list[Any]]] = {
    "adamw8bit": _adamw_8bit,
    "adamw_master": lambda parameter: _floats(*3 * [parameter.numel()]),  # a float32 copy and two moments
    "lion": lambda parameter: [torch.zeros_like(parameter)],
    "adafactor": _adafactor,
    "sgd": lambda parameter: [],
}


class Emulated:
    """The states of an optimiser, made at the first step, and the temporaries of a step."""

    def __init__(self, parameters: list[Any], kind: str) -> None:
        self.parameters, self.kind = parameters, kind
        self._states: dict[int, list[Any]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for number, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            if number not in self._states:
                self._states[number] = STATES[self.kind](parameter)
            if self.kind == "adafactor":
                self._factored(parameter.grad)
            else:
                parameter.add_(parameter.grad, alpha=-1e-5)

    @staticmethod
    def _factored(gradient: Any) -> None:
        """Adafactor holds a float32 gradient, its square and the update of one tensor at once."""
        wide = gradient.float()
        square = wide * wide
        update = square * wide
        del wide, square, update

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def states(self) -> Iterator[Any]:
        """Every tensor that is kept between steps."""
        for state in self._states.values():
            yield from state


class AdamW:
    """torch.optim.AdamW: fused has no temporaries, `foreach` one as large as all parameters."""

    def __init__(self, parameters: list[Any], foreach: bool) -> None:
        self._optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=not foreach, foreach=foreach)

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        self._optimizer.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def states(self) -> Iterator[Any]:
        """Every tensor that is kept between steps."""
        for state in self._optimizer.state.values():
            yield from state.values()


def make(kind: str, parameters: list[Any]) -> AdamW | Emulated:
    """The optimiser that `--optimizer KIND` means."""
    if kind in ("adamw", "adamw_foreach"):
        return AdamW(parameters, foreach=kind == "adamw_foreach")
    return Emulated(parameters, kind)
