"""Where refreshed lists are kept: whole or not at all, whoever dies when."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.prices import folder, history, install
from cloudtrain.prices.records import Change, ListEntry
from tests.prices.answering import START, answer_with, only, same, times
from tests.prices.dying import dies_at


def entry(text: bytes, at: float = START, base: str = "") -> ListEntry:
    """What the manifest says of a list."""
    grew_from = base or folder.digest(folder.shipped_file("aws").read_bytes())
    return ListEntry(
        sha256=folder.digest(text), base_sha256=grew_from, asked_at=at, asked=1, kept=0, tool="1", source="pull"
    )


def change(usd: str, at: float = START) -> Change:
    """A line of history."""
    return Change(
        time=at, offer="x", region="r", zones="", market="spot", old=Decimal(1), new=Decimal(usd), source="test"
    )


def kept(text: bytes, at: float = START, *changes: Change) -> Path:
    """Install a list of AWS."""
    with install.lock():
        return install.install("aws", text, entry(text, at), changes)


def read() -> bytes | None:
    """The list that counts."""
    place = folder.refreshed().get("aws")
    return None if place is None else (place / "aws.csv").read_bytes()


def test_the_last_list_stays_for_who_looked_it_up() -> None:
    """Two are kept: a quote may just have been told of the former; older ones go."""
    places = [kept(f"list {number}".encode(), START + number) for number in range(4)]
    assert [place.exists() for place in places] == [False, False, True, True]
    assert read() == b"list 3"


def test_a_damaged_list_is_left_out_with_a_sentence() -> None:
    """A changed byte, a file that is gone, another version's rows: the shipped prices count, and nothing fails."""
    path = kept(b"some list") / "aws.csv"
    path.write_bytes(b"some lisT")
    assert "damaged" in folder.look().left_out["aws"]
    path.unlink()
    assert read() is None
    with install.lock():
        install.install("aws", b"other", entry(b"other", base="0" * 64))
    assert "another version" in folder.look().left_out["aws"]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'{"version": 2, "lists": {}}', b'{"version": 1, "lists": {"aws": 3}}']
)
def test_a_damaged_manifest_names_no_list(text: bytes) -> None:
    """And is replaced by the next list."""
    kept(b"some list")
    (folder.folder() / folder.MANIFEST).write_bytes(text)
    found = folder.look()
    assert not found.lists
    assert found.left_out
    kept(b"another", START + 1)
    assert read() == b"another"


def test_a_catalogue_of_ones_own_hides_refreshed_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was named is what is read."""
    kept(b"some list")
    monkeypatch.setenv("CLOUDTRAIN_CATALOG", str(tmp_path))
    assert read() is None


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the variable that moves it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLOUDTRAIN_PRICES", str(tmp_path / "file" / "prices"))
    assert folder.refreshed() == {}
    with pytest.raises(UsageError) as refused:
        kept(b"some list")
    assert "CLOUDTRAIN_PRICES" in refused.value.hint


def test_the_history_keeps_every_change_once() -> None:
    """In order, by price; a torn line is passed over, and the one after it is whole."""
    kept(b"1", START, change("2"))
    with history.path_of("aws").open("ab") as file:
        file.write(b'{"version": 1, "time"')
    kept(b"2", START + 1, change("3"), change("4", START + 1))
    assert [str(line.new) for line in history.changes("aws", "x", "r", "", "spot")] == ["2", "3", "4"]
    assert history.changes("aws", "y") == []


def test_the_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The older half goes."""
    monkeypatch.setattr(history, "MOST_BYTES", 2000)
    for number in range(30):
        kept(f"list {number}".encode(), START + number, change(str(number + 1), START + number))
    found = [int(line.new or 0) for line in history.changes("aws")]
    assert found == list(range(found[0], 31))
    assert 4 < len(found) < 20
    assert history.path_of("aws").stat().st_size <= 2000


def test_a_death_at_any_step_leaves_one_whole_list() -> None:
    """The old or the new one, the history says which change happened, and the next one goes through."""
    kept(b"old" * 100, START, change("2"))
    step, seen = 1, set()
    while True:
        new, at = f"new {step} ".encode() * 100, START + step
        before = read()
        was_dead = dies_at(step, lambda new=new, at=at: kept(new, at, change("3", at)))
        found = read()
        assert found in (before, new)
        told = [line.time for line in history.changes("aws")]
        assert (at in told) is (found == new)
        assert len(told) == len(set(told))
        seen.add(found == new)
        if not was_dead:
            break
        step += 1
    assert seen == {True, False}
    assert step > 20
    assert len([path for path in folder.folder().iterdir() if path.is_dir()]) == 3  # two lists and the history


def test_a_second_process_waits_and_reuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both refresh at once: one asks, the other finds a list that is new enough."""
    asked = folder.folder().parent / "asked"

    def answers(rows, seconds):  # type: ignore[no-untyped-def]
        with open(asked, "ab") as file:
            os.write(file.fileno(), b"1")
        return same(rows, seconds)

    answer_with(monkeypatch, "aws", answers)
    children = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            try:
                os._exit(0 if only("aws").state in ("renewed", "unchanged") else 2)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    assert asked.read_bytes() == b"1"


def test_a_refresh_that_dies_leaves_the_old_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole: every row of one day."""
    answer_with(monkeypatch, "runpod", same)
    only("runpod")
    answer_with(monkeypatch, "runpod", times("1.1"))
    before = (folder.refreshed()["runpod"] / "runpod.csv").read_bytes()
    assert dies_at(4, lambda: only("runpod", START + 86400))
    assert (folder.refreshed()["runpod"] / "runpod.csv").read_bytes() == before
