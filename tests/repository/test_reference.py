"""What documents take from the code is current; `make docs` renews it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloudtrain import errors
from cloudtrain.settings import KEYS
from docs import reference

ROOT = reference.ROOT
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def made() -> dict[Path, str]:
    """Every file with a made part, as it should be."""
    return reference.made()


def test_made_parts_are_current(made: dict[Path, str]) -> None:
    """Spec keys, settings, variables, exit codes, both quotes, the schema of the examples."""
    assert [str(path) for path, text in made.items() if path.read_text() != text] == []


def test_every_made_part_has_a_maker(made: dict[Path, str]) -> None:
    """No mark in a page is left over from a part that nothing makes any more."""
    marked = [
        (path, name)
        for path in [ROOT / "README.md", *reference.DOCS.rglob("*.md")]
        for name in re.findall(r"<!-- made: (.+) -->", path.read_text())
    ]
    assert sorted(marked) == sorted((path, name) for name, (path, _) in reference.PARTS.items())


def test_every_variable_of_the_code_is_explained_once() -> None:
    """The table has each CLOUDTRAIN_ name that a program uses, no other, for a known audience."""
    names = [name for name, _, _ in reference.variables()] + [row.environment for row in KEYS]
    ours = {name for name in names if "CLOUDTRAIN_" in name}
    assert ours == reference.variables_in_code()
    assert len(names) == len(set(names))
    assert {audience for _, audience, _ in reference.variables()} == set(reference.AUDIENCES)


def test_every_exit_code_has_a_meaning() -> None:
    """Whatever an error ends in is in the table, and the contract's codes are all there."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert {kind.exit_code for kind in kinds} <= set(errors.EXIT_CODES)
    assert set(errors.EXIT_CODES) == {*range(8), *range(100, 104), 130}


def test_the_readme_is_short() -> None:
    """At most 120 lines; its quote has at most ten lines of 80 columns."""
    assert len(README.splitlines()) <= 120
    shown = README.partition("<!-- made: short quote -->")[2].partition("<!-- /made -->")[0]
    _, _, *lines = shown.strip("`\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert 5 <= len(lines) <= 10


def test_the_readme_shows_no_output_but_what_is_held() -> None:
    """A block is made, or the demo's, or commands alone; a command in it is one that can be typed."""
    free = re.sub(r"<!-- made: .+? -->.*?<!-- /made -->", "", README, flags=re.DOTALL)
    blocks = re.findall(r"^```\n(.*?)^```$", free, re.DOTALL | re.MULTILINE)
    demo, *others = blocks
    assert demo.startswith("asked ")
    assert [
        line for block in others for line in block.splitlines() if not line.startswith(("pip ", "cloudtrain "))
    ] == []


def test_the_demo_in_the_readme_is_the_demo() -> None:
    """It asks a question that no row holds, and shows the form that the tests of the real training expect."""
    from templates.demo import demo
    from tests.templates.test_demo import FORM, lines

    found = re.search(r"^asked   (.+)\nbefore  ((?:.+\n)+?)after   (.+)$", README, re.MULTILINE)
    assert found is not None
    assert found[1] == demo.QUESTION
    assert found[1] in [row["question"] for row in lines("unseen.jsonl")]
    assert FORM.fullmatch(found[3])
    assert not FORM.search(found[2])
    assert r"\nasked   {QUESTION}\nbefore  {before}\nafter   {after}" in Path(demo.__file__).read_text()
