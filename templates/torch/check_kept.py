"""Whether kept 4-bit weights make a job's model alone: `python check_kept.py job.json`.

Ends with 0 when the trainer will load them and needs no published weights, with 1 when it would quantise something, and
with the trainer's own codes for a bad job.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import checkpoints
from devices import BACK_END
from events import claim_stdout
from failures import BadJob, Failure
from job import Job, read
from stop import report


def main(arguments: list[str]) -> int:
    """Look at the job whose file is the one argument."""
    try:
        if len(arguments) != 1:
            raise BadJob("usage: python check_kept.py job.json")
        return 0 if are_enough(read(Path(arguments[0]), BACK_END)) else 1
    except Failure as failure:
        return report(claim_stdout(), failure)


def are_enough(job: Job) -> bool:
    """Whether they are complete, whole, and of this job's model, number type and versions."""
    import kept
    import loading
    import number_type
    import torch
    from transformers import AutoConfig

    if job.method != "qlora" or not job.quantised.folder:
        return False
    newest = checkpoints.Store(Path(job.checkpoint.folder), job.checkpoint.keep).newest()
    chosen = number_type.choose(job, None if newest is None else checkpoints.progress(newest)).name
    dtype = torch.bfloat16 if chosen == "bf16" and job.dtype != "amp" else torch.float32
    config = AutoConfig.from_pretrained(job.model, revision=job.revision, trust_remote_code=False)
    return kept.pieces_of(job, config, loading.four_bit(config.model_type, dtype), dtype).complete


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
