"""Leftovers are found without a record, judged by deadline and records, and called gone only when a list says so twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from cloudtrain.errors import MissingCredentials, NotFound, ProviderError, Rejected, Unavailable, UsageError
from cloudtrain.providers import Cloud, Driver, OwnedResource, ResourceState, Timing, run_key
from cloudtrain.runs import sweep
from cloudtrain.runs.leftovers import judging
from cloudtrain.runs.leftovers.judging import Leftover, Records
from cloudtrain.state import identity
from cloudtrain.state.store import LocalFolder
from tests.records import begin, put

NOW = 1.8e9
TIMING = Timing(1, 2, 0.5, 0.1)


class Toy:
    """A cloud of two kinds of things; `errors` are raised by the next lists, after what is there was listed."""

    def __init__(self, *things: OwnedResource) -> None:
        self.things = {(thing.kind, thing.id): thing for thing in things}
        self.deleted: list[tuple[str, str]] = []
        self.errors: list[ProviderError | None] = []
        self.refusals: list[ProviderError] = []
        self.slept: list[float] = []
        self.account_error: ProviderError | None = None
        self.lists = 0

    def record(self) -> Cloud:
        """The seam's record."""
        return Cloud(
            account=self.account,
            resources=lambda plan, account: [],
            drivers={"network": self.driver("network"), "machine": self.driver("machine")},
            list_owned=self.list_owned,
            timing=lambda: TIMING,
            console_url=lambda inputs, id: "",
            findings=lambda: [],
            serves=lambda line: False,
        )

    def account(self) -> dict[str, str]:
        if self.account_error:
            raise self.account_error
        return {}

    def driver(self, kind: str) -> Driver:
        def unused(*_: Any) -> Any:
            raise AssertionError("a sweep only lists and deletes")

        def delete(inputs: Mapping[str, Any], id: str) -> None:
            self.deleted.append((kind, id))
            if self.refusals:
                raise self.refusals.pop(0)
            if self.things.pop((kind, id), None) is None:
                raise NotFound("not there")

        def find(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
            return unused()

        return Driver(unused, find, unused, delete)

    def list_owned(self, run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterator[OwnedResource]:
        assert (run, places) == (None, None)
        self.lists += 1
        yield from list(self.things.values())
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error


def thing(id: str, kind: str = "machine", run: str = "one", expires: float | None = NOW - 1) -> OwnedResource:
    """Something of ours."""
    return OwnedResource(run_key(run), id, kind, kind, {"place": {}}, expires)


def due(toy: Toy) -> list[Leftover]:
    """Everything there is, as something to remove."""
    return [Leftover("toy", owned, "past its deadline") for owned in toy.things.values()]


@pytest.mark.parametrize(
    ("expires", "ended", "everything", "why"),
    [
        (NOW - 1, None, False, "past its deadline"),
        (NOW, None, False, "past its deadline"),
        (NOW + 1, None, False, ""),
        (NOW + 1, "mine", False, "run `mine` is ended"),
        (NOW + 1, None, True, "asked for"),
        (None, None, False, "without a deadline"),
        (None, "mine", False, "run `mine` is ended"),
    ],
)
def test_only_what_should_be_gone_is_touched(
    expires: float | None, ended: str | None, everything: bool, why: str
) -> None:
    """Only what is unexpired and of no ended run may stay."""
    assert judging.reason(thing("a", expires=expires), ended, NOW, everything) == why


HERE, THERE = "0a1b2c3d", "4e5f6071"


@pytest.mark.parametrize("words", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("whose", [HERE, THERE, ""])
@pytest.mark.parametrize("expires", [NOW - 1, NOW + 1, None])
def test_what_is_of_another_state_is_left_until_its_deadline(
    expires: float | None, whose: str, words: tuple[bool, bool]
) -> None:
    """`--all` is about this state's; `--all-states` about the others'. What names no state counts as this one's."""
    everything, all_states = words
    owned = OwnedResource(run_key("one", whose), "a", "m", "m", {}, expires)
    known = Records({}, {run_key("one", HERE): "one"}, [], frozenset({HERE}))
    found = judging.judge("toy", owned, known, NOW, everything, all_states)
    assert found.other == (THERE if whose == THERE else "")
    if expires == NOW - 1:
        assert found.why == "past its deadline"
    elif whose == THERE:
        assert found.why == ("asked for" if all_states else "")
    elif whose == HERE:
        assert found.why == "run `one` is ended"
    else:
        assert found.why == ("asked for" if everything else "" if expires else "without a deadline")


def test_a_state_is_known_by_all_its_ids(own_world: Any) -> None:
    """Also when its own cannot be read, or was made anew."""
    store = LocalFolder(own_world / "state")
    own = identity.of(store)
    begin(store, "moved", state=THERE, wanted="down")
    begin(store, "old", wanted="down")
    known = sweep.records(store)
    assert known.ids == {own, THERE}
    assert known.ended == {run_key("moved", THERE): "moved", run_key("old"): "old"}
    put(store, "state.json", [1])
    damaged = sweep.records(store)
    assert damaged.ids == {THERE}
    assert any("state.json" in words for words in damaged.unread)


def test_damaged_records_are_told_and_hide_no_other_run(own_world: Any) -> None:
    """A cut document, one that is no object and a folder in the place of a file cost their own run's word only."""
    store = LocalFolder(own_world / "state")
    begin(store, "good", wanted="down")
    begin(store, "going")
    store.write("runs/certified/gone.json", b'{"time": 1.0}')
    store.write("runs/cut/intent.json", b'{"provider": "to')
    store.write("runs/list/intent.json", b"[1]")
    store.write("runs/bytes/gone.json", b"\xff\xfe\x00")
    store.write("runs/folder/intent.json/x", b"{}")
    known = sweep.records(store)
    assert known.ended == {run_key("good"): "good", run_key("certified"): "certified"}
    assert set(known.runs) == {"good", "going", "certified"}
    assert [any(name in words for words in known.unread) for name in ("cut", "list", "bytes", "folder")] == [True] * 4


def test_an_unreadable_state_is_no_reason_not_to_ask(own_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the state should be, and settings that are broken: the cloud is asked all the same."""
    (own_world / "state").write_text("not a folder")
    store, _ = sweep.state()
    assert sweep.records(store).runs == {}
    (own_world / "config.toml").write_text("state = [")
    monkeypatch.delenv("CLOUDTRAIN_STATE")
    store, words = sweep.state()
    assert store is None
    assert "config.toml" in words
    (looked,) = sweep.look(store, {"toy": Toy(thing("a")).record()}, NOW)
    assert [t.why for t in looked.things] == ["past its deadline"]


def test_what_was_listed_before_an_error_counts_with_it() -> None:
    """Half an answer is not thrown away, and is not called a whole one."""
    toy = Toy(thing("a"))
    toy.errors = [Unavailable("region two does not answer")]
    (looked,) = sweep.look(None, {"toy": toy.record()}, NOW)
    assert [t.owned.id for t in looked.things] == ["a"]
    assert sweep.unasked([looked]) == [looked]


def test_a_provider_without_credentials_is_silent_unless_some_were_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key: nothing to ask. A key that is refused: nothing is proven."""
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    toy = Toy()
    toy.account_error = MissingCredentials("no key")
    looked = sweep.look(None, {"runpod": toy.record()}, NOW)
    assert (looked[0].absent, sweep.unasked(looked)) == (True, [])
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    looked = sweep.look(None, {"runpod": toy.record()}, NOW)
    assert sweep.unasked(looked) == looked
    monkeypatch.delenv("RUNPOD_API_KEY")
    toy.account_error, toy.errors = None, [MissingCredentials("the key was refused")]
    looked = sweep.look(None, {"runpod": toy.record()}, NOW)
    assert sweep.unasked(looked) == looked


def test_machines_go_first_and_two_empty_lists_end_it() -> None:
    """The order of unmaking; the proof is two lists a consistency delay apart."""
    toy = Toy(thing("n", "network"), thing("m"))
    assert sweep.remove(toy.record(), due(toy), toy.slept.append) == []
    assert toy.deleted == [("machine", "m"), ("network", "n")]
    assert toy.lists == 2
    assert toy.slept[-1] == TIMING.consistency_s


def test_a_thing_that_is_listed_again_is_deleted_again() -> None:
    """An empty list between two that show it proves nothing."""
    toy = Toy(thing("m"))
    there = dict(toy.things)
    answers = [{}, there, {}, {}]

    def appear(seconds: float) -> None:
        toy.things = dict(answers.pop(0)) if answers else {}

    assert sweep.remove(toy.record(), due(toy), appear) == []
    assert len(toy.deleted) == 2
    assert toy.lists == 4


def test_what_cannot_be_deleted_is_returned_with_the_providers_words() -> None:
    """A refusal, a kind that this version does not know, a provider that stops answering."""
    refused, strange, silent = Toy(thing("m")), Toy(thing("x", "blimp")), Toy(thing("m"))
    refused.refusals = [Rejected("it is locked")] * 999
    silent.errors = [Unavailable("down for maintenance")] * 999
    for toy, words in ((refused, "it is locked"), (strange, "cannot delete a blimp"), (silent, "down for maintenance")):
        ((left, said),) = sweep.remove(toy.record(), due(toy), lambda seconds: None)
        assert (left.provider, words in said) == ("toy", True)


def test_only_what_is_due_is_deleted() -> None:
    """A neighbour that is not due keeps being listed, and neither is deleted nor delays the end."""
    toy = Toy(thing("old"), thing("new", expires=NOW + 60))
    (looked,) = sweep.look(None, {"toy": toy.record()}, NOW)
    assert sweep.remove(toy.record(), [t for t in looked.things if t.why], toy.slept.append) == []
    assert [id for _, id in toy.things] == ["new"]


def test_an_unknown_name_is_told_and_local_has_no_cloud() -> None:
    """Providers by name: only those with something to provision."""
    assert sweep.clouds(["local"]) == {}
    assert {"aws", "gcp", "runpod"} <= set(sweep.clouds())
    with pytest.raises(UsageError, match="unknown provider `awz`"):
        sweep.clouds(["awz"])
