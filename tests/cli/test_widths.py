"""Every command that prints data, at terminals of 60, 80 and 120 columns: no line is wider, and no word is cut."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloudtrain.cli.tables import uncoloured
from cloudtrain.providers import Finding, OwnedResource
from cloudtrain.records import EventRecord, MeasurementRecord
from cloudtrain.runs.chunks import log_key
from cloudtrain.runs.results.measurements import FILE
from cloudtrain.settings import boxes
from cloudtrain.state.layout import EVENTS
from cloudtrain.state.store import LocalFolder
from tests.cli.conftest import GOLDEN
from tests.conftest import NOW, Result
from tests.report.states import DAY_S, FIRST, ended, fortnight, put_night
from tests.terminal import columns

NAME = "llama-3.3-70b-instruct-support-tickets-qlora-2026-11"
LIVING = f"{NAME}-0a1b2c"
PATH = "/home/somebody/.local/share/cloudtrain/" + "nested/" * 9 + "state"
URL = "https://console.cloud.google.com/iam-admin/quotas?project=a-project-with-a-name"

LOG = b"""{"event": "data", "time": 1, "rows": 48, "tokens": 2512, "steps": 12}
{"event": "step", "time": 2, "step": 3, "of": 12, "loss": 3.557, "tokens_per_second": 152.0, "tokens": 600}
{"event": "compute", "time": 3, "type": "fp32", "why": "1.9 times as fast as bf16 in the products of this model here"}
{"event": "step", "time": 4, "step": "no number", "loss": "none"}
{"event": "unheard of", "time": 5, "words": "\\u001b[31m and some more"}
FutureWarning: of a library
"""


@pytest.fixture
def store(own_world: Path, monkeypatch: pytest.MonkeyPatch, this_machine: Callable[..., None]) -> LocalFolder:
    """A state with long names everywhere."""
    monkeypatch.setenv("CLOUDTRAIN_NOW", NOW)
    store = LocalFolder(own_world / "state")
    fortnight(store)
    long = ended(store, LIVING, FIRST + 14 * DAY_S, 1.0, offer="n2-highmem-128 x1 in northamerica-northeast1-b")
    put_night(
        store, f"{NAME}-nightly", 13, "failed", LIVING, "the trainer ended with an error of its own: " + "oh " * 40
    )
    for event in (
        EventRecord(time=FIRST, actor="client", event="launching", offer="n2-highmem-128", attempt=1),
        EventRecord(time=FIRST + 60, actor="machine", event="phase", message="word " * 30, path=PATH),
    ):
        store.append(long.key(EVENTS), event.as_line())
    store.write(log_key(long, 0), LOG)
    store.append(
        FILE,
        MeasurementRecord(
            hardware="cpu-graviton4", count=192, run=LIVING, time=FIRST, model="meta-llama/Llama-3.3-70B-Instruct",
            method="qlora", stack="trl-cpu", provider="aws", tokens=400_000_000, steps=200_000, sequence_length=131_072,
            load=0.02, tokens_per_second=123.4, flops_per_s=6e12, peak_bytes=900_000_000_000, required_bytes=1,
        ).as_line(),
    )  # fmt: skip
    boxes.write((boxes.Kept("AMD Instinct MI300X:8", "", "6000"), boxes.Kept("M4 Max", "128GiB", "")))
    return store


def doctor() -> None:
    """Findings with a path and an address."""
    from cloudtrain.cli import doctor
    from cloudtrain.doctor.checks import Entry

    asks = f"Compute Engine does not report it; ask for more at {URL}"
    findings = [
        Entry("gcp", Finding("quota TPU-V5P-per-project-region and PREEMPTIBLE-TPU-V5P", "unknown", asks), 0),
        Entry("gcp", Finding("Compute Engine permissions", "ok", "all 30"), 0),
        Entry("this machine", Finding("state", "problem", f"{PATH} cannot be written", "see its owner and rights"), 1),
        Entry("this machine", Finding("run records", "ok", "12 of 12 can be read"), 0),
    ]
    doctor.show(findings, "table")


def sweep() -> None:
    """A machine that is left over, and one of another state."""
    from cloudtrain.cli import sweep
    from cloudtrain.runs.leftovers.judging import Leftover
    from cloudtrain.runs.sweep import ProviderAnswer

    resource = f"projects/a-project/zones/us-central1-a/instances/cloudtrain-{LIVING}"
    owned = OwnedResource("1a2b3c4d-0a1b2c3d", resource, "virtual machine", expires=FIRST, usd_per_hour=Decimal("2.5"))
    disk = OwnedResource("1a2b3c4d-0a1b2c3d", "vol-0123456789abcdef0", "disk", expires=FIRST)
    why = "its run has ended, with proof, and the machine was seen again after it"
    sweep.show(
        [ProviderAnswer("gcp", [Leftover("gcp", owned, why), Leftover("aws", disk, "", "deadbeef")], None)], "table"
    )


def images() -> None:
    """An image with two names."""
    from cloudtrain.cli import image
    from cloudtrain.cli.output import print_rows

    names = ("registry.example.com/a-team/cloudtrain-trainer:torch-cpu-0123456789ab", "cloudtrain-trainer:cpu")
    one = SimpleNamespace(
        names=names, flavour="longcat", size_bytes=9 * 10**9, created="2026-11-30T00:00:00Z", torch="pypi", current=True
    )
    print_rows("table", image.COLUMNS, [image.row(one, "table")])


def plan() -> None:
    """The plan of a rented machine."""
    from cloudtrain.cli.up.screen import show_plan

    rows = [
        ("what", "qlora of meta-llama/Llama-3.3-70B-Instruct, TRL 0.24 on PyTorch 2.9 for ROCm 7.0, with bitsandbytes"),
        ("where", "AMD Instinct MI300X OAM x8 (runpod), 8 x MI300X, on_demand, northamerica-northeast1"),
        ("cost", "$12.34 ($10.00 .. $20.00); at the most $60.00, all machines together"),
        ("kept", f"checkpoints, log and result below {PATH}"),
    ]
    show_plan(f"plan: {LIVING}", rows)


def told() -> None:
    """An error with a hint."""
    from cloudtrain.cli import complain

    complain(
        f"run `{LIVING}` cannot be started in `{PATH}`: the folder is not there " + "at all " * 9, f"look\n{URL}", 2
    )


SHOWN: dict[str, tuple[str, ...] | Callable[[], None]] = {
    "ps": ("ps", "-a"),
    "report": ("report",),
    "report-week": ("report", "--by", "week"),
    "report-spec": ("report", "--by", "spec"),
    "report-one": ("report", LIVING),
    "report-trend": ("report", "--trend"),
    "models": ("models",),
    "estimate": ("estimate", "longcat-flash", "--explain"),
    "throughput": ("throughput", "longcat-flash", "--hardware", "mi300x:8"),
    "measurements": ("measurements", "list"),
    "hardware": ("hardware", "list"),
    "budget": ("budget", "show"),
    "night": ("night", "history"),
    "events": ("events", LIVING),
    "config": ("config", "show"),
    "schema": ("schema",),
    "logs": ("logs", LIVING),
    "unknown-run": ("report", "nope"),
    "doctor": doctor,
    "sweep": sweep,
    "image": images,
    "plan": plan,
    "error": told,
}


def printed(what: tuple[str, ...] | Callable[[], None], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What it shows at a terminal of so many columns, without colours."""
    from cloudtrain.cli import run

    with columns(width, monkeypatch) as shown:
        if callable(what):
            what()
        else:
            run(list(what))
    return uncoloured(shown())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", sorted(SHOWN))
