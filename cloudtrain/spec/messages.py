"""What pydantic found wrong with a spec, as messages with a place and the nearest known word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from cloudtrain.errors import UsageError, nearest, visible

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from cloudtrain.spec.document import Document

SHOWN = 5
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "one text",
    "model": "a group of `key: value` lines",
    "dict": "a group of `key: value` lines",
}
# Names that Axolotl, LLaMA-Factory and others use for the same thing.
_ELSEWHERE = {
    "base_model": "model",
    "model_name": "model",
    "model_name_or_path": "model",
    "adapter": "method",
    "finetuning_type": "method",
    "dataset": "data",
    "datasets": "data",
    "lora_r": "lora.rank",
    "r": "lora.rank",
    "lora_rank": "lora.rank",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "lora_target": "lora.targets",
    "lora_target_modules": "lora.targets",
    "target_modules": "lora.targets",
    "val_set_size": "data.eval_fraction",
    "val_size": "data.eval_fraction",
    "cutoff_len": "sequence_length",
    "sequence_len": "sequence_length",
    "max_length": "sequence_length",
    "max_seq_length": "sequence_length",
    "sample_packing": "packing",
    "train_on_inputs": "train_on",
    "batch_size": "micro_batch",
    "micro_batch_size": "micro_batch",
    "per_device_train_batch_size": "micro_batch",
    "gradient_accumulation_steps": "grad_accum",
    "num_epochs": "epochs",
    "num_train_epochs": "epochs",
    "learning_rate": "lr",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "warmup_ratio": "warmup",
    "optim": "optimizer",
    "report_to": "report",
    "save_total_limit": "checkpoint.keep",
    "eval_steps": "eval.every",
    "max_dollars": "budget.max_cost",
    "max_cost": "budget.max_cost",
    "max_hours": "budget.max_hours",
}


def usage_error(wrong: ValidationError, document: Document, record: type[BaseModel]) -> UsageError:
    """The first faults in the order of the file, each with its place; the hint belongs to the first."""
    errors = [error for error in wrong.errors(include_url=False) if error["type"] != "default_factory_not_called"]
    found = sorted((_message(error, document, record) for error in errors), key=lambda fault: fault[0])
    lines = [f"{place}: {message}" for _, place, message, _ in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"and {len(found) - SHOWN} more")
    return UsageError("\n".join(lines), found[0][3])


def known_keys(record: type[BaseModel]) -> list[str]:
    """Every key of a spec with dots between levels, groups before what they hold."""
    return [key for key, _ in descriptions(record)]


def descriptions(record: type[BaseModel]) -> list[tuple[str, str]]:
    """Every key of a spec with what it means, in the order of `known_keys`."""
    keys: list[tuple[str, str]] = []
    for name, field in record.model_fields.items():
        keys.append((name, field.description or ""))
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            keys += [(f"{name}.{key}", text) for key, text in descriptions(inner)]
    return keys


def _message(error: ErrorDetails, document: Document, record: type[BaseModel]) -> tuple[tuple[int, int], str, str, str]:
    """The fault's sort key, place, message and hint."""
    context: dict[str, Any] = error.get("ctx", {})
    path = tuple(context["key"].split(".")) if "key" in context else tuple(error["loc"])
    key = ".".join(str(part) for part in path)
    place = document.place(path)
    message, hint = _message_and_hint(error, key, context, record)
    line = place.rpartition(":")[2]
    return (0, int(line)) if line.isdecimal() and path in document.places else (1, 0), place, message, hint


def _message_and_hint(
    error: ErrorDetails, key: str, context: dict[str, Any], record: type[BaseModel]
) -> tuple[str, str]:
    kind = error["type"]
    if kind == "missing":
        return f"`{key}` is missing", f"write `{key}: ...`; everything but `model` and `data` is optional"
    if kind == "extra_forbidden":
        return f"unknown key `{visible(key)}`", _near_key(key, record)
    shown = _shown(error["input"])
    if kind == "literal_error":
        return f"{shown}is not a value of `{key}`", _near_value(str(error["input"]), key, record)
    if kind == "conflict":
        return f"`{key}` {error['msg']}", ""
    if "hint" in context or kind in ("text", "interval", "targets"):
        return f"{shown}(`{key}`) {error['msg']}", str(context.get("hint", ""))
    for prefix, wanted in _KINDS.items():
        if kind.startswith(f"{prefix}_") or kind == prefix:
            return f"{shown}is not a value of `{key}`", f"write {wanted}"
    limit = error["msg"].removeprefix("Input should be ")
    return f"{shown}is not a value of `{key}`", f"write a number {limit}"


def _near_key(key: str, record: type[BaseModel]) -> str:
    known = known_keys(record)
    group, _, leaf = key.rpartition(".")
    leaf = leaf.lower().replace("-", "_")
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == group]
    elsewhere = [name for name in known if name.rpartition(".")[2] == leaf]
    close = nearest(leaf, siblings)
    likely = _ELSEWHERE.get(leaf) or (elsewhere[0] if elsewhere else "")
    if not likely and close:
        likely = f"{group}.{close}" if group else close
    return f"did you mean `{likely}`?" if likely else f"known here: {', '.join(siblings)}"


def _near_value(text: str, key: str, record: type[BaseModel]) -> str:
    field: Any = None
    for part in key.split("."):
        field = record.model_fields[part]
        if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
            record = field.annotation
    choices = _choices(field.annotation)
    close = nearest(text, choices)
    return f"did you mean `{close}`?" if close else f"write one of {', '.join(choices)}"


def _choices(annotation: Any) -> list[str]:
    """The words of a Literal, also one that may be None."""
    found: list[str] = []
    for part in get_args(annotation):
        found += [part] if isinstance(part, str) else _choices(part)
    return found


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"`{visible(value, 60)}` "
    return "a list " if isinstance(value, list) else "a group "
