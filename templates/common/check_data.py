"""Look at a job's data with the model's own tokenizer, without training: `python check_data.py job.json`.

Prints one JSON document; the exit code is 0 when the data can be trained on, 64 for a bad job, 65 for bad data. PyTorch
is not imported: a second and a half instead of five.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import reader
from events import claim_stdout
from failures import BadData, BadJob, Failure, as_failure
from job import Job, read
from packing import pack, total_steps
from rows import Faults, Row
from tokens import IGNORED, Document, Encoder, Prepared, load_tokenizer

SHOWN = 20  # kinds of problems printed; all are counted
_LOST = {
    "calls": "the chat template has no form for tool calls: they are learnt as text",
    "tools": "the chat template has no place for `tools`: they are left out",
}


def main(arguments: list[str]) -> int:
    """Print what there is to know about the data of the one argument, a job file."""
    out = claim_stdout()
    try:
        if len(arguments) != 1:
            raise BadJob("usage: python check_data.py job.json")
        found = inspect(read(Path(arguments[0])))
    except Exception as error:
        failure: Failure = as_failure(error)
        out.write({"event": "error", "code": failure.code, "message": str(failure)})
        return failure.exit_code
    out.write(found)
    return BadData.exit_code if found["problem_count"] else 0


def inspect(job: Job) -> dict[str, Any]:
    """Rows, tokens, truncation, duplicates, steps and problems of the job's data. Raises BadJob or BadData."""
    without_torch()
    if Path(job.model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    tokenizer = load_tokenizer(job)
    encoder = Encoder(tokenizer, job.train_on)
    good, problems = _sorted(Path(job.data.path), job.data.format, job.train_on)
    train, held_out = reader.split(good, job)
    of_evaluation: list[BadData] = []
    if job.data.eval_path is not None:
        held_out, of_evaluation = _sorted(Path(job.data.eval_path), job.data.format, job.train_on)
    documents, refused = _encoded(encoder, train)
    _, refused_too = _encoded(encoder, held_out)
    problems += refused if job.data.eval_path else refused + refused_too
    of_evaluation += refused_too if job.data.eval_path else []
    prepared = Prepared()
    for document in documents:
        prepared.add(document, job.sequence_length)
    if documents and not prepared.documents:
        problems.append(encoder.too_long(job.sequence_length))
    return {
        **_counts(job, documents, prepared),
        "rows": len(train),
        "eval_rows": len(held_out),
        "template": _template(tokenizer, documents),
        "duplicates": len(good) - len({_digest(row) for row in good}),
        "overlap": len({_digest(row) for row in train} & {_digest(row) for row in held_out}),
        "problem_count": len(problems) + len(of_evaluation),
        "problems": (_told(problems) + _told(of_evaluation, {"file": job.data.eval_path}))[:SHOWN],
        "warnings": _lost(encoder, good[0].unit if good else "line"),
    }


def _told(problems: list[BadData], more: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """A sentence for each kind with its first line; with `unit` where lines mean nothing in the file."""
    faults, unit = Faults(), problems[0].unit if problems else "line"
    for problem in problems:
        faults.add(problem.line, problem.problem, problem.kind)
    more = {**(more or {}), **({} if unit == "line" else {"unit": unit})}
    return [{"line": told.line, "problem": told.sentence, **more} for told in faults.told(unit)]


def without_torch() -> None:
    """Let transformers believe that PyTorch is not installed: its tokenizers do not need it, and it costs seconds."""
    find = importlib.util.find_spec

    def find_all_but_torch(name: str, package: str | None = None) -> Any:
        return None if name.partition(".")[0] == "torch" else find(name, package)

    importlib.util.find_spec = find_all_but_torch
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")


def _sorted(path: Path, kind: str | None, train_on: str = "assistant") -> tuple[list[Row], list[BadData]]:
    """Good rows and problems of a file."""
    good: list[Row] = []
    bad: list[BadData] = []
    for found in reader.problems(path, kind, train_on):
        if isinstance(found, BadData):
            bad.append(found)
        else:
            good.append(found)
    if not good and not bad:
        bad.append(BadData(f"{path.name} has no rows"))
    return good, bad


def _lost(encoder: Encoder, unit: str) -> list[str]:
    """What rows have and the chat template leaves out, in sentences."""
    faults = Faults()
    for what, lines in encoder.template.lost.items():
        for line in lines:
            faults.add(line, _LOST.get(what, f"the chat template leaves `{what}` out"), what)
    return [told.sentence for told in faults.told(unit)]


def _encoded(encoder: Encoder, found: list[Row]) -> tuple[list[Document], list[BadData]]:
    documents: list[Document] = []
    refused: list[BadData] = []
    for row in found:
        try:
            documents += encoder.encode(row)
        except BadData as problem:
            refused.append(problem.with_traceback(None))  # which would hold the row's texts
    return documents, refused


def _counts(job: Job, documents: list[Document], prepared: Prepared) -> dict[str, Any]:
    """Tokens and steps. `tokens` is one pass, `tokens_processed` the whole run: prompts included, padding not."""
    lengths = sorted(len(document.ids) for document in documents) or [0]
    kept = [len(document.ids) for document in prepared.documents]
    packed = len(pack(kept, job.sequence_length)) if job.packing else len(kept)
    batch = job.micro_batch, job.grad_accum
    steps = total_steps(packed, *batch, job.epochs, job.max_steps) if kept else 0
    return {
        "tokens": prepared.tokens,
        "tokens_p50": lengths[len(lengths) // 2],
        "tokens_p95": lengths[len(lengths) * 95 // 100],
        "tokens_max": lengths[-1],
        "tokens_trained": prepared.tokens_trained,
        "tokens_processed": round(prepared.tokens * steps / total_steps(packed, *batch, 1, None)),
        "truncated_percent": 100 * prepared.truncated / max(len(documents), 1),
        "dropped_percent": 100 * prepared.dropped / max(len(documents), 1),
        "packed_rows": packed,
        "steps": steps,
    }


def _template(tokenizer: Any, documents: list[Document]) -> dict[str, bool]:
    """Whether there is a chat template, whether answers can be told apart in it, and whether their end is learnt."""
    special = set(tokenizer.all_special_ids)
    ends = [[label for label in document.labels if label != IGNORED][-1:] for document in documents]
    return {
        "present": bool(tokenizer.chat_template),
        "trainable": any(ends),
        "learns_to_stop": any(ends) and all(end[0] in special for end in ends if end),
    }


def _digest(row: Row) -> str:
    content = json.dumps([row.messages, row.prompt, row.completion], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
