"""What is held of the tests themselves: short names, and that each can fail."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
TESTS = ROOT / "tests"
WORDS = 10
LONG = ("tests/cases", "tests/models", "tests/spec", "tests/stacks")  # longer names from before the limit
LONG_FILES = "test_trust_*.py"  # likewise
FAILS = {"fail", "raises", "warns"}  # what pytest offers besides `assert`


@cache
def parsed() -> dict[Path, ast.Module]:
    """Every module of the tests."""
    return {path: ast.parse(path.read_text()) for path in sorted(TESTS.rglob("*.py"))}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods at any depth."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def all_tests() -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Every test with its file."""
    for path, tree in parsed().items():
        if path.name.startswith("test_"):
            yield from ((path, each) for each in functions(tree) if each.name.startswith("test_"))


def words(name: str) -> list[str]:
    """The words of a test's name."""
    return [word for word in name.split("_") if word and word != "test"]


class Reach(NamedTuple):
    """What a function does by itself, and what it calls."""

    fails: bool
    calls: set[str]


def reach(function: ast.FunctionDef) -> Reach:
    """A schema's `validate` and the like fail too."""
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    }
    own = any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(function))
    return Reach(own or any(name in FAILS or name.startswith(("validate", "check")) for name in called), called)


@cache
def helpers() -> set[str]:
    """Names of what is defined among the tests, is none, and can fail: by itself or by what it calls directly."""
    found = [(each.name, reach(each)) for tree in parsed().values() for each in functions(tree)]
    others = [(name, each) for name, each in found if not name.startswith("test_")]
    direct = {name for name, each in others if each.fails}
    return direct | {name for name, each in others if each.calls & direct}


def can_fail(function: ast.FunctionDef) -> bool:
    """Whether it, or what it calls of the tests, asserts or raises."""
    found = reach(function)
    return found.fails or bool(found.calls & helpers())


def test_names_have_at_most_ten_words() -> None:
    """A name says the behaviour; the rest is for the docstring."""
    done = [
        (path.relative_to(ROOT), each)
        for path, each in all_tests()
        if not path.relative_to(ROOT).as_posix().startswith(LONG) and not path.match(LONG_FILES)
    ]
    assert len(done) > 500
    assert [f"{path}:{each.lineno} {each.name}" for path, each in done if len(words(each.name)) > WORDS] == []


def test_no_test_hides_another_of_the_same_name() -> None:
    """The later definition would replace the earlier, which would never run."""
    twice = []
    for path, tree in parsed().items():
        for scope in [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]:
            names = [node.name for node in scope.body if isinstance(node, ast.FunctionDef)]
            twice += [f"{path}: {name}" for name in set(names) if name.startswith("test_") and names.count(name) > 1]
    assert twice == []


def test_every_test_can_fail() -> None:
    """By an assertion of its own or of what it calls; that nothing is raised is rarely all that it means."""
    assert [f"{path}:{each.lineno} {each.name}" for path, each in all_tests() if not can_fail(each)] == []


SHARING = """
import pytest
pytestmark = pytest.mark.xdist_group("it")
@pytest.fixture(scope="module")
def made():
    with open({path!r}, "a") as file:
        file.write("made once ")
@pytest.mark.parametrize("number", range(20))
def test_it(made, number):
    pass
"""


def test_what_the_tests_of_a_file_share_is_made_once(tmp_path: Path) -> None:
    """By the worker that runs all of them; a mark that nobody heeds costs minutes, and nothing shows it."""
    (tmp_path / "conftest.py").write_text("from tests.scheduling import pytest_xdist_make_scheduler")
    (tmp_path / "test_it.py").write_text(SHARING.format(path=str(tmp_path / "made")))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = xdist_group(name)")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadgroup"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "made").read_text() == "made once "


@pytest.mark.parametrize(("body", "right"), [("print(1)", False), ("assert x", True), ("until(ready)", True)])
def test_a_test_without_an_assertion_is_seen(body: str, right: bool) -> None:
    """A helper's assertion counts, a call does not."""
    (function,) = functions(ast.parse(f"def test_it():\n    {body}"))
    assert can_fail(function) == right
