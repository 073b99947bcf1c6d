"""The page: well-formed, without a request or a script, every number in a table, nothing unknown drawn as a number."""

from __future__ import annotations

import re
from collections import Counter
from decimal import Decimal
from functools import cache
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from cloudtrain.report.history import History
from cloudtrain.report.page.document import POLICY, STYLE, render
from cloudtrain.report.totals import total
from tests.chance import examples
from tests.report import histories
from tests.report.histories import account, budget, costing, history, night, year
from tests.report.test_escape import NAMES

VOID = {"meta"}
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "dl", "div", "dt", "dd", "small", "ul", "li",
    "figure", "figcaption", "svg", "g", "rect", "circle", "line", "path", "text",
    "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td",
}  # fmt: skip


class Strict(HTMLParser):
    """Reads HTML and notes what a browser would have to repair."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.wrong: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))
        if len(dict(attributes)) != len(attributes):
            self.wrong.append(f"{name} has an attribute twice")
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, dict(attributes)))
        if name not in VOID and "svg" not in self.open:
            self.wrong.append(f"{name} is no void element")

    def handle_endtag(self, name: str) -> None:
        if not self.open or self.open.pop() != name:
            self.wrong.append(f"{name} is closed out of turn")


def parsed(page: str) -> Strict:
    """The page as HTML. As XML it must be well-formed too: every tag closed, every attribute quoted."""
    assert page.startswith("<!DOCTYPE html>\n")
    ElementTree.fromstring(page.partition("\n")[2])
    found = Strict()
    found.feed(page)
    found.close()
    assert (found.wrong, found.open) == ([], [])
    return found


@cache
def year_long() -> tuple[History, str]:
    """A year of nights and its page."""
    found = year(365)
    return found, render(found)


HISTORIES = {
    "a year": lambda: year(365),
    "a month": lambda: year(30),
    "a night": lambda: year(1),
    "nothing": lambda: history([]),
    "a budget alone": lambda: history([], [], budget()),
    "unknown alone": lambda: history([account("a", quoted_usd=None, machines=costing(None), tokens=None, loss=None,
                                              measured_tokens_per_second=None)]),
    "nights without a run": lambda: history([], [("s", night("2026-11-29", "missed")), ("s", night("2026-11-28", ""))]),
    "figures beyond reason": lambda: history([
        account("a", tokens=1e18, measured_tokens_per_second=1e18, loss=1e308, eval_loss=-1e308, machines=costing("9e14"), started_at=1e14),
        account("b", tokens=1e-9, measured_tokens_per_second=0, loss=0, metered_s=1e300, started_at=-1e14),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_a_page_is_clean_html_without_requests(name: str) -> None:
    """No script, link, picture or frame; no attribute that could load or run anything; the policy forbids it too."""
    found = parsed(render(HISTORIES[name]()))
    assert {tag for tag, _ in found.found} <= ELEMENTS
    for tag, attributes in found.found:
        for key, value in attributes.items():
            assert not key.startswith("on"), (tag, key)
            assert key not in ("href", "src", "style", "xlink:href", "srcset", "action", "background"), (tag, key)
            assert "url(" not in (value or "")
    style = STYLE.read_text()
    assert not re.search(r"url\(|@import|@font-face|expression|<", style)
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}) in found.found


@pytest.mark.parametrize("name", HISTORIES)
def test_every_chart_and_every_mark_has_words(name: str) -> None:
    """A chart is an image with a label; a mark in it has a title; ids would meet, so there are none."""
    tree = ElementTree.fromstring(render(HISTORIES[name]()).partition("\n")[2])
    charts = list(tree.iter("svg"))
    assert len(charts) >= 6
    for chart in charts:
        assert chart.get("role") == "img"
        assert chart.get("aria-label")
        loose = [each for each in chart if each.tag in ("rect", "circle")]
        assert loose == [] or chart.get("viewBox") == "0 0 16 16"
        for group in chart.iter("g"):
            title = group.find("title")
            assert group.get("class") == "axis" or (title is not None and title.text), ElementTree.tostring(group)
    assert not [each for each in tree.iter() if each.get("id")]


def test_a_year_of_nights_is_small() -> None:
    """At most 300 kB; it was 217 kB when this was written."""
    found, page = year_long()
    assert len(found.nights) == 365
    assert len(page.encode()) <= 300_000


def test_many_runs_do_not_make_a_larger_page() -> None:
    """What is left out is said, and is in the sums."""
    found = history([account(f"r-{number:06}", started_at=histories.NOW - number * 600.0) for number in range(2000)])
    page = render(found)
    assert len(page.encode()) <= 300_000
    assert "1630 older ones are left out, and are in the sums" in page
    assert "$10,000.00" in page


def test_the_sums_of_the_page_are_those_of_the_json() -> None:
    """To the cent, in the facts at the top and in every table that has a last row."""
    found, page = year_long()
    amounts = [account.document()["metered_usd"] for account in found.accounts]
    known = sum((Decimal(each) for each in amounts if each is not None), Decimal(0))
    assert total(found.entries).metered.usd == known
    assert f"<dd>${known:,.2f}+?" in page
    tree = ElementTree.fromstring(page.partition("\n")[2])
    feet = [[cell.text for cell in row] for foot in tree.iter("tfoot") for row in foot]
    assert len(feet) == 4
    assert {foot[4] for foot in feet} == {f"${known:,.2f}+?"}
    by_month = next(table for table in tree.iter("table") if table.findtext("caption") == "By month")
    cells = [row[4].text or "" for row in by_month.find("tbody") or []]
    rounded = sum(Decimal(cell.strip("$+?").replace(",", "")) for cell in cells)
    assert abs(rounded - known) < Decimal("0.005") * len(cells)


def bars(page: str, class_: str) -> int:
    """How many shapes of a kind there are in the wide charts."""
    tree = ElementTree.fromstring(page.partition("\n")[2])
    wide = [chart for chart in tree.iter("svg") if chart.get("class") == "wide"]
    return sum(each.get("class") == class_ for chart in wide for each in chart.iter())


def test_an_unknown_is_a_question_mark_and_no_bar() -> None:
    """Neither a bar of zero height nor a dot at zero; a run that cost nothing has its dot."""
    unknown = render(history([account("a", machines=costing(None), quoted_usd=None)]))
    assert [bars(unknown, each) for each in ("metered", "quoted", "billed")] == [0, 0, 0]
    assert bars(unknown, "dot") == 2  # of its speed and its loss
    assert bars(unknown, "unknown") == 4  # week, month, night, dollars for a million tokens
    free = render(history([account("a", machines=costing("0"))]))
    assert (bars(free, "unknown"), bars(free, "dot")) == (0, 4)


def test_a_night_has_range_dot_and_ring() -> None:
    """And each outcome a shape of its own."""
    outcomes = ("failed", "missed", "skipped: budget", "unchanged")
    nights = [("s", night(f"2026-11-2{number}", outcome)) for number, outcome in enumerate(outcomes)]
    page = render(history([account("a", billed_usd=Decimal(5), billed_status="final")], nights))
    assert (bars(page, "quoted"), bars(page, "billed")) == (1, 1)
    assert [bars(page, each) for each in ("failed", "missed", "skipped", "unchanged")] == [1, 1, 1, 1]
    assert "quoted $4.00 to $6.00, metered $5.00, billed $5.00 (final)" in page


def test_open_costs_are_dashed_and_of_the_running_period() -> None:
    """In the week and the month, none without a budget's word of them."""
    assert bars(render(history([account("a")], [], budget())), "open-cost") == 2
    assert bars(render(history([account("a")], [], budget(open_usd=Decimal(0)))), "open-cost") == 0
    assert bars(render(history([account("a")])), "open-cost") == 0


