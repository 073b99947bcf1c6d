"""Ask a model questions, with or without an adapter: `python ask.py --model M [--adapter A] --questions FILE`.

What FILE may hold and what is answered: common/questions.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import machine
import questions
from devices import ACCELERATORS, computes_in_bf16
from events import claim_stdout


def main() -> None:
    """Answer every question of the file on the standard output."""
    options = questions.options()
    machine.start_again_with_environment(ACCELERATORS["cpu"])
    machine.set_threads()
    out = claim_stdout()
    model, tokenizer = load(options.model, options.adapter)
    for question in questions.read(options.questions):
        out.write({"question": question, "answer": answer(model, tokenizer, question, options.max_tokens)})


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
    text = questions.prompt(tokenizer, question)
    encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    generated = model.generate(**encoded, max_new_tokens=max_tokens, do_sample=False)
    new = generated[0, encoded["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True)).strip()


if __name__ == "__main__":
    main()
