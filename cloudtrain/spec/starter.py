"""The spec that `cloudtrain init` writes: every key with its default and its description as a comment."""

from __future__ import annotations

import re

from cloudtrain.spec.json_schema import FIRST_LINE
from cloudtrain.spec.messages import descriptions
from cloudtrain.spec.schema import Spec

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_NULLS = ("null", "Null", "NULL")

_STARTER = """\
# What to fine-tune, on what, and how. Only `model` and `data` are needed; the rest shows its default.
# Check it with `cloudtrain up --dry-run`, change one value for one run with `cloudtrain up lora.rank=8`.

model: {model}
# revision: main

data:
  path: {data}
  # format: {kind}
  # eval_path: eval.jsonl
  eval_fraction: 0.0

method: qlora
# quantisation: nf4
expert_capacity: 2.0
lora:
  rank: 16
  # alpha: 32
  dropout: 0.0
  targets: all-linear
train_layers: 2

sequence_length: 2048
packing: true
train_on: assistant

# micro_batch: 1
grad_accum: 1
# batch_tokens: 16384
epochs: 1
# max_steps: 500

# lr: 2e-4
schedule: cosine
warmup: 0.03
optimizer: adamw
weight_decay: 0.0
seed: 42

checkpoint:
  every: 5m
  keep: 2
eval:
  every: 0
report: none
trainer: plain

budget:
  # max_cost: 10
  # max_hours: 12
  stop_above_cap: false
"""
_KEY = re.compile(r"( *)(?:# )?(\w+):(?= |$)")


def starter(model: str, data: str, kind: str = "messages") -> str:
    """The commented spec for `model` and the data file `data`, as YAML that loads to the defaults.

    `kind` is the format that the comment on it shows.
    """
    texts = dict(descriptions(Spec))
    lines, group = [FIRST_LINE.rstrip()], ""
    for line in _STARTER.splitlines():
        found = _KEY.match(line)
        if found is None:
            lines.append(line)
            continue
        key = f"{group}.{found[2]}" if found[1] else found[2]
        group = group if found[1] else found[2]
        filled = line.format(model=_quoted(model), data=_quoted(data), kind=kind)
        lines.append(f"{filled}  # {texts[key]}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A YAML scalar: bare where nothing in it has a meaning to YAML, else in double quotes."""
    if _PLAIN.fullmatch(text) and text not in _NULLS:
        return text
    import yaml

    return str(yaml.safe_dump(text, default_style='"', width=2**20, allow_unicode=True)).strip()