@settings(max_examples=examples(25))  # two pages each
@given(NAMES.filter(bool))
def test_no_name_adds_an_element(name: str) -> None:
    """Of a run, a spec, an offer, a provider, a schedule, a date, an outcome, a message or a fault."""
    hostile = account(name, spec=name, offer=name, provider=name, eval_loss=1.0)
    harmless = account("r", spec="r", offer="r", provider="r", eval_loss=1.0)
    nightly = night("2026-11-29", name, name, message=name).replace(date=name)
    page = render(history([hostile], [(name, nightly)], faults=(name,)))
    plain_page = render(history([harmless], [("r", night("2026-11-29", "r", "r"))], faults=("r",)))
    ours, theirs = (Counter(tag for tag, _ in parsed(each).found) for each in (plain_page, page))
    assert ours == theirs


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours written #rrggbb."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_can_be_told_from_the_paper(scheme: int) -> None:
    """WCAG AA: 4.5 for words, on bands too, 3 for marks."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", blocks[scheme]))
    for paper in ("paper", "band"):
        assert all(contrast(colours[name], colours[paper]) >= 4.5 for name in ("ink", "soft"))
    marks = ("quoted", "metered", "billed", "failed", "missed", "skipped", "evaluated", "limit")
    assert [name for name in marks if contrast(colours[name], colours["paper"]) < 3] == []
