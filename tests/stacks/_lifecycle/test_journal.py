"""The journal keeps what was about to be asked, whatever happens to its last line, its writers and the clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.errors import Cancelled, Quota
from cloudtrain.records import JournalRecord, read
from cloudtrain.state.store import LocalFolder
from tests.stacks._lifecycle.protocol_world import INPUTS, journal

KEY = "runs/r/journal.jsonl"


@pytest.fixture
def records(tmp_path: Path) -> Any:
    """An empty journal."""
    return journal.Journal(LocalFolder(tmp_path), "r")


def test_an_intent_is_open_until_its_own_answer(records: Any) -> None:
    """Answers find their intents by number, in any order, and a refusal is an answer."""
    one, two, three = (records.intend("create", "p", "box", INPUTS) for _ in range(3))
    records.answered(three, "i3")
    records.refused(two, Quota("too many", "ask for more"))
    found = {intent.number: (intent.answer, intent.id) for intent in records.intents()}
    assert found == {one: ("", ""), two: ("failed", ""), three: ("done", "i3")}
    assert records.last_refusal(1) == ("Quota", "too many", "ask for more")
    assert records.last_refusal(2) is None


def test_giving_up_is_no_answer(records: Any) -> None:
    """What was sent and then given up may still come."""
    number = records.intend("create", "p", "box", INPUTS)
    records.abandoned(number, Quota("patience"))
    assert [intent.answer for intent in records.intents()] == [""]


@given(cut=st.integers(0, 2000), tail=st.binary(max_size=20))
def test_a_journal_cut_anywhere_keeps_its_whole_lines_and_knows_that_it_is_not_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int, tail: bytes
) -> None:
    """Whatever bytes the end consists of: whole lines are read, and a line that is not readable is noticed."""
    store = LocalFolder(tmp_path_factory.mktemp("cut"))
    records = journal.Journal(store, "r")
    for number in range(3):
        records.answered(records.intend("create", "p", "box", {**INPUTS, "n": number}), f"i{number}")
    text = store.read(KEY) or b""
    cut = min(cut, len(text))
    store.write(KEY, text[:cut] + tail)
    complete = text[:cut].count(b"\n")
    lines = records.lines()
    assert lines[: complete - 1] == [
        read(JournalRecord, line, "") for line in text.splitlines()[: max(0, complete - 1)]
    ]
    torn = (text[:cut] + tail).rpartition(b"\n")[2].strip()
    if torn and not readable(torn):
        assert not records.whole


def readable(line: bytes) -> bool:
    """Whether it is a document."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def test_a_line_after_a_torn_one_is_not_lost(records: Any) -> None:
    """The next writer begins a line of its own."""
    records.intend("create", "p", "box", INPUTS)
    text = records.store.read(KEY)
    records.store.write(KEY, text + text[: len(text) // 2])
    number = records.intend("create", "p", "box", INPUTS)
    assert records.intents()[-1].number == number
    assert not records.whole


def test_no_journal_is_not_a_whole_one(records: Any) -> None:
    """Where nothing is written, nothing is proven; one line is enough for an honest empty record."""
    assert not records.whole
    records.store.append(KEY, b'{"time": 1.0, "phase": "intent", "call": "start"}')
    assert records.whole
    assert records.intents() == []


def test_two_writers_lose_nothing(records: Any, tmp_path: Path) -> None:
    """Two clients write line by line."""
    import threading

    other = journal.Journal(LocalFolder(tmp_path), "r")
    threads = [
        threading.Thread(target=lambda w=writer: [w.intend("create", "p", "box", INPUTS) for _ in range(50)])
        for writer in (records, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({intent.number for intent in records.intents()}) == 100
    assert records.whole


def test_a_tombstone_never_shrinks_and_stops_its_attempt_and_those_before(records: Any) -> None:
    """A later attempt may go on."""
    records.check_cancelled(1)
    records.mark_cancelled(3)
    records.mark_cancelled(2)
    assert records.cancelled_attempt() == 3
    for attempt in (1, 2, 3):
        with pytest.raises(Cancelled):
            records.check_cancelled(attempt)
    records.check_cancelled(4)


@pytest.mark.parametrize(
    ("wall_s", "uptime_s", "boot", "age_s"),
    [
        (5.0, 5.0, "same", 5.0),
        (3605.0, 5.0, "same", 5.0),  # the clock was moved forward
        (-3595.0, 5.0, "same", -3595.0),  # ... or back: from the future
        (100.0, 4000.0, "same", 100.0),
        (3605.0, 5.0, "another", 0.0),  # another machine: its clock tells nothing
    ],
)
def test_an_intent_is_as_old_as_the_smaller_of_two_ages(
    tmp_path: Path, wall_s: float, uptime_s: float, boot: str, age_s: float
) -> None:
    """By the clock, and by the time since boot when it is the same boot."""
    instant, steady = [1e9], [("same", 50.0)]
    records = journal.Journal(LocalFolder(tmp_path), "r", lambda: instant[0], lambda: steady[0])
    records.intend("create", "p", "box", INPUTS)
    instant[0] += wall_s
    steady[0] = (boot, 50.0 + uptime_s)
    assert records.age_s(records.intents()[0]) == pytest.approx(age_s)


def test_a_line_without_a_boot_is_as_old_as_the_clock_says(records: Any) -> None:
    """Journals of an earlier version and of machines that do not tell."""
    number = records.intend("create", "p", "box", INPUTS)
    (line,) = records.lines()
    records.store.write(
        KEY, json.dumps({k: v for k, v in line.as_document().items() if k not in ("boot", "uptime_s")}).encode()
    )
    (intent,) = records.intents()
    assert (intent.number, intent.boot) == (number, "")
    assert records.age_s(intent) == pytest.approx(0.0, abs=5.0)