def test_no_line_is_wider_and_no_word_is_cut(
    store: LocalFolder, monkeypatch: pytest.MonkeyPatch, name: str, width: int
) -> None:
    """Each word is one that a very wide terminal shows, and a line that is too long is one word, alone."""
    text = printed(SHOWN[name], width, monkeypatch)
    too_wide = [line for line in text.splitlines() if len(line) > width and " " in line.strip()]
    assert too_wide == []
    whole = printed(SHOWN[name], 2000, monkeypatch).replace("metered/quoted", "metered/quoted ").split()
    known = {word.rstrip(":;,") for word in whole} | {"not", "shown", "-o", "csv", "has", "everything"}
    unknown = {word for word in text.split() if word.rstrip(":;,") not in known}
    assert {word for word in unknown if not set(word) <= set("▁▂▃▄▅▆▇█·")} == set()
    assert text


@pytest.mark.parametrize("name", sorted(set(SHOWN) - {"config", "unknown-run"}))  # they name folders of here
def test_eighty_columns_show_what_they_did(store: LocalFolder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whole screens, to be read; UPDATE_GOLDEN=1 writes them anew."""
    text = printed(SHOWN[name], 80, monkeypatch)
    path = GOLDEN / "at-80" / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_log_is_sentences_at_a_terminal_and_bytes_elsewhere(
    store: LocalFolder, monkeypatch: pytest.MonkeyPatch, cloudtrain: Callable[..., Result]
) -> None:
    """Also of events whose figures are none; control characters of a machine's words are spelled out."""
    assert cloudtrain("logs", LIVING).out.encode() == LOG
    assert printed(("logs", LIVING, "-o", "raw"), 80, monkeypatch).encode() == LOG
    assert printed(("logs", LIVING, "--offset", "0"), 80, monkeypatch).encode() == LOG
    lines = printed(("logs", LIVING), 80, monkeypatch).splitlines()
    assert "step 3/12, loss 3.557, 152 tokens/s" in lines
    assert "step: step no number, loss none" in lines
    assert r"unheard of: words \x1b[31m and some more" in lines
    assert "FutureWarning: of a library" in lines


def test_states_have_colours_at_a_terminal_only(store: LocalFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither with NO_COLOR nor in CSV; a coloured table is as wide as a plain one."""
    from cloudtrain.cli import run

    seen = {}
    for name, argv in {"plain": ("ps", "-a"), "coloured": ("ps", "-a"), "csv": ("ps", "-a", "-o", "csv")}.items():
        if name != "plain":
            monkeypatch.delenv("NO_COLOR", raising=False)
        with columns(80, monkeypatch) as shown:
            run(list(argv))
        seen[name] = shown()
    assert "\x1b[32mfinished\x1b[0m" in seen["coloured"]
    assert "\x1b[31mfailed\x1b[0m" in seen["coloured"]
    assert uncoloured(seen["coloured"]) == seen["plain"]
    assert "\x1b" not in seen["plain"]
    assert "\x1b[3" not in seen["csv"]


def test_what_was_asked_for_is_no_error(monkeypatch: pytest.MonkeyPatch, own_world: Path) -> None:
    """Ctrl-C and a stop on request are told plainly; an error has its label, in red at a terminal."""
    from cloudtrain.cli import complain

    monkeypatch.delenv("NO_COLOR", raising=False)
    told = {}
    for code in (2, 103, 130):
        with columns(80, monkeypatch) as shown:
            assert complain("left `mine` running", "`cloudtrain down mine` ends it", code) == code
        told[code] = shown().splitlines()
    assert told[2][0] == "\x1b[31m\x1b[1merror\x1b[0m: left `mine` running"
    assert told[103] == told[130] == ["left `mine` running", "hint: `cloudtrain down mine` ends it"]
