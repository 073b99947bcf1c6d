"""Run in the trainer's environment: what its transformers takes and supposes, as `cloudtrain/models/classes.json`.

    PYTHON_OF_THE_TRAINER tests/models/describe_classes.py TYPE... > cloudtrain/models/classes.json

`causal_lm`: every model type that AutoModelForCausalLM takes; "text" where it takes a wrapper's language model alone,
"whole" where it loads the wrapper with its towers, "" for a plain language model. `wrappers`: the types that hold a
language model beside others, with its type ("" where only a file can name it). `defaults`: the sizes and switches of
the config class of each TYPE, for the keys that a file leaves out. `synonyms`: other names under which it takes a key.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"})

import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

# Fields that no count of parameters depends on, some by the end of their name.
IGNORED = (
    "_token_id",
    "_loss_coef",
    "_dropout",
    "use_cache",
    "output_",
    "router_",
    "pretraining_tp",
    "norm_",
    "rope_interleave",
)
BASE = frozenset(transformers.PreTrainedConfig.__dataclass_fields__) - {"tie_word_embeddings"}


def main() -> None:
    """Print the document."""
    causal, wrappers = {}, {}
    for kind in sorted(transformers.CONFIG_MAPPING):
        text = transformers.CONFIG_MAPPING[kind].sub_configs.get("text_config")
        if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            causal[kind] = taken_as(kind, text)
        if text is not None:
            wrappers[kind] = getattr(text, "model_type", "")
    configs = {kind: transformers.CONFIG_MAPPING[kind] for kind in sys.argv[1:] if kind in transformers.CONFIG_MAPPING}
    synonyms = {kind: names(config) for kind, config in configs.items()}
    document = {
        "transformers": transformers.__version__,
        "causal_lm": causal,
        "wrappers": wrappers,
        "defaults": {kind: sizes(config) for kind, config in configs.items()},
        "synonyms": {kind: found for kind, found in synonyms.items() if found},
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


def taken_as(kind: str, text: Any) -> str:
    """How AutoModelForCausalLM takes the type: its own rule is the class of the configuration that the model names."""
    if text is None:
        return ""
    model = getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind])
    return "text" if model.config_class is text else "whole"


def sizes(config: Any) -> dict[str, Any]:
    """Whole numbers and switches that the class sets when a file does not."""
    found = {name: getattr(config, name, None) for name in config.__dataclass_fields__ if name not in BASE}
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, bool | int) and not any(part in name for part in IGNORED)
    }


def names(config: Any) -> dict[str, str]:
    """Other name -> field."""
    return {other: name for other, name in config.attribute_map.items() if name in config.__dataclass_fields__}


if __name__ == "__main__":
    main()
