"""The environment that a program of the trainer gets on this machine: without what looks like a key."""

from __future__ import annotations

import re
from collections.abc import Mapping

_KEY = (
    r"^(AWS|GOOGLE|GCLOUD|GCP|CLOUDSDK|RUNPOD|KAGGLE|AZURE|ARM|PULUMI)_"
    r"|TOKEN(?!IZER)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY|^SSH_AUTH_SOCK$"
)
_KEPT = {"HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"}


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what looks like a key: a trainer runs code of packages and of model folders.

    A token for the model hub stays, because it fetches weights with it. Key files in the home folder are not hidden.
    """
    return {name: value for name, value in environment.items() if name in _KEPT or not re.search(_KEY, name.upper())}
