"""The text of a notice: a hidden marker, then Markdown that mentions nobody, commands nothing and has an end."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from cloudtrain.errors import visible

APART: Final = "\u200b"  # stands between a sign and a name so that a forge reads neither mention nor reference
CUT: Final = "\n\n(cut here: this text has an end at the forge)\n"
# A person or a group; an issue or a request, which would get a line that it was mentioned here.
_REFERENCES: Final = re.compile(r"@(?=[\w-])|(?<!&)#(?=\w)|!(?=\d)|\bGH-(?=\d)", re.IGNORECASE)
_COMMANDS: Final = re.compile(r"^(\s*)/(?=\w)", re.MULTILINE)  # GitLab does what such a line says
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_FENCE: Final = re.compile(r"^(`{3,}|~{3,})", re.MULTILINE)


def marker(schedule: str, state: str) -> str:
    """The first line of every text of a schedule in a state, which no reader sees."""
    name = quote(schedule, safe="").replace("--", "-%2D")  # `--` ends a comment of HTML
    return f"<!-- cloudtrain-night schedule={name} state={state} -->"


def is_marked(text: str, mark: str) -> bool:
    """Whether a text begins with the marker. One that quotes it further below is somebody's answer."""
    return text.lstrip("\ufeff").partition("\n")[0].strip() == mark


def body(mark: str, markdown: str, longest: int) -> str:
    """Marker and text, at most so many characters, cut at the end of a line."""
    text = harmless(markdown).strip()
    room = longest - len(mark) - 2
    return f"{mark}\n{text if len(text) <= room else shortened(text, room)}\n"


def shortened(text: str, room: int) -> str:
    """The beginning of a text, whole lines; what was open is closed."""
    begin = text[: room - len(CUT) - 8]
    begin = begin[: begin.rfind("\n")] if "\n" in begin else begin
    fences = _FENCE.findall(begin)
    return begin + (f"\n{fences[-1][:4]}" if len(fences) % 2 else "") + CUT.rstrip("\n")


def harmless(markdown: str) -> str:
    """Markdown that calls nobody, refers to nothing and gives GitLab no command."""
    text = _CONTROLS.sub("", markdown.replace("\r\n", "\n"))
    return _COMMANDS.sub(rf"\1{APART}/", _REFERENCES.sub(lambda found: f"{found[0]}{APART}", text))


def title(schedule: str) -> str:
    """Of the issue."""
    return harmless(f"Nightly run {visible(schedule)} needs somebody")


def good_line(outcome: str, date: str, run: str) -> str:
    """The line with which an issue is closed."""
    of = f" (run {visible(run)})" if run else ""
    return harmless(f"Night of {visible(date) or 'today'}: {visible(outcome)}{of}. Closed.")
