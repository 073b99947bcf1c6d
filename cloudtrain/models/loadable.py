"""Why the trainer would refuse a model: its class, its weights' format, its positions, a missing chat template.

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
PLAIN_ROWS = ("", "prompt", "text", "paragraphs")  # rows of data that are trained on without a chat template


class Refusal(NamedTuple):
    """`kind`: class, format, context or template; `reason`: what is wrong, in a sentence; `hint`: what to do."""

    kind: str
    reason: str
    hint: str


def refusals(
    spec: ModelSpec, method: str, sequence_length: int, backend: str = "torch-cpu", rows: str = ""
) -> tuple[Refusal, ...]:
    """Why the trainer of `backend` would refuse the model with this method, length and data; () where it would not.

    `rows` is the shape of the data's rows; "" when nothing is known of them.
    """
    if spec.is_usual(sequence_length) and rows in PLAIN_ROWS:
        return ()
    found = (
        unknown_class(spec, backend),
        wrong_format(spec, method, backend),
        too_long(spec, sequence_length),
        no_template(spec, rows),
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
            text_sibling(spec)
            or (
                f"take a repository that holds the {inside} model alone"
                if classes.is_taken(published.text_type)
                else f"transformers {classes.version()} has no class for {inside} either: take another model"
            ),
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
    """The model of the registry with the same language model, which the trainer takes, in words; "" without one."""

    from cloudtrain.models import classes, registry

    plain = spec.shape._replace(sliding_window=0, sliding_layers=0)
    for other in registry.all_models():
        if not classes.is_taken(other.published.model_type or other.family):
            continue
        if other.family == spec.family and other.shape._replace(sliding_window=0, sliding_layers=0) == plain:
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
        f"take at most {positions} tokens",
    )


def no_template(spec: ModelSpec, rows: str) -> Refusal | None:
    """Whether the rows are conversations, and the model is one that was never taught how to write them."""
    if rows in PLAIN_ROWS or spec.published.template is not False:
        return None
    from cloudtrain.models import registry

    chat = registry.chat_variant(spec)
    instead = f"take `{chat}`, which has one" if chat else "take the chat model that was made from it"
    return Refusal(
        "template",
        f"`{spec.name if spec.path else spec.hub_id}` is a base model without a chat template, and the rows are "
        f"conversations (`{rows}`)",
        f"{instead}, or write the rows as prompt and completion",
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
