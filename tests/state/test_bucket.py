"""A state in a bucket: its address, its errors as sentences, and lost answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.simulator.aws import SECRET_KEY, AwsCloud, s3, wire
from cloudtrain.state import bucket as state_bucket
from cloudtrain.state.address import parse
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.protocol import AlreadyThere
from cloudtrain.state.store import open_store

LOCK = "runs/a/client.lock"


@pytest.fixture(scope="module")
def cloud() -> Iterator[AwsCloud]:
    """One account for all tests here."""
    made = AwsCloud()
    yield made
    made.stop()


@pytest.fixture
def bucket(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """The account with an empty bucket `errors`, found by the environment; a client that gives up soon."""
    cloud.reset()
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    s3.make_bucket(cloud, "errors")
    monkeypatch.setattr(state_bucket, "TRIES", 1)
    return cloud


@pytest.fixture
def memory() -> ObjectFolder:
    """A state in an object store of this process."""
    return ObjectFolder("gs://states", MemoryStore())


def test_a_region_of_the_address_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bucket, prefix and region; slashes at the ends do not matter."""
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert parse("s3://states//a/b/?region=eu-west-1")[:4] == ("s3", "states", "a/b", "eu-west-1")
    assert parse("s3://states")[:4] == ("s3", "states", "", "us-east-1")
    assert parse("gs://states/a").base == "gs://states/a"


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3://x", "s3://key:PLANTED-SECRET@states/a", "s3://states/a?access_key=PLANTED-SECRET", "s3://states/../a",
     "gs://states?region=x", "s3://states/a b", "s3://states/a#b"],
)  # fmt: skip
def test_addresses_that_are_not_plain_are_refused_without_repeating_secrets(url: str) -> None:
    """User names, keys and unknown words have no place in an address."""
    with pytest.raises(UsageError) as told:
        open_store(url)
    assert "PLANTED-SECRET" not in told.value.message
    assert told.value.hint


def test_an_endpoint_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials never travel to an address that somebody put into the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.com")
    with pytest.raises(UsageError, match="not on this machine"):
        open_store("s3://states/a")


def both_ways(store: ObjectFolder) -> Iterator[CloudtrainError]:
    """What a read, a list, a write, a create, an append and a delete raise."""
    calls: list[Callable[[], Any]] = [
        lambda: store.read("runs/a/intent.json"),
        lambda: store.children("runs"),
        lambda: store.write("runs/a/x", b""),
        lambda: store.create("runs/a/x", b""),
        lambda: store.append("runs/a/j.jsonl", b""),
        lambda: store.delete("runs/a"),
        lambda: store.hold(LOCK).__enter__(),
    ]
    for call in calls:
        with pytest.raises(UsageError) as told:
            call()
        yield told.value


def test_a_missing_bucket_is_never_an_empty_state(bucket: AwsCloud) -> None:
    """Reading from a bucket that is not there says so: "no such run" would be a lie about money."""
    for error in both_ways(ObjectFolder("s3://nobody-made-this/a")):
        assert "there is no bucket `nobody-made-this`" in error.message
        assert error.exit_code == 2


def test_wrong_credentials_end_with_4_and_say_what_to_set(bucket: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket is named, the key is not."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG00000000000")
    for error in both_ways(ObjectFolder("s3://errors/a")):
        assert "state `s3://errors/a`" in error.message
        assert "AWS_ACCESS_KEY_ID" in error.hint
        assert error.exit_code == 4
        assert SECRET_KEY not in error.message


def test_a_missing_right_ends_with_4_and_says_which(bucket: AwsCloud) -> None:
    """Reading is allowed, writing is not."""
    store = ObjectFolder("s3://errors/a")
    assert store.read("x") is None
    bucket.faults.add("S3.PutObject", "permission")
    with pytest.raises(UsageError, match="may not use it") as told:
        store.write("x", b"")
    assert told.value.exit_code == 4
    assert "s3:PutObject" in told.value.hint


