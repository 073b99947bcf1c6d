"""Names and messages of specs, logs and providers made safe where they are shown: HTML and SVG, Markdown.

Nothing of them is markup afterwards: no tag, no link, no mention of a person, no emphasis, no further column or line.
"""

from __future__ import annotations

LONGEST = 200  # characters that are shown of a name or a message
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}
_STANDS_FOR = str.maketrans({"`": "\u02cb", "|": "\u00a6"})  # ˋ ¦: what ends a code span or a table's column


def plain(text: str, longest: int = LONGEST) -> str:
    """The text on one line: what cannot be printed, or turns the direction of writing, as an escape."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:longest])
    return shown + "…" if len(text) > longest else shown


def html(text: str, longest: int = LONGEST) -> str:
    """The text for HTML and SVG, within an element or within a quoted attribute."""
    return "".join(_HTML.get(each, each) for each in plain(text, longest))


def code(text: str, longest: int = LONGEST) -> str:
    """The text as a code span of Markdown, in which forges look for no mention, link, image or tag; `-` for none.

    A backtick and a column's bar are replaced by characters that look like them: within a table no escape of theirs is
    read in the same way everywhere.
    """
    shown = plain(text, longest).translate(_STANDS_FOR).strip()
    return f"`{shown}`" if shown else "-"
