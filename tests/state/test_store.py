"""What a state promises, wherever it lies: the same promises for a folder, for S3 and for an object store in memory."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloudtrain.records import FullPlacesRecord
from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import LocalFolder, open_store, read_record, write_record

URL = "s3://states/team/a?region=us-west-2"
KINDS = ("folder", "s3", "memory")


@pytest.fixture(scope="module")
def cloud() -> Iterator[AwsCloud]:
    """One account for all tests here; each has a bucket of its own."""
    made = AwsCloud()
    yield made
    made.stop()


@pytest.fixture
def bucket(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """The account with an empty bucket `states`, found by the environment."""
    cloud.reset()
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    s3.make_bucket(cloud, "states")
    return cloud


@pytest.fixture(params=KINDS)
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Open the same state, as another client does."""
    if request.param == "folder":
        return lambda: open_store(str(tmp_path))
    if request.param == "s3":
        request.getfixturevalue("bucket")
        return lambda: open_store(URL)
    from obstore.store import MemoryStore

    objects = MemoryStore()
    return lambda: ObjectFolder("gs://states/team/a", objects)


@pytest.fixture
def store(again: Callable[[], Store]) -> Store:
    """An empty state."""
    return again()


def test_what_is_written_is_read_by_another_client(store: Store, again: Callable[[], Store]) -> None:
    """Documents are replaced whole; absent ones are None."""
    assert store.read("runs/a/x.json") is None
    write_record(store, "runs/a/x.json", FullPlacesRecord(until={"one": 1.0}))
    write_record(store, "runs/a/x.json", FullPlacesRecord(until={"two": 2.0}))
    found = read_record(again(), "runs/a/x.json", FullPlacesRecord)
    assert found is not None
    assert found.until == {"two": 2.0}


def test_only_the_first_creates(store: Store, again: Callable[[], Store]) -> None:
    """The second create of a key is refused, and changes nothing, also with the same bytes."""
    store.create("runs/a/intent.json", b"mine")
    for data in (b"yours", b"mine"):
        with pytest.raises(AlreadyThere, match="intent"):
            again().create("runs/a/intent.json", data)
    assert store.read("runs/a/intent.json") == b"mine"


def test_one_of_many_creates(again: Callable[[], Store]) -> None:
    """Of eight clients at once exactly one wins."""

    def race(number: int) -> bool:
        try:
            again().create("runs/a/intent.json", str(number).encode())
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(8) as clients:
        assert list(clients.map(race, range(8))).count(True) == 1


def test_lines_come_back_in_order_and_whole(store: Store, again: Callable[[], Store]) -> None:
    """A journal is what was appended, with one end per line."""
    for number in range(12):
        store.append("runs/a/journal.jsonl", b"%d" % number + b"\n" * (number % 2))
    assert store.read("runs/a/journal.jsonl") == b"".join(b"%d\n" % n for n in range(12))
    again().append("runs/a/journal.jsonl", b"12")
    assert (store.read("runs/a/journal.jsonl") or b"").splitlines()[-1] == b"12"


def test_two_writers_lose_nothing(again: Callable[[], Store]) -> None:
    """Lines of several clients at once are all there, each whole."""

    def write(client: int) -> None:
        here = again()
        for number in range(10):
            here.append(
                "runs/a/journal.jsonl", json.dumps({"client": client, "number": number, "x": "y" * 300}).encode()
            )

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(write, range(4)))
    lines = [json.loads(line) for line in (again().read("runs/a/journal.jsonl") or b"").splitlines()]
    assert sorted((line["client"], line["number"]) for line in lines) == [(c, n) for c in range(4) for n in range(10)]


