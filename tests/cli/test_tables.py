"""A table that fits a terminal: what is folded, what goes, what is never cut."""

from __future__ import annotations

import pytest

from cloudtrain.cli.tables import Column, fitted, indented, uncoloured

COLUMNS = (
    Column("run", fold=False),
    Column("state"),
    Column("where", drop=2),
    Column("as of", fold=False, drop=1),
    Column("low .. high", right=True, fold=False),
    Column("why not -> what would work"),
)
WHY = "64.2 GiB of 48.0 GiB: no room for it at this batch -> take --batch 1, or 2 x MI300X, which does it for $12"
ROWS = [
    ["llama-3-1-8b-chat-2026-11-30-a1b2c3", "running", "eu-ro-1", "2026-11-30", "$0.27 .. $11.40", WHY],
    ["short", "done", "us-central1-a", "2026-08-31", "$0.01 .. $0.02", ""],
]


def visible(line: str) -> int:
    """Characters that a line takes on the screen."""
    return len(uncoloured(line))


def words(lines: list[str]) -> list[str]:
    """Every word that is printed, without escape codes."""
    return uncoloured(" ".join(lines)).split()


def test_off_a_terminal_nothing_is_folded_or_left_out() -> None:
    lines, left_out = fitted(COLUMNS, ROWS, None)
    assert (len(lines), left_out) == (3, ())
    assert lines[1].endswith(WHY)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(visible, fitted(COLUMNS, ROWS, width)[0])) <= width


@pytest.mark.parametrize("width", [24, 40, 60, 80, 100, 120])
def test_no_word_is_cut(width: int) -> None:
    """Whatever is printed is a word of the headings or of the cells, ids and both ends of ranges whole."""
    known = {word for row in (*ROWS, [c.heading for c in COLUMNS]) for cell in row for word in cell.split()}
    found = words(fitted(COLUMNS, ROWS, width)[0])
    assert {word for word in found if word not in known and word.removesuffix(":") not in known} == set()
    assert "llama-3-1-8b-chat-2026-11-30-a1b2c3" in found


def test_words_are_folded_before_a_column_goes() -> None:
    lines, left_out = fitted(COLUMNS, ROWS, 140)
    assert left_out == ()
    assert len(lines) > len(ROWS) + 1


def test_columns_go_in_the_stated_order() -> None:
    left_out = [fitted(COLUMNS, ROWS, width)[1] for width in range(170, 60, -1)]
    assert list(dict.fromkeys(left_out))[:3] == [(), ("as of",), ("where", "as of")]


def test_a_range_is_never_broken_nor_left_out() -> None:
    for width in range(50, 170):
        assert any("$0.27 .. $11.40" in line for line in fitted(COLUMNS, ROWS, width)[0]), width


def test_a_row_that_cannot_fit_is_a_block() -> None:
    lines = fitted(COLUMNS, ROWS, 40)[0]
    assert lines[:2] == ["run: llama-3-1-8b-chat-2026-11-30-a1b2c3", "  state: running"]
    assert "  as of: 2026-08-31" in lines
    assert max(map(len, lines)) <= 40


def test_a_long_name_stands_above_its_row() -> None:
    lines, left_out = fitted(COLUMNS, ROWS, 80)
    assert left_out == ()
    assert lines[2] == "llama-3-1-8b-chat-2026-11-30-a1b2c3"
    assert lines[3].split()[:2] == ["running", "eu-ro-1"]


def test_one_long_word_leaves_the_others_a_table() -> None:
    columns = (Column("state"), Column("words"))
    path = "/home/somebody/" + "deep/" * 20 + "state"
    rows = [["ok", "all well"], ["problem", f"{path} cannot be written"], ["ok", "all well here"]]
    lines = fitted(columns, rows, 60)[0]
    assert lines[1].split() == ["ok", "all", "well"]
    assert lines[2:4] == ["state: problem", "  words:"]
    assert [line.strip() for line in lines if len(line) > 60] == [path]


def test_colours_take_no_room_and_end_before_the_blanks() -> None:
    columns = (Column("state"), Column("words"))
    plain = fitted(columns, [["running", WHY], ["done", "yes"]], 60)[0]
    coloured = fitted(columns, [["\x1b[32mrunning\x1b[0m", f"\x1b[2m{WHY}\x1b[0m"], ["done", "yes"]], 60)[0]
    assert [uncoloured(line).rstrip() for line in coloured] == plain
    assert coloured[1].startswith("\x1b[32mrunning\x1b[0m  ")
    assert all(line.count("\x1b[2m") == 1 for line in coloured[1:-1])


def test_an_empty_table_is_its_headings() -> None:
    assert fitted(COLUMNS[:2], [], 80)[0] == ["run    state"]
    assert fitted(COLUMNS, [], 30)[0] != []


def test_a_sentence_is_folded_with_its_colour() -> None:
    lines = indented("\x1b[2m  " + WHY + "\x1b[0m", 40)
    assert all(line.startswith("\x1b[2m") and line.endswith("\x1b[0m") and visible(line) <= 40 for line in lines)
    assert uncoloured(lines[1]).startswith("    ")
