"""Where the plan of a QLoRA run has its 4-bit weights kept: in this machine's cache, or with room on a spot machine's disk."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cloudtrain import settings
from cloudtrain.quote.document import frozen
from cloudtrain.quote.engine import quote_here
from cloudtrain.quote.request import parse_place
from cloudtrain.quote.row import QuoteRow
from cloudtrain.runs import prepare
from cloudtrain.runs.prepare import Chosen
from cloudtrain.runs.transfer.bundle import portable_job

GB = 10**9


def rows(folder: Path, model: str, place: str) -> tuple[list[QuoteRow], list[dict[str, object]]]:
    """The rows of a place's processors that have a recipe, and what the jobs of their plans say of kept weights."""
    turns = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    (folder / "rows.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 4)
    path = folder / "cloudtrain.yaml"
    path.write_text(f"model: {model}\ndata: rows.jsonl\nmax_steps: 20\n")
    spec = prepare.prepare(path, [])
    quote = quote_here(
        prepare.request_for(spec, (100_000, "a test"), (parse_place(place),), 168.0, None), settings.load()
    )
    found = [row for row in quote.lines if row.offer.hardware.startswith("cpu") and row.assessment.hours]
    jobs = []
    for row in found:
        plan = prepare.make_plan(spec, Chosen(quote, row, frozen(row)), "r", Path("runs/r"), time.time())
        jobs.append(plan.job.get("quantised"))
        assert "quantised" not in portable_job(plan.job, {})
    return found, jobs


@pytest.mark.parametrize(("model", "kept"), [("llama-3.1-8b", True), ("smollm2-135m", False)])
def test_a_large_model_s_weights_are_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, kept: bool
) -> None:
    """One that is quantised in seconds is not; nothing of the folder travels."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 10**13}))
    _, jobs = rows(tmp_path, model, "local")
    assert jobs
    for job in jobs:
        assert (job is not None) == kept
        assert job is None or str(tmp_path / "cache" / "quantised") in str(job)


def test_a_spot_machine_s_disk_has_room_for_them(tmp_path: Path) -> None:
    """292 GB of LongCat-Flash beside its 1,121 GB; a machine that nobody takes away keeps none, and no cache is named."""
    found, jobs = rows(tmp_path, "longcat-flash", "gcp")
    parts = {row.offer.market: row.assessment.disk.parts for row in found if row.assessment.disk}
    assert parts["spot"].quantised / GB == pytest.approx(292, abs=4)  # embeddings in float32 on some
    assert parts["on_demand"].quantised == 0
    assert set(map(str, jobs)) == {"None"}
