"""One run's damaged record is told, and is no hindrance for the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.records import intent


def records(world: Path) -> None:
    """A sound, cancelled run `good`, and a run `cut` whose first document ends in the middle."""
    for name, text in (("good", None), ("cut", '{"run": "cu')):
        folder = world / "state" / "runs" / name
        folder.mkdir(parents=True)
        whole = intent(run=name, wanted="down", deadline=2.0).as_bytes()
        (folder / "intent.json").write_bytes(text.encode() if text else whole)


def test_down_of_a_sound_run_does_not_look_at_others(own_world: Path, cloudtrain: Callable[..., Any]) -> None:
    """Named in full."""
    records(own_world)
    assert cloudtrain("down", "good").code == 0


def test_down_all_ends_what_it_can_and_tells_the_rest(own_world: Path, cloudtrain: Callable[..., Any]) -> None:
    """Not 0: something may be rented under the damaged record."""
    records(own_world)
    ended = cloudtrain("down", "--all")
    assert ended.code != 0
    assert "good: gone" in ended.out
    assert "runs/cut/intent.json" in ended.err
    assert "cloudtrain sweep" in ended.err


def test_ps_and_report_show_sound_runs_and_end_with_2(own_world: Path, cloudtrain: Callable[..., Any]) -> None:
    """What may be running under a damaged record is not known, so it is no 0."""
    records(own_world)
    for command in (("ps", "-a"), ("report",)):
        listed = cloudtrain(*command)
        assert (listed.code, "good" in listed.out, "runs/cut/intent.json" in listed.err) == (2, True, True)
