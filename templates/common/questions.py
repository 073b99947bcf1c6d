"""Questions to a model: the arguments of every back end's `ask.py`, the file of questions, a question as a prompt.

The file holds one question a line: a JSON string, an object with `question`, a training row with `messages` (its first
user turn is asked), or plain text. Answers are JSON lines {"question", "answer"}, decoded greedily.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def options() -> argparse.Namespace:
    """The arguments: model, adapter (None without one), questions, max_tokens. Keeps the hub's libraries quiet."""
    parser = argparse.ArgumentParser(description="Ask a model questions, with or without an adapter.")
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--adapter", help="PEFT adapter folder")
    parser.add_argument("--questions", required=True, type=Path, help="one question a line")
    parser.add_argument("--max-tokens", type=int, default=48, help="longest answer")
    found = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if Path(found.model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return found


def read(path: Path) -> Iterator[str]:
    """The questions in `path`, in order."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield _question(line.strip())


def prompt(tokenizer: Any, question: str) -> str:
    """The text that the model is to go on with, by the tokenizer's chat template."""
    turns = [{"role": "user", "content": question}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def _question(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return line
    if isinstance(found, dict) and "messages" in found:
        return next(str(turn["content"]) for turn in found["messages"] if turn["role"] == "user")
    return str(found["question"]) if isinstance(found, dict) else str(found)
