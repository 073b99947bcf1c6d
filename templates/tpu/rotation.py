"""Rotary positions: how fast each pair of a head's dimensions turns, by the kind that a configuration names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from failures import BadJob


class Rotation(NamedTuple):
    """How the heads of a layer are turned: `size` of their dimensions, by base `theta`, stretched as `kind` says."""

    theta: float
    size: int
    kind: str = "default"
    factor: float = 1.0
    original: float = 0.0  # positions that the model was first trained on
    low: float = 1.0  # llama3: wavelengths above original / low are stretched; yarn: turns that count as slow
    high: float = 4.0  # llama3: wavelengths below original / high are not; yarn: turns that count as fast
    strength: float = 1.0  # what cosines and sines are multiplied with
    truncate: bool = True  # yarn: its ramp begins and ends at whole dimensions

    def speeds(self) -> np.ndarray:
        """Radians per position: float64 (size / 2,)."""
        plain = self.theta ** -(np.arange(0, self.size, 2, dtype=np.float64) / self.size)
        if self.kind == "linear":
            return plain / self.factor
        if self.kind == "llama3":
            length = 2 * np.pi / plain
            share = np.clip((self.original / length - self.low) / (self.high - self.low), 0, 1)
            return (1 - share) * plain / self.factor + share * plain
        if self.kind == "yarn":
            share = 1 - self._ramp()
            return (1 - share) * plain / self.factor + share * plain
        return plain

    def _ramp(self) -> np.ndarray:
        """Of yarn: 0 where a dimension turns fast and stays as it is, 1 where it is slow and is stretched."""

        def dimension(turns: float) -> float:
            return self.size * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

        first, last = dimension(self.high), dimension(self.low)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, self.size - 1)
        last += 0.001 if first == last else 0  # as transformers keeps the division whole
        return np.clip((np.arange(self.size // 2) - first) / (last - first), 0, 1)


def from_config(config: Mapping[str, Any], head_dim: int, layer_type: str = "", theta: float = 1e4) -> Rotation:
    """The rotation of one kind of layers, from a configuration of transformers 4 or 5; `theta` where it names none.

    Raises BadJob for a kind that is not known.
    """
    given = config.get("rope_parameters") or {}
    given = given.get(layer_type, given) if layer_type else given
    scaling = given if given.get("rope_type") else config.get("rope_scaling") or {}
    theta = float(given.get("rope_theta") or config.get("rope_theta") or theta)
    partial = given.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    size = int(head_dim * partial)
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind == "dynamic" and scaling.get("alpha"):  # Hunyuan's, which stretches the base, the same at any length
        return Rotation(theta * scaling["alpha"] ** (size / (size - 2)), size)
    if kind == "default":
        return Rotation(theta, size)
    if kind not in ("linear", "llama3", "yarn"):
        raise BadJob(f"the model's rotary positions are of the kind `{kind}`, which the TPU trainer does not know")
    longest = float(config.get("max_position_embeddings") or 0)
    original = float(scaling.get("original_max_position_embeddings") or longest)
    if kind == "linear":
        return Rotation(theta, size, kind, float(scaling["factor"]))
    if kind == "llama3":
        low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
        return Rotation(theta, size, kind, float(scaling["factor"]), original, low, high)
    factor = float(scaling.get("factor") or longest / original)
    slow, fast = float(scaling.get("beta_slow") or 1), float(scaling.get("beta_fast") or 32)
    strength, truncate = _strength(scaling, factor), bool(scaling.get("truncate", True))
    return Rotation(theta, size, kind, factor, original, slow, fast, strength, truncate)


def _strength(scaling: Mapping[str, Any], factor: float) -> float:
    """Of yarn: how much cosines and sines grow with the stretching."""

    def grown(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1 if factor > 1 else 1.0

    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])
    first, second = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return grown(first) / grown(second) if first and second else grown(1)
