"""Ask a model questions, with or without an adapter: `python ask.py --model M [--adapter A] --questions FILE`.

What FILE may hold and what is answered: common/questions.py. Computed on the processor of this machine.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import machine
import questions
from chips import ACCELERATORS
from events import claim_stdout
from failures import Failure, as_failure

BLOCK = 64  # prompts are as long as the longest, rounded up to so many tokens: one program for all


def main() -> int:
    """Answer every question of the file on the standard output; a message and an exit code where that fails."""
    options = questions.options()
    machine.start_again_with_environment(ACCELERATORS["cpu"])
    out = claim_stdout()
    try:
        for question, answer in answers(options):
            out.write({"question": question, "answer": answer})
    except Exception as error:
        failure: Failure = as_failure(error)
        print(failure, file=sys.stderr)
        return failure.exit_code
    return 0


def answers(options: Any) -> Any:
    """Question and answer, one after another, in float32: a processor is slower in bf16 here. Raises BadJob."""
    import adapters
    import decode
    import jax.numpy as jnp
    import model
    import source
    import weights
    from transformers import AutoTokenizer

    folder = source.place(options.model, None)
    shape = source.dense(folder)
    scale, adapter = 1.0, None
    if options.adapter is not None:
        adapter, scale = adapters.read(Path(options.adapter), shape), source.scale(Path(options.adapter))
    frozen = weights.load(folder, shape, None, "", jnp.float32)
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    asked = list(questions.read(options.questions))
    prompts = [tokenizer(questions.prompt(tokenizer, each), add_special_tokens=False)["input_ids"] for each in asked]
    longest = math.ceil(max(map(len, prompts), default=1) / BLOCK) * BLOCK
    how = model.How(dtype=jnp.float32, scale=scale)
    reader = decode.Reader(shape, how, longest, options.max_tokens, ends(folder, tokenizer))
    run = decode.compiled(reader)
    for question, tokens in zip(asked, prompts, strict=True):
        found, count = run(frozen, adapter, decode.padded(tokens, longest), len(tokens))
        text = tokenizer.decode(found[: int(count)].tolist(), skip_special_tokens=True)
        yield question, str(text).strip()


def ends(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer, as the model's folder has them."""
    found = {tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        told = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
        found |= set(told) if isinstance(told, list) else {told}
    return tuple(sorted(found - {None}))


if __name__ == "__main__":
    sys.exit(main())