def test_no_credentials_end_with_4(bucket: AwsCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither in the environment nor in Amazon's own files."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    error = next(both_ways(ObjectFolder("s3://errors/a")))
    assert "no credentials" in error.message
    assert error.exit_code == 4


def test_a_profile_of_amazons_files_is_used(bucket: AwsCloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same chain as the engine's: what works there works here."""
    keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    for name in keys:
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[team]\n" + "".join(f"{n.lower()} = {v}\n" for n, v in keys.items()))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    store = ObjectFolder("s3://errors/a")
    store.write("x", b"1")
    assert store.read("x") == b"1"


def test_a_silent_bucket_is_said_to_be_unreachable(bucket: AwsCloud) -> None:
    """Busy or gone: the sentence names the state, and `sweep` needs none."""
    bucket.faults.add("S3.*", "unavailable", times=100)
    for error in both_ways(ObjectFolder("s3://errors/a")):
        assert error.message.startswith("state `s3://errors/a` cannot be reached: 503")
        assert "sweep" in error.hint
        assert error.exit_code == 1


@pytest.mark.parametrize("key", ["log/0000000000002501", "InvalidToken", "a-metadata", "PermanentRedirect"])
def test_the_name_asked_for_is_not_taken_for_the_answer(bucket: AwsCloud, key: str) -> None:
    """An outage is one, also at a piece of log that begins at byte 2501."""
    bucket.faults.add("S3.*", "unavailable", times=100)
    with pytest.raises(UsageError, match="cannot be reached: 503") as told:
        ObjectFolder("s3://errors/a").read(key)
    assert told.value.exit_code == 1


@pytest.mark.parametrize("fault", ["lost_reply", "dropped", "unavailable"])
def test_one_lost_answer_changes_nothing(bucket: AwsCloud, fault: Any) -> None:
    """Each verb is repeated; a create knows its own object again, and is still refused for somebody else's."""
    store = ObjectFolder("s3://errors/a")

    def troubled(call: str) -> ObjectFolder:
        bucket.faults.add(call, fault)
        return store

    troubled("S3.PutObject").create("runs/a/intent.json", b"1")
    troubled("S3.PutObject").append("runs/a/journal.jsonl", b"1")
    troubled("S3.PutObject").write("runs/a/x", b"1")
    assert troubled("S3.GetObject").read("runs/a/x") == b"1"
    assert troubled("S3.ListObjectsV2").read("runs/a/journal.jsonl") == b"1\n"
    with pytest.raises(AlreadyThere):
        troubled("S3.PutObject").create("runs/a/intent.json", b"1")
    with troubled("S3.PutObject").hold(LOCK):
        assert store.holder(LOCK) is not None
    assert store.holder(LOCK) is None
    troubled("S3.DeleteObjects").delete("runs")
    assert s3.objects(bucket, "errors") == {}


def test_a_local_run_is_refused_before_anything_is_made(memory: ObjectFolder) -> None:
    """What needs a folder of this machine says so."""
    with pytest.raises(UsageError, match=r"gs://states.* is a bucket"):
        memory.folder("runs/a")


def test_only_documents_of_lines_are_appended_to(memory: ObjectFolder) -> None:
    """A key that is read whole cannot be kept line by line."""
    with pytest.raises(ValueError, match="lines"):
        memory.append("runs/a/hb.json", b"1")


def test_another_kind_of_place_is_refused() -> None:
    """Only folders and the two kinds of bucket are known."""
    with pytest.raises(UsageError, match="no place that is known"):
        open_store("azblob://states/a")


@pytest.mark.parametrize("name", ["../x", "/x", "./x"])
def test_an_object_whose_name_is_no_key_is_named(bucket: AwsCloud, name: str) -> None:
    """Not taken for a bucket that cannot be reached, which would be waited for."""
    wire.backend("s3", bucket.account, "aws").put_object("errors", f"a/runs/mine/output/{name}", b"1")
    store = open_store("s3://errors/a")
    for listing in (store.files, store.children):
        with pytest.raises(UsageError, match="runs/mine/output/") as told:
            listing("runs/mine/output")
        assert told.value.exit_code == 2


def test_an_empty_object_is_empty_whatever_follows_it(bucket: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine writes nothing, and the next moment a record: neither look is an error."""
    store = open_store("s3://errors/team?region=us-east-1")
    store.write("runs/a/exit.json", b"")
    monkeypatch.setattr(ObjectFolder, "size", lambda self, key: 9)
    assert store.read_from("runs/a/exit.json", 0, 100) == b""


def test_an_empty_line_is_no_line(bucket: AwsCloud) -> None:
    """Of a document of lines, that a machine may write."""
    store = open_store("s3://errors/team?region=us-east-1")
    store.write("runs/a/events.jsonl.d/0-a", b"")
    store.append("runs/a/events.jsonl", b"{}")
    assert store.read_from("runs/a/events.jsonl", 0, 100) == b"{}\n"
