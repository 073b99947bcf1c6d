"""HBM of the TPU trainer's own step by the compiler, without a TPU; what its optimised program multiplies and gathers.

    python tests/bench/tpu_compile.py [case ...]

Each case takes one to three minutes of a processor. Exits with 1 where a case is above its aim, a matrix product takes
float32 where bf16 is meant, or something larger than a layer's largest matrix is gathered on every chip.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.trainer import environment
from tests.trainer_fixtures import TEMPLATES

GIB = 2**30
LLAMA = {
    **{"model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336},
    **{"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
    **{"rope_theta": 5e5, "rms_norm_eps": 1e-5, "max_position_embeddings": 131072},
}
LARGEST = 4096 * 14336  # numbers of a layer's largest matrix
WIDTHS = {"f32": 4, "bf16": 2, "s32": 4, "u4": 1, "s8": 1}


class Case(NamedTuple):
    """A step of llama-3.1-8b at 2,048 tokens, a row for each chip, and the most that it may take of each, in GiB."""

    method: str
    generation: str
    devices: int
    aim: float


CASES = {
    "lora v6e-1": Case("lora", "v6e", 1, 17.7),
    "qlora v5e-1": Case("qlora", "v5e", 1, 8.5),
    "lora v5e-8": Case("lora", "v5e", 8, 5.5),
}
# Runs in the trainer's environment: the step's program goes to a file, its sizes to the standard output.
PROGRAM = """
import json, os, sys
import lowering
os.environ.update(lowering.SURROUNDINGS)
document = json.load(sys.stdin)
made = lowering.compile_step(
    document["config"], lowering.job_of(document["job"]), document["generation"], document["devices"])
open(sys.argv[1], "w").write(made.text)
print(json.dumps({**made.sizes._asdict(), "plan": made.plan}))
"""


def compiled(case: Case, text: Path) -> dict[str, Any]:
    """The compiler's sizes; the optimised program is in the file `text`."""
    job = {"method": case.method, "sequence_length": 2048, "micro_batch": case.devices}
    document = {"config": LLAMA, "job": job, "generation": case.generation, "devices": case.devices}
    path = f"{TEMPLATES / 'tpu'}:{TEMPLATES / 'common'}"
    command = [str(environment.ensure("tpu", print)), "-c", PROGRAM, str(text)]
    variables = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        command, input=json.dumps(document), capture_output=True, text=True, check=True, env=variables
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def faults(text: str) -> list[str]:
    """What an optimised program does that it should not: products of float32 matrices, gathers of whole tables."""
    types: dict[str, str] = {}
    found, products = [], 0
    for line in text.splitlines():
        made = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = \(?(\w+)\[([\d,]*)\]\S* ([\w\-]+)\((.*)", line)
        if made is None:
            continue
        name, kind, shape, act, rest = made.groups()
        types[name] = kind
        if act in ("dot", "convolution"):
            operands = [types.get(operand) for operand in re.findall(r"%([\w.\-]+)", rest.split(")", 1)[0])[:2]]
            products += None not in operands
            if "f32" in operands:
                found.append(f"float32 product {name}: {kind}[{shape}]")
        if act.startswith("all-gather") and _numbers(shape) > LARGEST:
            found.append(f"gather of {_numbers(shape) * WIDTHS.get(kind, 4) / GIB:.2f} GiB {name}: {kind}[{shape}]")
    return found if products else ["no product was found in it: it is written in another way than this reads"]


def _numbers(shape: str) -> int:
    count = 1
    for size in filter(None, shape.split(",")):
        count *= int(size)
    return count


def main(names: list[str]) -> int:
    """One row for each case."""
    failed = False
    for name in names or CASES:
        case = CASES[name]
        text = Path(f"/tmp/tpu-compile-{name.replace(' ', '-')}.txt")
        sizes = compiled(case, text)
        peak, wrong = sizes["peak"] / GIB, faults(text.read_text())
        failed = failed or not sizes["fits"] or peak > case.aim or bool(wrong)
        print(f"llama-3.1-8b {name:12} {peak:6.2f} GiB (at most {case.aim}) {sizes['plan']}", *wrong[:5], sep="\n    ")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
