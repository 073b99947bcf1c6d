"""What a run of the trainer saves, and how long that takes, is what the quote says: real runs, on a real and a slow disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain.estimate.options import Method
from cloudtrain.models import registry
from cloudtrain.offer import Offer, Price
from cloudtrain.quote.machine import disk
from cloudtrain.quote.recipes import recipe
from cloudtrain.quote.request import Request
from cloudtrain.quote.sampling import times
from cloudtrain.units import GIB
from tests.templates.conftest import COMMON, TORCH, Bench

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("saves")]
HERE = Offer(
    *("local", "this machine", "", "", "cpu-amx", 2, 24 * GIB, 2, 24 * GIB),
    *("owned", None, Price("settings", "", "", "")),
)
SLOW_DISK = """
import sys, time
sys.path[:0] = sys.argv[1:3]
import checkpoints
seal = checkpoints._seal
def slowly(folder):
    time.sleep(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / float(sys.argv[3]))
    seal(folder)
checkpoints._seal = slowly
import train
sys.exit(train.main(sys.argv[4:]))
"""


def size(folder: Path) -> int:
    """Bytes of the weights and of what the optimizer keeps."""
    return sum(
        path.stat().st_size for path in folder.iterdir() if path.suffix == ".safetensors" or "optim" in path.name
    )


@pytest.mark.parametrize("compute", ["bf16", "fp32"])
@pytest.mark.parametrize("method", ["full", "freeze", "lora", "qlora"])
def test_checkpoint_and_result_have_the_bytes_of_the_quote(
    bench: Bench, tmp_path: Path, method: Method, compute: str
) -> None:
    """Of every method, in both number types; beside the tokenizer and the like, for which there is an allowance."""
    checkpoint = {"folder": str(tmp_path / "ckpt"), "every_s": 0, "keep": 9}
    run = bench.train(tmp_path, method=method, compute=compute, train_layers=1, max_steps=2, checkpoint=checkpoint)
    assert run.code == 0, run.stderr[-2000:]
    job = Request(spec=registry.find(str(bench.model)), method=method)
    ours = recipe(job, "torch-cpu", 1, "cpu-amx", compute == "fp32")
    assert ours is not None
    widths = ours.width_bytes, ours.learnt_bytes
    saved, output = disk.saved_bytes(job, run.one("loaded")["trainable"], widths)
    assert size(tmp_path / "ckpt" / "1") == pytest.approx(saved - disk.SIDE_BYTES, rel=0.03, abs=60_000)
    assert size(tmp_path / "output") == pytest.approx(output - disk.SIDE_BYTES, rel=0.03, abs=60_000)
    for folder, quoted in ((tmp_path / "ckpt" / "1", saved), (tmp_path / "output", output)):
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= quoted


def test_quote_and_run_agree_on_a_slow_disk(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How often a full fine-tune saves and how long that takes, on a disk that is much slower than the trainer takes it."""
    rate, every_s = 150e6, 0.5
    checkpoint = {"folder": str(tmp_path / "ckpt"), "every_s": every_s, "keep": 2}
    job = bench.job(tmp_path, method="full", max_steps=200, epochs=200, checkpoint=checkpoint)
    command = ["-c", SLOW_DISK, str(TORCH), str(COMMON), str(rate), str(job)]
    run = bench.wait(bench.start(job, instead=command), tmp_path)
    assert run.code == 0, run.stderr[-2000:]
    *periodic, last = [event["seconds"] for event in run.of("checkpoint")]
    trained_s = run.one("done")["train_seconds"]

    folder = tmp_path / "catalogue"
    folder.mkdir()
    header, *_ = (disk.catalog.shipped() / "disks.csv").read_text().splitlines()
    cells = {"provider": "local", "offers": ".*", "system_gb": "0", "mb_s": str(rate / 1e6)}
    cells |= {"read_shares": "1 1 1", "write_shares": "1 1 1"}
    (folder / "disks.csv").write_text(f"{header}\n" + ",".join(cells.get(name, "") for name in header.split(",")))
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(folder))
    beside = sum(path.stat().st_size for path in bench.model.iterdir() if path.suffix != ".safetensors")
    monkeypatch.setattr(disk, "SIDE_BYTES", beside)
    monkeypatch.setattr(times, "CHECKPOINT_EVERY_S", every_s)
    asked = Request(spec=registry.find(str(bench.model)), method="full", checkpoints_kept=2, tokens=1)
    ours = recipe(asked, "torch-cpu", 1, "cpu-amx", run.one("compute")["type"] == "fp32")
    assert ours is not None
    room = disk.disk(asked, HERE, ours, run.one("loaded")["trainable"], at_home=True)
    one = times.checkpoint_s(room).likely

    usual = sorted(periodic)[len(periodic) // 2]
    assert one <= usual <= 2 * one + 1  # what torch and a busy machine take beside
    quoted = times.saves(trained_s, usual, times.assumed_s(room))
    assert len(periodic) >= 2
    assert abs(len(periodic) - quoted) <= 1 + quoted // 5
    assert sum(periodic) <= 0.1 * trained_s
    assert last <= usual
    assert times.result_part(room).seconds.likely <= last + 0.5