def test_a_line_being_written_is_not_taken_for_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many writers without a pause leave no empty line between theirs."""
    monkeypatch.setattr("os.fsync", lambda handle: None)  # it would keep them apart

    def write(client: int) -> None:
        for _ in range(200):
            LocalFolder(tmp_path).append("runs/a/journal.jsonl", b"y" * 300)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(write, range(8)))
    lines = (LocalFolder(tmp_path).read("runs/a/journal.jsonl") or b"").splitlines()
    assert lines == [b"y" * 300] * 1600


def test_a_part_is_read_by_offset(store: Store) -> None:
    """Ranges are cut at the end; behind it, and in an absent document, there is nothing."""
    store.write("runs/a/log/0", b"0123456789")
    assert store.read_from("runs/a/log/0", 3, 4) == b"3456"
    assert store.read_from("runs/a/log/0", 8, 40) == b"89"
    assert store.read_from("runs/a/log/0", 10, 4) == b""
    assert store.read_from("runs/a/log/0", 99, 4) == b""
    assert store.read_from("runs/a/log/1", 0, 4) == b""
    assert (store.size("runs/a/log/0"), store.size("runs/a/log/1")) == (10, 0)


def test_names_below_a_key_are_listed_once(store: Store) -> None:
    """Documents, folders and journals have one name each; hidden ones are none; similar beginnings do not mix."""
    store.write("runs/a/x.json", b"1")
    store.write("runs/a/log/0", b"1")
    store.write("runs/a/.hidden", b"1")
    store.append("runs/a/journal.jsonl", b"1")
    store.append("runs/a/journal.jsonl", b"2")
    store.write("runs/ab/y.json", b"1")
    assert store.children("runs") == ["a", "ab"]
    assert store.children("runs/a") == ["journal.jsonl", "log", "x.json"]
    assert store.children("nowhere") == []
    store.write("runs/a/out/deep/er.bin", b"1")
    store.write("runs/a/out/top.txt", b"1")
    assert store.files("runs/a/out") == ["deep/er.bin", "top.txt"]
    assert store.files("runs/b") == []


def test_deleting_takes_everything_below_and_nothing_beside(store: Store) -> None:
    """A key, what lies below it and its lines go; a key that only begins alike stays; absent is fine."""
    for key in ("runs/a/pulumi/x", "runs/a/pulumi/.pulumi/y", "runs/a/pulumi2/z", "runs/a/kill"):
        store.write(key, b"1")
    store.append("runs/a/journal.jsonl", b"1")
    for key in ("runs/a/pulumi", "runs/a/kill", "runs/a/kill", "runs/a/journal.jsonl", "runs/a/nothing"):
        store.delete(key)
    assert store.children("runs/a") == ["pulumi2"]
    assert store.read("runs/a/journal.jsonl") is None
    assert store.files("runs/a") == ["pulumi2/z"]


def test_a_lease_is_held_by_one_and_free_afterwards(store: Store, again: Callable[[], Store]) -> None:
    """While it is held nobody else gets it; then anybody does, also after the block failed."""

    def block() -> None:
        with store.hold("runs/a/client.lock"):
            with pytest.raises(AlreadyThere, match=str(os.getpid())), again().hold("runs/a/client.lock"):
                pytest.fail("two hold it")
            raise KeyError

    with pytest.raises(KeyError):
        block()
    with again().hold("runs/a/client.lock"):
        pass


def test_of_many_one_holds_the_lease(again: Callable[[], Store]) -> None:
    """Eight clients at once: never two inside."""
    inside, most, lock = 0, 0, threading.Lock()
    everybody = threading.Barrier(8)

    def race(number: int) -> None:
        nonlocal inside, most
        everybody.wait()
        try:
            with again().hold("runs/a/client.lock"):
                with lock:
                    inside += 1
                    most = max(most, inside)
                threading.Event().wait(0.05)
                with lock:
                    inside -= 1
        except AlreadyThere:
            pass

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(race, range(8)))
    assert (inside, most) == (0, 1)


def test_a_place_is_named_for_a_person(store: Store) -> None:
    """Where a run's documents lie can be said, without the query of an address."""
    place = store.place("runs/a/")
    assert place.endswith("/runs/a")
    assert "?" not in place


def test_a_torn_line_does_not_merge_with_the_next(tmp_path: Path) -> None:
    """A power cut in a line costs that line only."""
    store = LocalFolder(tmp_path)
    (tmp_path / "journal.jsonl").write_bytes(b'{"one": 1}\n{"tw')
    store.append("journal.jsonl", b'{"three": 3}')
    assert (store.read("journal.jsonl") or b"").splitlines() == [b'{"one": 1}', b'{"tw', b'{"three": 3}']


def test_a_line_has_reached_the_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is written ahead: the line is synced, and so is the name of a new file."""
    synced = []
    real = os.fsync

    def watched(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", watched)
    store = LocalFolder(tmp_path)
    store.append("journal.jsonl", b"1")
    store.append("journal.jsonl", b"2")
    file = str(tmp_path / "journal.jsonl")
    assert synced == [file, str(tmp_path), file]
