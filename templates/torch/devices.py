"""PyTorch's view of the accelerators that this back end's description names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from failures import NoAccelerator
from machine import played_by

BACK_END: dict[str, Any] = json.loads(Path(__file__).with_name("backend.json").read_text(encoding="utf-8"))
ACCELERATORS: dict[str, dict[str, Any]] = BACK_END["accelerators"]
DEVICES = {"cpu": "cpu", "rocm": "cuda", "xpu": "xpu", "mps": "mps"}  # as PyTorch names them


def try_accelerator(accelerator: str) -> None:
    """Raise NoAccelerator when PyTorch cannot use it. Imports torch."""
    import torch

    if accelerator == "cpu":
        return
    if accelerator == "rocm":
        usable = torch.cuda.is_available() and torch.version.hip is not None
    else:
        usable = getattr(torch, accelerator).is_available()
    if not usable:
        raise NoAccelerator(f"PyTorch {torch.__version__} sees no {accelerator} device on this machine")


def computes_in_bf16(accelerator: str) -> bool:
    """Whether bf16 is worth computing in there. Imports torch.

    A processor without AVX-512 has no bf16 kernels in oneDNN. With PyTorch's own, products of a forward pass took 2 to
    7 times as long as in float32, and a training step 8.5 times (135M QLoRA, 2 vCPU with AVX2, 2026-11-27).
    """
    import torch

    if played_by(accelerator) != "cpu":
        return True
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a PyTorch without oneDNN
        return False
