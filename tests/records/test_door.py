"""The one door: a document is a record or one named fault, whatever is in it; what is written is read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cloudtrain import records
from cloudtrain.errors import DamagedRecord, UsageError
from cloudtrain.records import IntentRecord, JournalRecord, MachineRecord, Record, read
from tests.records import intent, machine, row

STATES = Path(__file__).parent.parent / "state" / "data"
RENTED = STATES / "rented" / "runs" / "mine"
LEASE = {"owner": "o", "machine": "m", "host": "h", "pid": 1, "user": "u", "time": 1.0, "beat": "b"}
Document = dict[str, Any]


def document(path: Path) -> Document:
    """A document, or the first line of one that has lines."""
    text = path.read_text()
    found: Document = json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)
    return found


def samples() -> Iterator[tuple[type[Record], Document]]:
    """A whole document of every kind, as the version before records wrote it."""
    yield records.IntentRecord, document(RENTED / "intent.json")
    quoted = document(RENTED / "quote.json")
    yield records.QuoteRecord, quoted
    yield records.QuoteRecord, {**quoted, "line": {**quoted["line"], "disk_mb_per_s": 500}}
    yield records.MachineRecord, document(RENTED / "machine.json")
    yield records.Heartbeat, document(RENTED / "hb.json")
    yield records.AttemptRecord, document(RENTED / "attempts" / "001.json")
    yield records.TicketRecord, document(RENTED / "tickets" / "2.json")
    yield records.EventRecord, document(RENTED / "events.jsonl")
    yield records.JournalRecord, document(RENTED / "journal.jsonl")
    yield records.CandidatesRecord, {"places": json.loads((RENTED / "candidates.json").read_text())[:2]}
    yield records.FullPlacesRecord, {"until": document(STATES / "rented" / "places.json")}
    yield records.StateRecord, {"id": "0a1b2c3d", "created": 1796027678.5}
    yield records.ExitRecord, document(STATES / "finished" / "runs" / "mine" / "exit.json")
    yield records.GoneRecord, document(STATES / "finished" / "runs" / "mine" / "gone.json")
    yield records.MeasurementRecord, document(STATES / "finished" / "measurements.jsonl")
    yield records.PartsRecord, {"parts": 2, "bytes": 7}
    piece = {"name": "piece-00000.safetensors", "bytes": 7, "sha256": "0" * 64}
    yield records.KeptRecord, {"key": {"model": "m"}, "complete": True, "pieces": [piece]}
    yield records.LeaseRecord, LEASE
    yield records.BudgetsRecord, {"month_usd": "150", "week_usd": "40", "timezone": "Europe/Berlin"}
    yield (
        records.ReservationRecord,
        {"run": "mine", "usd": "14.20", "made": 1796027678.5, "until": 1796031278.5, "attempt": 2},
    )
    yield records.BillRecord, {"status": "final", "usd": "1.10", "asked": 1796027678.5, "source": "an API"}
    yield (
        records.ScheduleRecord,
        {
            "name": "nightly",
            "spec": "a.yaml",
            "at": "01:17",
            "timezone": "UTC",
            "latest_s": 3600.5,
            "made": 1796027678.5,
        },
    )
    yield records.NightRecord, {"date": "2026-11-30", "due": 1796027678.5, "begun": 1796027679.5, "outcome": "started"}
    yield records.BillingRecord, {"asked": 1796027678.5, "message": "asked for"}
    yield records.NoticesRecord, {"issue": 14, "author": "bot", "workflow": "disabled"}
    yield records.ToldRecord, {"nights": {"2026-11-30": "failed"}}
    yield (
        records.ProbeRecord,
        {
            "machine": "me",
            "time": 1796027678.5,
            "hardware": "cpu",
            "cores": 2,
            "bf16_flops_per_s": 1e11,
            "fp32_flops_per_s": 2e11,
        },
    )
    yield records.TickRecord, {"time": 1796027678.5, "outcome": "not due", "took_s": 0.5}


SAMPLES = list(samples())
EACH = pytest.mark.parametrize(("kind", "sample"), SAMPLES, ids=[kind.__name__ for kind, _ in SAMPLES])


def encoded(found: Any) -> bytes:
    """As bytes."""
    return json.dumps(found).encode()


def test_every_kind_has_a_sample() -> None:
    """Whoever adds a record adds a document of it here."""
    kinds = {each for each in vars(records).values() if isinstance(each, type) and issubclass(each, Record)}
    assert kinds - {Record, records.Figures} == {kind for kind, _ in SAMPLES}


@EACH
def test_a_document_without_a_version_is_read_and_gets_one(kind: type[Record], sample: Document) -> None:
    """Nothing else of it changes, and reading it again gives the same record."""
    found = read(kind, encoded(sample), "x")
    assert json.loads(found.as_bytes()) == {"version": 1, **sample}
    assert json.loads(found.as_line()) == {"version": 1, **sample}
    assert read(kind, found.as_bytes(), "x") == found
    assert b"\n" not in found.as_line()


@EACH
def test_an_unknown_field_is_kept_and_a_newer_version_refused(kind: type[Record], sample: Document) -> None:
    """A newer client's field is not lost when an older one writes the document again."""
    found = read(kind, encoded({**sample, "from_tomorrow": [1]}), "x")
    assert json.loads(found.as_bytes())["from_tomorrow"] == [1]
    with pytest.raises(DamagedRecord, match=r"has the version 2, and this cloudtrain reads 1") as refused:
        read(kind, encoded({**sample, "version": 2}), "x")
    assert refused.value.field == "version"


