"""Names and messages are text wherever they are shown: nothing in them becomes markup, a mention, or a column."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cloudtrain.report.escape import code, html, plain
from cloudtrain.report.markdown import table
from cloudtrain.report.page.svg import mark, tag, text
from cloudtrain.report.tables import Table

NASTY = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</title></svg><b>",
    "a|b",
    "a\\|b",
    "`code`",
    "``` fence",
    "@octocat and @org/team",
    "[link](https://example.org)",
    "![picture](https://example.org/x.png)",
    "https://example.org www.example.org a@example.org",
    "#12 org/repo#12 GH-12",
    "a\nb\r\n\nc",
    "a\u2028b\u202ec\x00d\x1be",
    "&lt;b&gt; &amp; &#60;",
    "\"'><b>",
    "*bold* _it_ ~~no~~ :tada:",
    "| --- | --- |",
    "]]> <!-- --> -->",
    "\ud800",
    "\\",
    "   ",
)
NAMES = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=60), st.lists(st.sampled_from(NASTY), max_size=3).map("".join)
)


class Texts(HTMLParser):
    """What a browser would see: the tags, and the text between them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(markup: str) -> Texts:
    """The markup as a browser reads it."""
    found = Texts()
    found.feed(markup)
    found.close()
    return found


@given(NAMES)
def test_html_shows_the_name_and_nothing_else(name: str) -> None:
    """As an element's text and as an attribute; XML too, in which control characters are no text."""
    made = tag("p", name, title=name)
    found = seen(made)
    assert (found.tags, found.text, found.attributes) == (["p"], plain(name, 2000), [("title", plain(name, 2000))])
    assert ElementTree.fromstring(made).text in (plain(name), None)


@given(NAMES)
def test_a_drawing_has_the_elements_it_was_made_of(name: str) -> None:
    """A name in a text or in the words for a mark adds none."""
    found = seen(tag("svg", mark(name, text(1, 2, name))))
    assert found.tags == ["svg", "g", "title", "text"]
    assert found.text == plain(name, 2000) * 2


@given(st.lists(NAMES, min_size=2, max_size=2))
def test_markdown_shows_names_as_code_in_their_columns(names: list[str]) -> None:
    """The reader of GitHub's tables finds so many cells, and in each one code span or nothing."""
    shown = table(Table(("a", "b", "n"), [[*names, "1"], [*names, "2"]], 2))
    tokens = MarkdownIt("commonmark").enable("table").parse(shown)
    assert [token.type for token in tokens].count("table_open") == 1
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 3 * 3
    for number, cell in enumerate(cells[3:]):
        kinds = [child.type for child in cell.children or []]
        assert kinds in (["text"], ["code_inline"]), cell.content
        assert number % 3 == 2 or cell.content == "-" or kinds == ["code_inline"]


@pytest.mark.parametrize("name", NASTY)
def test_code_keeps_what_can_be_read(name: str) -> None:
    """Letters are the same; a code span has no backtick, bar or new line in it."""
    shown = code(name)
    assert re.fullmatch(r"`[^`|\n\r]+`|-", shown)
    letters = re.sub(r"[^a-z]", "", re.sub(r"[^\x20-\x7e]", "", name))
    assert letters in re.sub(r"[^a-z]", "", shown) or not name.isprintable()


@given(NAMES)
def test_html_escapes_are_text_of_xml(name: str) -> None:
    """Within quotes of both kinds."""
    assert not set(html(name)) & set("<>\"'")
