"""The text of a notice calls nobody, commands nothing, begins with its marker and has an end."""

from __future__ import annotations

import pytest

from cloudtrain.nights import wording
from cloudtrain.simulator.forge.base import MENTION
from cloudtrain.simulator.forge.gitlab import COMMAND


@pytest.mark.parametrize("text", ["@octo", "(@octo)", "x @octo-cat", "@all", "\n@a", "@1", "<b>@x</b>", "`a`@x"])
def test_mention_is_taken_apart(text: str) -> None:
    assert not MENTION.findall(wording.harmless(text))


@pytest.mark.parametrize("text", ["/close", "  /assign me", "a\n/close", "\r\n/label x"])
def test_command_is_taken_apart(text: str) -> None:
    assert not COMMAND.findall(wording.harmless(text))


@pytest.mark.parametrize("text", ["# 1 a heading", "&#64;", "a/b", "a @ b", "![x](y)", "1 ! 2", "$5.00", "| a | b |"])
def test_other_text_stays(text: str) -> None:
    assert wording.harmless(text) == text


def test_characters_that_no_forge_takes_are_dropped() -> None:
    assert wording.harmless("a\x00b\x1b[31m\u202ec\td\ne") == "ab[31mc\td\ne"


@pytest.mark.parametrize("longest", [200, 1000, 65_536])
@pytest.mark.parametrize("piece", ["a line\n", "```\ncode\n```\n", "x" * 90, "| a | b |\n"])
def test_body_is_as_long_as_it_may_be(longest: int, piece: str) -> None:
    mark = wording.marker("smoke", "0123abcd")
    found = wording.body(mark, piece * 20_000, longest)
    assert len(found) <= longest
    assert wording.is_marked(found, mark)
    assert "cut here" in found
    assert found.count("```") % 2 == 0


def test_short_body_is_whole() -> None:
    assert wording.body("<!-- m -->", "# one\n", 100) == "<!-- m -->\n# one\n"


def test_marker_tells_names_apart() -> None:
    names = ["a--b", "a-b", "a%2D-b", "a -b", "-->", "", "ä", "A-B"]
    marks = {wording.marker(name, "0123abcd") for name in names}
    assert len(marks) == len(names)
    assert all(mark.count("--") == 2 for mark in marks)


@pytest.mark.parametrize("text", ["> {}\nx", "x\n{}", "x {}", ""])
def test_marker_counts_on_the_first_line_alone(text: str) -> None:
    mark = wording.marker("smoke", "0123abcd")
    assert not wording.is_marked(text.format(mark), mark)
    assert wording.is_marked(f"{mark}\r\nx", mark)
