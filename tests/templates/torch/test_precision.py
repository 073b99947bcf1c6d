"""The trainer computes in bf16 where the processor can, in float32 where that is many times faster."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.templates.conftest import TORCH, WITH_ITS_MODULES, Bench

pytestmark = pytest.mark.trainer
TYPES = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import checkpoints, dataclasses, job, loading, loop
from reports import Progress, Reports
from tokens import load_tokenizer
from datasets import Dataset
path = Path(sys.argv[2])
described = dataclasses.replace(job.read(path), compute=sys.argv[3])
model = loading.load_model(described)
data = Dataset.from_dict({"input_ids": [[1, 2]], "labels": [[1, 2]], "seq_lengths": [[2]]})
watcher = loop.Watcher(Reports(described, checkpoints.Store(path.parent / "ckpt", 1), Progress(1), None))
adapter = loading.adapter_config(described, model)
trainer = loop.build(described, model, adapter, load_tokenizer(described), (data, None), watcher)
found = {name: parameter for name, parameter in trainer.model.named_parameters()}
print(json.dumps({
    "embedding": str(next(p.dtype for n, p in found.items() if "embed" in n)),
    "adapters": sorted({str(p.dtype) for n, p in found.items() if "lora_" in n}),
    "compute": str(next(m.compute_dtype for m in trainer.model.modules() if hasattr(m, "compute_dtype"))),
    "autocast": trainer.args.bf16}))
"""


def types(bench: Bench, folder: Path, kind: str, trainer: str = "plain") -> dict[str, Any]:
    """The number types of a QLoRA run's parts."""
    job = bench.job(folder, method="qlora", trainer=trainer)
    command = [str(bench.python), "-c", TYPES, str(TORCH), str(job), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=WITH_ITS_MODULES)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_with_bf16_kernels_it_computes_in_bf16(bench: Bench, tmp_path: Path) -> None:
    """As the quote for such a processor takes it."""
    bf16 = "torch.bfloat16"
    wanted = {"embedding": bf16, "adapters": [bf16], "compute": bf16, "autocast": True}
    assert types(bench, tmp_path, "bf16") == wanted


@pytest.mark.soak
def test_the_fast_trainer_has_bf16_weights_and_float32_adapters(bench: Bench, tmp_path: Path) -> None:
    """Adapters alone are float32, the copy that learns; there is no autocast."""
    bf16, wide = "torch.bfloat16", "torch.float32"
    wanted = {"embedding": bf16, "adapters": [wide], "compute": bf16, "autocast": False}
    assert types(bench, tmp_path, "bf16", "fast") == wanted


def test_without_them_everything_is_float32(bench: Bench, tmp_path: Path) -> None:
    """Embeddings, adapters and the type in which 4-bit weights are multiplied: one that is left costs all the speed."""
    wide = "torch.float32"
    wanted = {"embedding": wide, "adapters": [wide], "compute": wide, "autocast": False}
    assert types(bench, tmp_path, "fp32") == wanted
