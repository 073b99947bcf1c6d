"""`cloudtrain report` over many runs: sums, trends, a summary and a page, in 80 columns and by schema."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloudtrain.cli import output
from cloudtrain.cli.report import lists
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.report.states import DAY_S, FIRST, ended, fortnight

Command = Callable[..., Result]
LONG = "a-name-of-a-model-that-nobody-could-read-in-one-breath-qlora"


@pytest.fixture
def store(own_world: Path) -> LocalFolder:
    """A state with fourteen nights, and runs that no night began."""
    store = LocalFolder(own_world / "state")
    fortnight(store)
    ended(store, f"{LONG}-abcdef", FIRST - 20 * DAY_S, 1.0, offer="n2-highmem-32 x1 in europe-west4-b")
    return store


@pytest.fixture
def eighty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    for module in (output, lists):
        monkeypatch.setattr(module, "terminal_width", lambda: 80)


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("report-runs", ["report"]),
        ("report-by-week", ["report", "--by", "week"]),
        ("report-by-month", ["report", "--by", "month"]),
        ("report-by-provider", ["report", "--by", "provider"]),
        ("report-by-spec", ["report", "--by", "spec"]),
        ("report-trend", ["report", "--trend"]),
        ("report-one", ["report", "llama-3.1-8b-qlora-00000d"]),
    ],
)
def test_whole_outputs_fit_eighty_columns(
    golden: Command, store: LocalFolder, eighty: None, name: str, argv: list[str]
) -> None:
    """What a person reads."""
    shown = golden(name, *argv).out
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("report-markdown", ["report", "-o", "md"]),
        ("report-two-at-once", ["report", "--by", "week", "--trend"]),
        ("report-run-and-sums", ["report", "nope", "--by", "week"]),
        ("report-by-nonsense", ["report", "--by", "weak"]),
        ("report-html-nowhere", ["report", "--html", "no/such/folder/page.html"]),
    ],
)
def test_whole_outputs_elsewhere(golden: Command, store: LocalFolder, name: str, argv: list[str]) -> None:
    """A summary for a CI step, and what is refused."""
    golden(name, *argv)


@pytest.mark.parametrize(
    "more", [(), ("--by", "week"), ("--by", "month"), ("--by", "provider"), ("--by", "spec"), ("--trend",)]
)
def test_json_follows_its_schema(cloudtrain: Command, store: LocalFolder, more: tuple[str, ...]) -> None:
    """A list without options, as ever; an object with them. Of an empty state too."""
    schema = json.loads(cloudtrain("schema", "report").out)
    found = cloudtrain("report", *more, "-o", "json")
    assert found.code == 0
    document = json.loads(found.out)
    jsonschema.validate(document, schema)
    assert isinstance(document, dict if more else list)
    store.delete("runs")
    jsonschema.validate(json.loads(cloudtrain("report", *more, "-o", "json").out), schema)


def test_one_run_follows_the_schema_too(cloudtrain: Command, store: LocalFolder) -> None:
    """With its ratio, its dollars for a million tokens and its losses."""
    found = json.loads(cloudtrain("report", "llama-3.1-8b-qlora-000000", "-o", "json").out)
    jsonschema.validate(found, json.loads(cloudtrain("schema", "report").out))
    assert (found["metered_to_quoted"], found["usd_per_million_tokens"], found["eval_loss"]) == (1.1, "1.1", 1.6)


def test_every_rendering_has_the_sums_of_the_json(cloudtrain: Command, store: LocalFolder, tmp_path: Path) -> None:
    """Terminal, JSON of sums, CSV, Markdown and page, to the cent."""
    runs: list[dict[str, Any]] = json.loads(cloudtrain("report", "-o", "json").out)
    metered = sum(Decimal(run["metered_usd"]) for run in runs if run["metered_usd"] is not None)
    billed = sum(Decimal(run["billed_usd"]) for run in runs if run["billed_usd"] is not None)
    sums = json.loads(cloudtrain("report", "--by", "week", "-o", "json").out)
    total = sums["total"]
    assert (Decimal(total["metered"]["usd"]), total["metered"]["unknown"]) == (metered, 1)
    assert (Decimal(total["billed"]["usd"]), total["billed"]["unknown"]) == (billed, 4)
    assert sum(Decimal(group["metered"]["usd"] or 0) for group in sums["groups"]) == metered
    assert f"${metered:,.2f}" in cloudtrain("report").out
    assert f"**${metered:,.2f}+?** metered in 12 runs" in cloudtrain("report", "-o", "md").out
    rows = list(csv.DictReader(io.StringIO(cloudtrain("report", "--by", "spec", "-o", "csv").out)))
    assert sum(Decimal(row["metered $"].strip("$+?")) for row in rows) == metered.quantize(Decimal("0.01"))
    assert cloudtrain("report", "--html", str(tmp_path / "page.html")).code == 0
    assert f"<dd>${metered:,.2f}+?" in (tmp_path / "page.html").read_text()


def test_a_page_is_written_whole_and_said(cloudtrain: Command, store: LocalFolder, tmp_path: Path) -> None:
    """Nothing is printed unless `-o` asks for it; an old page is replaced."""
    page = tmp_path / "page.html"
    page.write_text("old")
    ended = cloudtrain("report", "--html", str(page))
    assert (ended.code, ended.out) == (0, "")
    assert "12 runs, 14 nights" in ended.err
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert cloudtrain("report", "--html", str(page), "-o", "md").out == cloudtrain("report", "-o", "md").out
    assert json.loads(cloudtrain("report", "--html", str(page), "-o", "json").out)[0]["run"]


def test_a_damaged_run_is_summed_nowhere_and_ends_with_2(
    cloudtrain: Command, store: LocalFolder, tmp_path: Path
) -> None:
    """The others are told, the page says so too."""
    store.write("runs/bad/intent.json", b"[1]")
    page = tmp_path / "page.html"
    for more in (("--by", "week"), ("--trend",), ("-o", "md"), ("--html", str(page))):
        ended = cloudtrain("report", *more)
        assert ended.code == 2
        assert "bad/intent.json" in ended.err
        assert "llama" in ended.out or "2026-11" in ended.out or more[0] == "--html"
    assert "1 record cannot be read and not counted" in page.read_text()


def test_what_a_run_was_given_is_in_no_report(cloudtrain: Command, store: LocalFolder, tmp_path: Path) -> None:
    """Its spec, its token and its ticket may hold secrets; nothing of them is printed or drawn."""
    secret, page = "hf_planted0123456789", tmp_path / "page.html"
    for name in ("spec.yaml", "hub-token", "ticket.json", "machine/log/0000000000000000"):
        store.write(f"runs/llama-3.1-8b-qlora-000000/{name}", f"token: {secret}".encode())
    options = ((), ("-o", "json"), ("-o", "md"), ("--by", "spec"), ("--trend",))
    assert cloudtrain("report", "--html", str(page)).code == 0
    told = [page.read_text(), *(cloudtrain("report", *more).out for more in options)]
    assert all("llama" in each for each in told)
    assert not [each for each in told if secret in each]


def test_csv_holds_the_plain_figures_of_the_json(cloudtrain: Command, store: LocalFolder) -> None:
    """Under unique names, an empty cell where nothing is known; every run is a row."""
    head, *rows = csv.reader(io.StringIO(cloudtrain("report", "-o", "csv").out))
    assert len(set(head)) == len(head)
    assert len(rows) == 12
    accounts = {each["run"]: each for each in json.loads(cloudtrain("report", "-o", "json").out)}
    words = {"run", "state", "offer", "started_at", "provider", "spec", "billed_status"}
    for cells in rows:
        row = dict(zip(head, cells, strict=True))
        account = accounts[row["run"]]
        for name in ("metered_usd", "billed_usd", "usd_per_million_tokens"):
            assert row[name] == (account[name] or "")
        assert row["quoted_usd_high"] == (account["quoted_usd"] or {"high": ""})["high"]
        assert not [name for name, cell in row.items() if name not in words and cell and not is_number(cell)]


def is_number(text: str) -> bool:
    """Whether a spreadsheet would add it up."""
    try:
        return float(text) >= 0
    except ValueError:
        return False
