"""The column `expect` of cases.csv as data, and the rows with what they need.

`A or B`: either is right. Within one of them, words apart by spaces hold together: `params=235093634560 says:fp8` are
two, `accept warn:tool` is one whose second word limits the first. What each asks for is said by the tests.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
NOT_YET = HERE / "not_yet.txt"
LONG = "B53"  # its one row of a megabyte is made here, not kept


class Expectation(NamedTuple):
    """One thing that is to hold: `params=N`, `says:WORD`, `refuse`; `word` is empty where none is asked for."""

    kind: str
    word: str = ""


class Case(NamedTuple):
    """A row: a config folder, or a folder with a data file and its spec; empty where the case is a command alone."""

    id: str
    kind: str
    input: str
    expect: tuple[tuple[Expectation, ...], ...]  # any of these, all of each
    what: str

    def asks(self, kinds: tuple[str, ...]) -> bool:
        """Whether one of these is expected, perhaps beside others."""
        return any(each.kind in kinds for either in self.expect for each in either)

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return HERE / self.input


def parse(text: str) -> tuple[tuple[Expectation, ...], ...]:
    """The grammar. Raises ValueError for a word that it has not."""
    return tuple(tuple(expectation(word) for word in either.split()) for either in text.split(" or "))


def expectation(word: str) -> Expectation:
    """One word of the grammar."""
    for sign in ("params=", "params~"):
        if word.startswith(sign):
            return Expectation(sign, word.removeprefix(sign))
    kind, _, wanted = word.partition(":")
    known = ("says", "not-loadable", "accept", "warn", "refuse", "same", "not-silent", "hint", "note")
    if kind not in known:
        raise ValueError(f"`{word}` is no expectation")
    return Expectation(kind, wanted.lower())


def cases(kind: str) -> list[Case]:
    """All rows of a kind that ask for something."""
    with open(HERE / "cases.csv", newline="", encoding="utf-8") as file:
        rows = [Case(r["id"], r["kind"], r["input"], parse(r["expect"]), r["what"]) for r in csv.DictReader(file)]
    return [row for row in rows if row.kind == kind and row.expect[0][0].kind != "note"]


def not_yet() -> set[str]:
    """The tests that fail today, each as `ID` or `ID by-the-trainer`; a line that is mended has to go."""
    lines = (line.partition("#")[0].split() for line in NOT_YET.read_text(encoding="utf-8").splitlines())
    return {" ".join(words) for words in lines if words}


def parameters(kind: str, aspect: str = "", only: tuple[str, ...] = ()) -> list[Any]:
    """The rows, or those that expect `only` these, as parameters of a test; those of not_yet.txt are to fail."""
    listed = not_yet()
    fails = pytest.mark.xfail(strict=True, raises=AssertionError, reason="listed in tests/cases/not_yet.txt")
    named = [(case, f"{case.id} {aspect}".strip()) for case in cases(kind) if not only or case.asks(only)]
    return [pytest.param(case, id=case.id, marks=[fails] if name in listed else []) for case, name in named]


def spec_of(case: Case, folder: Path) -> Path:
    """The spec of a data case beside its data, copied into `folder`, whose name says nothing about the case."""
    kept = case if case.id != LONG else next(other for other in cases("data") if other.id == "B01")
    shutil.copytree(kept.folder, folder, dirs_exist_ok=True)
    if case.id == LONG:
        turns = [{"role": "user", "content": "long " * 200_000}, {"role": "assistant", "content": "ok fine"}]
        rows = (folder / "data.jsonl").read_text(encoding="utf-8")
        (folder / "data.jsonl").write_text(json.dumps({"messages": turns}) + "\n" + rows, encoding="utf-8")
    return folder / "cloudtrain.yaml"
