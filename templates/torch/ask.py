"""Ask a model questions, with or without an adapter: `python ask.py --model M [--adapter A] --questions FILE`.

FILE holds one question a line: a JSON string, an object with `question`, a training row with `messages` (its first
user turn is asked), or plain text. Answers are JSON lines {"question", "answer"}, decoded greedily.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import machine
from devices import ACCELERATORS, computes_in_bf16
from events import claim_stdout


def main() -> None:
    """Answer every question of the file on the standard output."""
    parser = argparse.ArgumentParser(description="Ask a model questions, with or without an adapter.")
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--adapter", help="PEFT adapter folder")
    parser.add_argument("--questions", required=True, type=Path, help="one question a line")
    parser.add_argument("--max-tokens", type=int, default=48, help="longest answer")
    options = parser.parse_args()
    machine.start_again_with_environment(ACCELERATORS["cpu"])
    machine.set_threads()
    out = claim_stdout()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if Path(options.model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    model, tokenizer = load(options.model, options.adapter)
    for question in questions(options.questions):
        out.write({"question": question, "answer": answer(model, tokenizer, question, options.max_tokens)})


def questions(path: Path) -> Iterator[str]:
    """The questions in `path`, in order."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield _question(line.strip())


def load(model: str, adapter: str | None) -> tuple[Any, Any]:
    """Model in the type in which this machine computes, with the adapter on it, and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = torch.bfloat16 if computes_in_bf16("cpu") else torch.float32
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    if adapter is not None:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, adapter)
    return loaded.eval(), AutoTokenizer.from_pretrained(model)


def answer(model: Any, tokenizer: Any, question: str, max_tokens: int) -> str:
    """The model's likeliest continuation of the question, at most `max_tokens` tokens."""
    turns = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    generated = model.generate(**encoded, max_new_tokens=max_tokens, do_sample=False)
    new = generated[0, encoded["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip()


def _question(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return line
    if isinstance(found, dict) and "messages" in found:
        return next(str(turn["content"]) for turn in found["messages"] if turn["role"] == "user")
    return str(found["question"]) if isinstance(found, dict) else str(found)


if __name__ == "__main__":
    main()
