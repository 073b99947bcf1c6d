"""Why the trainer would refuse a model, told from its config alone: its class, its weights' format, its positions.

One function for quotes and for plans, of local and rented runs alike: what it says no to is never rented for. The
trainer's tests hold each of its verdicts to what the shipped programs really do with tiny copies.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from cloudtrain.models import formats
from cloudtrain.models.spec import ModelSpec
from cloudtrain.units import gib

TORCH = ("torch-cpu", "rocm", "xpu", "cuda", "neuron", "gaudi")  # back ends that load through transformers
OWN_LOADERS = ("longcat_flash_ngram",)  # families without a class there, which the compatibility table rules on


class Refusal(NamedTuple):
    """`kind`: class, format or context; `reason`: what is wrong, in one sentence; `hint`: what to do instead."""

    kind: str
    reason: str
    hint: str


def refusals(spec: ModelSpec, method: str, sequence_length: int, backend: str = "torch-cpu") -> tuple[Refusal, ...]:
    """Why the trainer of `backend` would refuse the model with this method and length; nothing where it would not."""
    if spec.is_usual(sequence_length):
        return ()
    found = (
        unknown_class(spec, backend),
        wrong_format(spec, method, backend),
        too_long(spec, sequence_length),
    )
    return tuple(refusal for refusal in found if refusal is not None)


def unknown_class(spec: ModelSpec, backend: str) -> Refusal | None:
    """Whether transformers has no causal language model for the type; a wrapper's text part is named where known."""
    published = spec.published
    if published.model_type in ("", spec.family) or spec.family in OWN_LOADERS:
        return None
    from cloudtrain.models import classes

    if classes.is_taken(published.model_type):
        return None
    if published.text_type:
        inside = f"`{published.text_type}`"
        return Refusal(
            "class",
            f"`{published.model_type}` wraps a language model of type {inside}: the trainer's AutoModelForCausalLM "
            "has no class for the wrapper",
            text_sibling(spec) or f"take a repository that holds the {inside} model alone",
        )
    if backend not in TORCH:
        return None
    return Refusal(
        "class",
        f"transformers {classes.version()} has no class for `{published.model_type}`, and the trainer runs no code "
        "out of a repository",
        "take a repository whose config.json names a class of transformers",
    )


@lru_cache(maxsize=64)
def text_sibling(spec: ModelSpec) -> str:
    """The model of the registry with the same language model, in words; "" when it has none."""
    from dataclasses import replace

    from cloudtrain.models import registry

    plain = replace(spec.shape, sliding_window=0, sliding_layers=0)
    for other in registry.all_models():
        if other.family == spec.family and replace(other.shape, sliding_window=0, sliding_layers=0) == plain:
            return f"`{other.name}` is a language model of the same sizes"
    return ""


def wrong_format(spec: ModelSpec, method: str, backend: str) -> Refusal | None:
    """Whether the method cannot load the weights as they are published."""
    if not spec.published.format:
        return None
    found = formats.verdict(spec.published.format, spec.family, method, backend)
    if found.word != "no":
        return None
    reason, _, hint = found.reason.partition(": ")
    return Refusal("format", f"the weights are published in {spec.published.format}; {reason}", hint)


def too_long(spec: ModelSpec, sequence_length: int) -> Refusal | None:
    """Whether the sequences are longer than the model has positions."""
    positions = spec.published.positions
    if not positions or sequence_length <= positions:
        return None
    return Refusal(
        "context",
        f"a sequence of {sequence_length} tokens is longer than the model's {positions} positions",
        f"take at most {positions}",
    )


def remarks(spec: ModelSpec, method: str, backend: str = "torch-cpu") -> tuple[str, ...]:
    """What to know about a model that is loaded: weights that are unpacked first, towers that are not trained."""
    published = spec.published
    if not published.format:
        return ()
    said = []
    found = formats.verdict(published.format, spec.family, method, backend)
    if found.word == "dequantised":
        said.append(
            f"the weights are published in {published.format} ({gib(spec.published_bytes)}) and unpacked to 16 bit "
            f"while loading ({gib(spec.weights_bytes('bf16'))})"
        )
    elif found.word == "untried":
        said.append(f"the weights are published in {published.format}; {found.reason}")
    return tuple(said)


def gated_refusal(spec: ModelSpec, *, has_token: bool, has_copy: bool) -> Refusal | None:
    """Whether nobody could fetch the weights: the repository is gated, there is no token and no copy of them.

    `has_token`: the machine that fetches will have a token that may read. `has_copy`: the weights lie in a folder, in
    the hub's cache there, or under `models/` in the state.
    """
    if not spec.published.gated or has_token or has_copy or spec.path:
        return None
    return Refusal(
        "gated",
        f"{spec.hub_id} is gated: its owner wants the licence accepted, and a token, before anybody downloads it",
        "accept it on the model's page, then hand over a token that may read it, or copy the weights to `models/` in "
        "the state",
    )