@EACH
@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[1]", b"7", b'"text"', b"\xff\xfe", b"[" * 5000, b"{}{}"])
def test_what_is_no_document_is_a_named_fault(kind: type[Record], sample: Document, data: bytes) -> None:
    """A usage error with the document's name and what to do."""
    with pytest.raises(DamagedRecord, match=r"state document `runs/a/x.json` in `here` is damaged") as refused:
        read(kind, data, "`runs/a/x.json` in `here`")
    assert isinstance(refused.value, UsageError)
    assert refused.value.hint


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def places(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document that a value can stand in."""
    children = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from places(value, (*path, key))


@EACH
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_a_document_holds_is_a_record_or_that_fault(
    kind: type[Record], sample: Document, data: st.DataObject
) -> None:
    """Any value in any place; what is read can be written and read again."""
    changed = json.loads(json.dumps(sample))
    *path, last = data.draw(st.sampled_from(list(places(sample))))
    at = changed
    for key in path:
        at = at[key]
    at[last] = data.draw(ANYTHING)
    try:
        found = read(kind, encoded(changed), "x")
    except DamagedRecord:
        return
    assert read(kind, found.as_bytes(), "x").as_document().keys() == found.as_document().keys()


@pytest.mark.parametrize(
    ("change", "says", "field"),
    [
        ({"deadline": "soon"}, "`deadline`: input should be a valid number", "deadline"),
        ({"deadline": True}, "`deadline`: input should be a valid number", "deadline"),
        ({"wanted": "sideways"}, "`wanted`: input should be 'up' or 'down'", "wanted"),
        ({"bundle": {"key": "k", "sha256": "s"}}, "`bundle.bytes` is missing", "bundle.bytes"),
        ({"guards": "many"}, "`guards`: input should be a valid array", "guards"),
        ({"agreed_usd": "much"}, "`agreed_usd`: input should be a valid decimal", "agreed_usd"),
    ],
)
def test_a_fault_names_its_field_and_never_the_value(change: Document, says: str, field: str) -> None:
    """Nobody knows what a damaged value holds."""
    with pytest.raises(DamagedRecord) as refused:
        read(IntentRecord, encoded({**intent().as_document(), **change}), "`x`")
    assert says in refused.value.message
    assert refused.value.field == field
    assert not any(str(value) in refused.value.message for value in ("soon", "sideways", "many", "much"))


@pytest.mark.parametrize("change", [{"deadline": "soon"}, {"unknown": 1}, {"attempt": 1.5}, {"version": 2}])
def test_a_record_is_made_strictly(change: Document) -> None:
    """No unknown field, no other type; also in a change of one."""
    with pytest.raises(ValidationError):
        intent(**change)
    with pytest.raises(ValidationError):
        intent().replace(**change)


def test_a_record_cannot_be_changed() -> None:
    """Whoever wants another one makes it."""
    with pytest.raises(ValidationError):
        intent().wanted = "down"  # type: ignore[misc]


def test_dollars_keep_their_digits_and_are_plain_text() -> None:
    """A frozen price is written as it was: trailing zeros stay, and there is no exponent."""
    for text in ("1.681800", "0.0000001", "1000", "0"):
        made = machine(usd_per_hour=Decimal(text))
        assert made.as_document()["usd_per_hour"] == text
        assert read(MachineRecord, made.as_bytes(), "x").usd_per_hour == Decimal(text)


def test_only_what_was_said_is_written() -> None:
    """Lines stay short, and a document holds nothing that nobody knew."""
    assert JournalRecord(time=1.0, phase="done", number="n").as_document() == {
        **{"version": 1, "time": 1.0, "phase": "done", "number": "n"}
    }
    assert "beside_usd_per_hour" not in row().model_dump(exclude_unset=True)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_a_loss_that_is_no_number_comes_through(text: str) -> None:
    """Python's trainers write it like that, and the account shows it."""
    found = read(records.ExitRecord, b'{"reason": "done", "loss": %s}' % text.encode(), "x")
    assert text.encode() in found.as_bytes()
