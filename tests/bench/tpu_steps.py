"""Compiles the TPU trainer's own step for the rows of tests/estimate/data/tpu_steps.csv that have no figure yet.

`python -m tests.bench.tpu_steps [ID ...]`: one after the other, one to three CPU minutes each, no TPU needed; the file
is written after each, and nothing is compiled twice. Prints the compiler's figure beside the formula's, and beside that
of the step that was compiled before there was a trainer.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from cloudtrain.estimate.memory import estimate
from cloudtrain.estimate.options import checked
from cloudtrain.models import registry
from cloudtrain.trainer import environment, verify
from cloudtrain.units import GIB
from tests.estimate.cases import DATA, compiled_options

FILE = DATA / "tpu_steps.csv"


def main(wanted: list[str]) -> None:
    """All rows without a figure, or these."""
    python = environment.ensure("tpu", print)
    with open(FILE, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if not row["hbm_gib"] and (not wanted or row["id"] in wanted):
            row.update(compiled(row, python))
            written(rows)
            print(said(row), flush=True)


def compiled(row: dict[str, str], python: Path) -> dict[str, str]:
    """The compiler's verdict and figures."""
    spec, options = checked(registry.find(row["model"]), compiled_options(row))
    answer = verify.run(python, "tpu/lowering.py", verify.tpu_document(spec, options))
    if "unsupported" in answer:
        raise SystemExit(f"{row['id']}: {answer['unsupported']}")
    figures = {"hbm_gib": "peak", "arguments_gib": "arguments", "temporary_gib": "temporary"}
    return {"fits": str(answer["fits"]), **{ours: f"{answer[theirs] / GIB:.4f}" for ours, theirs in figures.items()}}


def written(rows: list[dict[str, str]]) -> None:
    """The file with what is known now."""
    with open(FILE, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def said(row: dict[str, str]) -> str:
    """`t12 llama-3.1-8b lora v6e-1: 17.61 GiB, fits; the formula 18.25 (+3.6 %); before 19.51`."""
    real, formula = float(row["hbm_gib"]), estimate(registry.find(row["model"]), compiled_options(row)).peak_bytes / GIB
    before = f"; before {float(row['before_gib']):.2f}" if row["before_gib"] else ""
    verdict = "fits" if row["fits"] == "True" else "does not fit"
    what = f"{row['id']} {row['model']} {row['method']} {row['chip']}-{row['devices']}"
    return f"{what}: {real:.2f} GiB, {verdict}; the formula {formula:.2f} ({100 * (formula / real - 1):+.1f} %){before}"


if __name__ == "__main__":
    main(sys.argv[1:])
