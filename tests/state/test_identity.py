"""A state's id: made once, the same for everybody, and what a run's names carry of it."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest

from cloudtrain.errors import DamagedRecord
from cloudtrain.state import identity
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.errors import BucketUnreachable
from cloudtrain.state.store import LocalFolder
from tests.records import begin, put


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    """An empty state."""
    return LocalFolder(tmp_path / "state")


def test_it_is_made_once_and_kept(folder: LocalFolder) -> None:
    """Reading makes none; two states have two."""
    assert identity.find(folder) == ""
    assert not (folder.root / identity.KEY).exists()
    made = identity.of(folder)
    assert re.fullmatch("[0-9a-f]{8}", made)
    assert identity.of(LocalFolder(folder.root)) == identity.find(folder) == made
    assert identity.of(LocalFolder(folder.root / "other")) != made


def test_clients_that_begin_together_agree(folder: LocalFolder) -> None:
    """All of them look before one of them has written."""
    together, found = threading.Barrier(4), []

    class Slow(LocalFolder):
        def create(self, key: str, data: bytes) -> None:
            together.wait()
            super().create(key, data)

    def begin_one() -> None:
        found.append(identity.of(Slow(folder.root)))

    threads = [threading.Thread(target=begin_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [identity.find(folder)] * 4


@pytest.mark.parametrize("document", [{"id": "ABCDEF01", "created": 1.0}, {"id": "../../x", "created": 1.0}, [1], {}])
def test_another_shape_is_damage(folder: LocalFolder, document: object) -> None:
    """It would go into names; nothing is made in its place."""
    put(folder, identity.KEY, document)
    with pytest.raises(DamagedRecord):
        identity.of(folder)
    assert json.loads(folder.read(identity.KEY) or b"") == document


def test_the_record_of_a_run_says_what_its_names_carry(folder: LocalFolder) -> None:
    """Also when the state's own is another by now, or damaged."""
    begin(folder, "new", state="0a1b2c3d")
    begin(folder, "old")
    put(folder, identity.KEY, [1])
    assert identity.carried_by(folder, "new") == ("0a1b2c3d",)
    assert identity.carried_by(folder, "old") == ("",)


def test_without_its_record_a_run_may_carry_either(folder: LocalFolder) -> None:
    """This state's id, or none; never another's."""
    put(folder, "runs/torn/intent.json", [1])
    assert identity.carried_by(folder, "torn") == identity.carried_by(folder, "lost") == ("",)
    own = identity.of(folder)
    assert identity.carried_by(folder, "torn") == identity.carried_by(folder, "lost") == (own, "")


def test_a_state_that_does_not_answer_says_nothing_about_names(folder: LocalFolder) -> None:
    """Else what is not looked for would be called gone."""

    class Silent(LocalFolder):
        def read(self, key: str) -> bytes | None:
            raise BucketUnreachable("no answer")

    with pytest.raises(BucketUnreachable):
        identity.carried_by(Silent(folder.root), "mine")


def test_a_bucket_has_one_too() -> None:
    """By its conditional write."""
    from obstore.store import MemoryStore

    bucket = ObjectFolder("gs://states/team/a", MemoryStore())
    made = identity.of(bucket)
    assert identity.of(bucket) == identity.find(bucket) == made
