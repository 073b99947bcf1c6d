"""A Hugging Face `config.json` read into a ModelSpec, with a message for everything that can be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloudtrain.errors import UsageError
from cloudtrain.files import read_beginning
from cloudtrain.models import classes, counted, decoder, formats, hybrid, tokenizer_files
from cloudtrain.models.families import FAMILIES, MODEL_TYPES
from cloudtrain.models.keys import HINT, Keys, short
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec, Published

MAX_CONFIG_BYTES = 4 * 2**20  # real ones are a few kilobytes; anything larger is some other file
TEXT_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")  # where a wrapper keeps its text model


def read(path: Path) -> ModelSpec:
    """The model described by `path`, a config.json or a folder that holds one.

    Raises UsageError naming the file and the key when it is missing, unreadable, malformed or of an unknown family;
    UncountedError when it is of a type that the trainer's transformers can count.
    """
    file = path / "config.json" if path.is_dir() else path
    outer = _document(file)
    model_type = _type(file, outer)
    inner, text_type = _language_model(outer, model_type)
    kind = text_type or model_type
    keys = Keys(file, inner, classes.defaults(kind), classes.synonyms(kind))
    record = None if kind in MODEL_TYPES or kind in hybrid.KINDS else counted.kept(outer)
    shape = _shape(keys, kind, record, outer)
    published = Published(
        model_type=model_type,
        text_type=text_type,
        format=formats.of_config(outer, inner) or formats.of_folder(file.parent),
        positions=keys.size("max_position_embeddings", default=0, smallest=0) or _number(record, "positions"),
        template=tokenizer_files.has_template(file.parent),
    )
    hub_id = outer.get("_name_or_path")
    return ModelSpec(
        name=file.parent.name or str(file.parent),
        hub_id=hub_id if isinstance(hub_id, str) else "",
        shape=shape,
        path=str(file.parent),
        published=published,
    )


def _document(file: Path) -> dict[str, Any]:
    try:
        raw = read_beginning(file, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read `{file}`: {reason}", "name a folder that holds a model's config.json") from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise UsageError(f"`{file}` is too large to be a config.json", "name a folder that holds a model's config.json")
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise UsageError(f"`{file}` is not JSON: {error}", "download the file again") from error
    if not isinstance(document, dict):
        raise UsageError(f"`{file}` holds no JSON object", HINT)
    return document


def _type(file: Path, document: dict[str, Any]) -> str:
    found = document.get("model_type")
    if found is None:
        raise UsageError(f"`{file}`: `model_type` is missing", HINT)
    if not isinstance(found, str):
        raise UsageError(f"`{file}`: `model_type` must be text, not {short(found)}", HINT)
    return found


def _language_model(outer: dict[str, Any], model_type: str) -> tuple[dict[str, Any], str]:
    """The keys of a wrapper's language model, most often one level down, and its type; "" for what is no wrapper.

    AutoModelForCausalLM ties the embeddings of a model that keeps its towers as the wrapper says, of one that is taken
    out of its wrapper as the language model's own keys say.
    """
    inner, depth = outer, 0
    while (part := next((inner[name] for name in TEXT_PARTS if isinstance(inner.get(name), dict)), None)) and depth < 3:
        inner, depth = part, depth + 1
    text_type = classes.text_type(model_type)
    if not depth and not text_type:
        return outer, ""
    own = inner.get("model_type") if depth else None
    if isinstance(own, str) and own != model_type:
        text_type = own
    text_type = text_type or f"{model_type}_text"
    if depth and classes.keeps_towers(model_type):
        inner = {name: value for name, value in inner.items() if name != "tie_word_embeddings"}
        inner |= {name: outer[name] for name in ("tie_word_embeddings",) if name in outer}
    return inner, text_type


def _shape(keys: Keys, kind: str, record: dict[str, Any] | None, outer: dict[str, Any]) -> Shape:
    """By the arithmetic of its family, by formula as a whole, or as the `record` of an earlier count says."""
    if kind in MODEL_TYPES:
        return decoder.shape(keys, MODEL_TYPES[kind])
    if kind in hybrid.KINDS:
        return hybrid.shape(keys, kind)
    if record is not None:
        return counted_shape(keys, kind, record, outer)
    model_type = str(outer["model_type"])
    if classes.is_taken(model_type):
        raise counted.UncountedError(keys.path, outer, short(model_type)[1:-1])
    raise UsageError(
        f"`{keys.path}`: no arithmetic for models of type `{short(kind)[1:-1]}`",
        f"transformers {classes.version()} has no class for them either, so that the trainer cannot load them; "
        f"known types: {', '.join(FAMILIES)}",
    )


def counted_shape(keys: Keys, kind: str, record: dict[str, Any], outer: dict[str, Any]) -> Shape:
    """A Shape from what the trainer's transformers has counted. Raises UsageError when the record is damaged."""
    try:
        numbers = counted.Counted(**{**record["counted"], "adapted": tuple(record["counted"]["adapted"])})
        sizes: dict[str, Any] = {name: int(value) for name, value in record["sizes"].items()}
        return Shape(family=kind, counted=numbers, **{**sizes, "tied": bool(sizes["tied"])})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"`{keys.path}`: its count in the cache is damaged ({error})",
            f"delete `{counted.place(outer)}` and repeat",
        ) from None


def _number(record: dict[str, Any] | None, name: str) -> int:
    value = (record or {}).get(name)
    return value if isinstance(value, int) and value > 0 else 0
