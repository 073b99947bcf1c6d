"""Data files as files: kinds that are refused, encodings, long lines, CSV."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cloudtrain.templates.common.rows import files

from cloudtrain.errors import UsageError
from cloudtrain.spec.dataset import check

GOOD = {"text": "a row that is long enough"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        check(path, **options)
    assert caught.value.exit_code == 2
    return caught.value.message


def test_files_that_are_no_data(tmp_path: Path) -> None:
    """Missing, empty, folders, pipes, other formats and encodings each have their own sentence."""
    cases = {
        "empty.jsonl": (b"", "has no rows"),
        "blank.jsonl": (b"\n \n", "has no rows"),
        "rows.feather": (b"ARROW1..", "is an Arrow file"),
        "rows.jsonl.zst": (b"\x28\xb5\x2f\xfd", "is compressed with zstd"),
        "cut.jsonl.gz": (b"\x1f\x8b\x08", "is compressed with gzip and damaged, or cut short"),
        "tree.tar.gz": (gzip.compress(bytes(257) + b"ustar" + bytes(250)), "is a tar archive"),
        "marks.jsonl": ('{"text": "a"}'.encode("utf-16-le"), "holds zero bytes"),
        "book.txt": (b"Once upon a time.", "is plain text"),
        "wide.jsonl": ('{"text": "a"}'.encode("utf-16"), "is UTF-16, not UTF-8"),
        "latin.jsonl": (
            b'{"text": "abcdefgh"}\n{"text": "\xe9"}',
            "latin.jsonl:2: is not UTF-8 (byte 11 of the line is 0xe9)",
        ),
        "pretty.jsonl": (b'{\n  "text": "a"\n}', "pretty.jsonl:1: has its objects over several lines"),
    }
    for name, (content, says) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert says in refused(tmp_path / name), name
    os.mkfifo(tmp_path / "pipe")
    for name, says in {
        "none": "does not exist",
        ".": "is not a file but a folder",
        "pipe": "is not a file",
        "a\0b": "cannot be read",
    }.items():
        assert says in refused(tmp_path / name), name


def test_a_url_is_not_a_file_here() -> None:
    """Data in a bucket is answered with the way out."""
    with pytest.raises(UsageError) as caught:
        check(Path("s3://bucket/rows.jsonl"))
    assert "download it first" in caught.value.hint


def test_a_byte_order_mark_and_windows_line_ends_are_fine(path: Path) -> None:
    """What Windows editors add changes nothing."""
    path.write_bytes(b"\xef\xbb\xbf" + (json.dumps(GOOD) + "\r\n").encode() * 2)
    assert check(path).rows == 2


def test_a_line_without_end_is_not_read_into_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond the bound ends the check with its number."""
    monkeypatch.setattr(files, "LONGEST_LINE_BYTES", 100)
    path.write_text("".join(json.dumps({"text": "a" * length}) + "\n" for length in (20, 200)))
    message = refused(path)
    assert message == f"{path}:2: is longer than 16 MiB; JSON lines hold one JSON object per line"


CSV_FAULTS = [
    ("prompt,completion\na,b\nc\n", 3, "has 1 columns, the header has 2"),
    ('text\n"open\n', 2, "is not CSV: unexpected end of data"),
    ("text,text\na,b\n", 1, "names a column twice"),
    ("name\na\n", 2, "has `name`, which is none of"),
    ("prompt,completion\n,b\n", 2, "`prompt` is empty"),
]


@pytest.mark.parametrize(("content", "line", "says"), CSV_FAULTS)
def test_a_bad_csv_file_is_named_with_its_line(tmp_path: Path, content: str, line: int, says: str) -> None:
    """CSV faults have lines too."""
    (tmp_path / "rows.csv").write_text(content)
    message = refused(tmp_path / "rows.csv")
    assert message.startswith(f"{tmp_path / 'rows.csv'}:{line}: ")
    assert says in message


def test_csv_with_a_header_is_data(tmp_path: Path) -> None:
    """The three shapes that fit into columns are read; quoted line breaks belong to their field."""
    path = tmp_path / "rows.CSV"
    path.write_bytes(b'\xef\xbb\xbfinstruction, input ,output\r\n"a, ""b""\nc",,defgh\r\n\r\nx,y,zzzzzzzz\r\n')
    report = check(path)
    assert (report.format, report.rows, report.characters) == ("alpaca", 2, 13 + 12)
    path.write_bytes(b"text\nabcdefgh\n\xff\n")
    assert re.search(r"CSV:3: is not UTF-8", refused(path))
    path.write_bytes(b"")
    assert "has no rows" in refused(path)
