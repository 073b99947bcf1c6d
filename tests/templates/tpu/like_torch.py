"""What has to be alike in both environments, as JSON: rates of schedules, orders of epochs.

python like_torch.py (with templates/tpu and templates/common on the path, in JAX's) or: python like_torch.py torch
"""

from __future__ import annotations

import json
import sys

STEPS, SEEDS, COUNTS = 23, (0, 42, 43, 2**32 + 7), (1, 2, 19, 1000)
KINDS = [(schedule, warmup) for schedule in ("cosine", "linear", "constant") for warmup in (0.0, 0.2, 5.0)]


def by_torch() -> tuple[list[list[float]], list[list[int]]]:
    """As transformers and PyTorch have them."""
    import torch
    from transformers import get_scheduler

    names = {"constant": "constant_with_warmup"}
    rates = []
    for schedule, warmup in KINDS:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
        steps = int(warmup * STEPS) if warmup < 1 else int(warmup)
        scheduler = get_scheduler(names.get(schedule, schedule), optimizer, steps, STEPS)
        rates.append([])
        for _ in range(STEPS):
            rates[-1].append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
    made = [(seed, count, torch.Generator().manual_seed(seed)) for seed in SEEDS for count in COUNTS]
    return rates, [torch.randperm(count, generator=generator).tolist() for _, count, generator in made]


def by_us() -> tuple[list[list[float]], list[list[int]]]:
    """As our trainer has them."""
    import batches
    import learn
    from job import Checkpoint, Data, Job

    places = Data("/d"), Checkpoint("/c"), "/o"
    jobs = [Job("/m", *places, lr=3e-4, schedule=schedule, warmup=warmup) for schedule, warmup in KINDS]
    rates = [[learn.rate(job, STEPS)(at) for at in range(STEPS)] for job in jobs]
    return rates, [batches.permutation(count, seed).tolist() for seed in SEEDS for count in COUNTS]


print(json.dumps(by_torch() if "torch" in sys.argv else by_us()))
