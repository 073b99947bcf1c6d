"""The archive: the same bytes for the same lists, and a hostile one gives nothing and writes nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.prices.published.archive import packed, unpacked

FILES = {"aws.csv": b"one", "gcp.csv": b"two"}
MOST = 1_000_000


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A .tar.gz of these members, whatever they are."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(made.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    """One entry."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, leads_to
    return made


BOTH = [(member(name), content) for name, content in FILES.items()]
HOSTILE = {
    "an extra file": (tar(*BOTH, (member("extra.csv"), b"three")), "does not name"),
    "one twice": (tar(*BOTH, (member("aws.csv"), b"another")), "does not name"),
    "one missing": (tar(BOTH[0]), "lacks gcp.csv"),
    "a way out": (tar(*BOTH, (member("../aws.csv"), b"out")), "does not name"),
    "a way out alone": (tar((member("../../aws.csv"), b"out"), BOTH[1]), "does not name"),
    "an absolute name": (tar(*BOTH, (member("/tmp/aws.csv"), b"out")), "does not name"),
    "a link": (tar(BOTH[0], (member("gcp.csv", tarfile.SYMTYPE, "/etc/passwd"), b"")), "no plain file"),
    "a hard link": (tar(BOTH[0], (member("gcp.csv", tarfile.LNKTYPE, "aws.csv"), b"")), "no plain file"),
    "a folder": (tar(*BOTH, (member("folder", tarfile.DIRTYPE), b"")), "no plain file"),
    "a device": (tar(BOTH[0], (member("gcp.csv", tarfile.CHRTYPE), b"")), "no plain file"),
    "a pipe": (tar(BOTH[0], (member("gcp.csv", tarfile.FIFOTYPE), b"")), "no plain file"),
    "a bomb": (gzip.compress(bytes(50 * MOST)), "unpacks to more than 1 MB"),
    "a file that is too large": (tar((member("aws.csv"), bytes(2 * MOST)), BOTH[1]), "unpacks to more than 1 MB"),
    "no archive": (gzip.compress(b"some text"), "cannot be unpacked"),
    "not even packed": (b"some text", "cannot be unpacked"),
    "nothing": (b"", "cannot be unpacked"),
    "something behind it": (packed(FILES) + b"more", "cannot be unpacked"),
    "another behind it": (packed(FILES) * 2, "cannot be unpacked"),
}


def test_what_was_packed_comes_out() -> None:
    """Whole, by name."""
    assert unpacked(packed(FILES), FILES, MOST) == FILES


def test_the_same_lists_make_the_same_bytes() -> None:
    """Neither order nor time nor owner is in it."""
    assert packed(FILES) == packed(dict(reversed(FILES.items())))
    with tarfile.open(fileobj=io.BytesIO(packed(FILES))) as archive:
        seen = [(each.name, each.mtime, each.uid, each.gid, each.uname, each.mode) for each in archive]
    assert seen == [("aws.csv", 0, 0, 0, "", 0o644), ("gcp.csv", 0, 0, 0, "", 0o644)]
    assert packed(FILES)[4:8] == bytes(4)  # the time in gzip's own header


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_gives_nothing(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with a sentence, and nothing is written anywhere near."""
    monkeypatch.chdir(tmp_path)
    data, says = HOSTILE[case]
    with pytest.raises(UsageError, match=says):
        unpacked(data, FILES, MOST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", range(0, 100, 7))
def test_a_cut_archive_gives_nothing(part: int) -> None:
    """At any length."""
    data = packed(FILES)
    with pytest.raises(UsageError, match=r"cannot be unpacked|lacks"):
        unpacked(data[: len(data) * part // 100], FILES, MOST)


def test_a_sparse_file_is_no_plain_one() -> None:
    """It may say that it is a terabyte of nothing."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        sparse = member("aws.csv")
        sparse.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40)}
        sparse.size = 1
        archive.addfile(sparse, io.BytesIO(b"a"))
    with pytest.raises(UsageError, match="no plain file"):
        unpacked(gzip.compress(made.getvalue()), {"aws.csv"}, MOST)
