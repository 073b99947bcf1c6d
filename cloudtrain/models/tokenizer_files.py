"""A model's tokenizer as files in a folder: which they are, and whether a chat template is among them."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path

CONFIG = "tokenizer_config.json"
# What a tokenizer is loaded from, and the config.json that says which it is: megabytes, where weights are gigabytes.
NAMES = (
    *("config.json", "tokenizer*.json", "special_tokens_map.json", "added_tokens.json", "generation_config.json"),
    *("vocab.*", "merges.txt", "*.model", "*.tiktoken", "*.jinja", "chat_template.json"),
)
LARGEST_BYTES = 64 * 2**20  # of a file that is taken for one of a tokenizer


def is_one(name: str) -> bool:
    """Whether a file of that name belongs to a tokenizer; files in subfolders do not."""
    return "/" not in name and any(fnmatch(name, pattern) for pattern in NAMES)


def are_in(folder: Path) -> bool:
    """Whether the folder holds a tokenizer."""
    try:
        return (folder / CONFIG).is_file()
    except OSError:
        return False


def has_template(folder: Path) -> bool | None:
    """Whether the tokenizer in the folder has a chat template; None where that cannot be told from its files."""
    try:
        if any(folder.glob("*.jinja")) or (folder / "chat_template.json").is_file():
            return True
        path = folder / CONFIG
        if path.stat().st_size > LARGEST_BYTES:
            return None
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return bool(document.get("chat_template")) if isinstance(document, dict) else None
