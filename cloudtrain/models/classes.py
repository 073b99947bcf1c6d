"""What the shipped transformers takes and supposes, from `classes.json`, which a script writes in its environment.

Regenerate: `PYTHON_OF_THE_TRAINER tests/models/describe_classes.py > cloudtrain/models/classes.json`; a test holds the
file to the library. It is read for folders with a config.json, never for a model of the registry.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("classes.json")


@cache
def table() -> dict[str, Any]:
    """The data file."""
    loaded: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return loaded


def version() -> str:
    """The release of transformers that the trainer ships."""
    return str(table()["transformers"])


def is_taken(model_type: str) -> bool:
    """Whether AutoModelForCausalLM, and so the trainer, has a class for the type of a config.json."""
    return model_type in table()["causal_lm"]


def keeps_towers(model_type: str) -> bool:
    """Whether it loads the wrapper with the parts that read pictures or sound."""
    return bool(table()["causal_lm"].get(model_type) == "whole")


def text_type(model_type: str) -> str:
    """The type of a wrapper's language model where its config.json does not name it; "" where that is not known."""
    return str(table()["wrappers"].get(model_type, ""))


def defaults(model_type: str) -> dict[str, Any]:
    """Sizes and switches that the class of a type sets for keys that a file leaves out."""
    found: dict[str, Any] = table()["defaults"].get(model_type, {})
    return found


def synonyms(model_type: str) -> dict[str, str]:
    """Other names under which the class takes a key: other name -> key."""
    found: dict[str, str] = table()["synonyms"].get(model_type, {})
    return found
