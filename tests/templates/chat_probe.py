"""Run in a trainer's environment: what the encoder makes of rows under a chat template, as JSON lines.

PYTHONPATH=templates/torch:templates/common python chat_probe.py MODEL < [[template, train_on, [record, ...]], ...]

A line for each template: {"rows": [{"read": text that is read, "learnt": text that is learnt} or {"refused": sentence,
"kind"}], "lost": {key: lines}}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import tokens
from failures import BadData
from rows import BadRow, Row, Shape
from tokens import IGNORED, Document, Encoder
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])


def made(encoder: Encoder, shape: Shape, record: dict[str, Any], line: int) -> dict[str, str]:
    """One record."""
    try:
        documents = encoder.encode(shape.row(record, line))
    except BadRow as bad:
        return {"refused": str(bad), "kind": bad.kind}
    except BadData as bad:
        return {"refused": bad.problem, "kind": bad.kind}
    if len(record.get("messages", ())) > tokens.LONG:
        assert documents == one_by_one(shape.row(record, line)), "found in another place"
    learnt = [[label for label in document.labels if label != IGNORED] for document in documents]
    return {
        "read": "\n---\n".join(tokenizer.decode(document.ids) for document in documents),
        "learnt": "\n---\n".join(map(tokenizer.decode, learnt)),
    }


def one_by_one(row: Row) -> list[Document]:
    """With all turns before each answer rendered again."""
    long, tokens.LONG = tokens.LONG, 10**9
    try:
        return Encoder(tokenizer, "assistant").encode(row)
    finally:
        tokens.LONG = long


for template, train_on, records in json.load(sys.stdin):
    tokenizer.chat_template = template
    encoder = Encoder(tokenizer, train_on)
    found = [made(encoder, Shape(None, train_on), record, line) for line, record in enumerate(records, 1)]
    print(json.dumps({"rows": found, "lost": encoder.template.lost}))
