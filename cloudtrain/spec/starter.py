"""The spec that `cloudtrain init` writes: every field with its default and one comment that says what it does."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*")
_NULLS = ("null", "Null", "NULL")

_STARTER = """\
# What to fine-tune, on what, and how. Only `model` and `data` are needed; the rest shows its default.
# Check it with `cloudtrain up --dry-run`, change one value for one run with `cloudtrain up lora.rank=8`.

model: {model}  # a name of `cloudtrain models`, a Hugging Face id, or a folder beside this file
# revision: main  # commit, tag or branch of a Hugging Face model; the newest when left out

data:
  path: {data}  # JSON lines or CSV with a header, beside this file
  # format: messages  # messages, prompt, text, sharegpt or alpaca; found from the rows when left out
  # eval_path: eval.jsonl  # rows that are never trained on, to measure the loss with
  eval_fraction: 0.0  # or keep this share of the rows for that, for example 0.05

method: qlora  # qlora, lora or dora train a small adapter; freeze trains the last layers, full everything
lora:  # the adapter; full and freeze ignore it
  rank: 16  # its width: more learns more and needs more memory
  # alpha: 32  # its strength; twice the rank when left out
  dropout: 0.0  # share of its inputs that are dropped while training
  targets: all-linear  # what it is put on: all-linear, attention, qv, or module names such as [q_proj, v_proj]
train_layers: 2  # how many of the last layers freeze trains; the other methods ignore it

sequence_length: 2048  # tokens per sequence; longer rows are cut
packing: true  # put several short rows into one sequence, kept apart: less padding, less money
train_on: assistant  # assistant learns from the answers alone, all from the questions too

micro_batch: 1  # sequences at once; more needs more memory
grad_accum: 1  # micro-batches per step of the optimizer
# batch_tokens: 16384  # instead of grad_accum: tokens per step of the optimizer, the same on any hardware
epochs: 1  # how often every row is seen
# max_steps: 500  # instead of epochs: stop after so many steps of the optimizer

# lr: 2e-4  # learning rate; when left out 2e-4 for an adapter, 2e-5 for full and freeze
schedule: cosine  # how it falls to the end: cosine, linear or constant
warmup: 0.03  # share of the steps in which it rises from zero
optimizer: adamw  # adamw, adamw8bit, adafactor, sgd or lion
weight_decay: 0.0  # pull of the trained weights towards zero
seed: 42  # same seed, same data, same hardware: same order of rows

checkpoint:
  every: 5m  # progress that can be lost when a machine is taken away
  keep: 2  # how many checkpoints are kept
eval:
  every: 0  # steps between two evaluations; 0 evaluates at the end alone
report: none  # none, or tensorboard for event files beside the adapter

budget:
  # max_cost: 10  # US dollars that the run may cost; it is ended before it costs more
  # max_hours: 12  # hours that the run may last, from the first second that is billed
"""


def starter(model: str, data: str) -> str:
    """The commented spec for `model` and the data file `data`, as YAML that loads to the defaults."""
    return _STARTER.format(model=_quoted(model), data=_quoted(data))


def _quoted(text: str) -> str:
    """A YAML scalar: bare where nothing in it has a meaning to YAML, else in double quotes."""
    if _PLAIN.fullmatch(text) and text not in _NULLS:
        return text
    import yaml

    return str(yaml.safe_dump(text, default_style='"', width=2**20, allow_unicode=True)).strip()
