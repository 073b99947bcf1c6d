"""Price lists in one archive: the same bytes for the same lists, and no file in it that was not announced."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection, Mapping

from cloudtrain.errors import UsageError

HINT = "nothing was taken from it"
MEMBER_BYTES, END_BYTES = 1024, 10240  # what a member, and the end, add to the contents at the most


def packed(files: Mapping[str, bytes]) -> bytes:
    """Names and contents as a .tar.gz: sorted, without times, owners or a name of its own."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(unpacked.getvalue(), 9, mtime=0)


def unpacked(data: bytes, names: Collection[str], most_bytes: int) -> dict[str, bytes]:
    """The contents of exactly these files. Nothing is written.

    Raises UsageError when it is no archive, is larger unpacked, or holds another file, one twice, or what is no file.
    """
    try:
        found: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(_gunzipped(data, most_bytes)), mode="r:") as archive:
            for member in archive:
                if member.type != tarfile.REGTYPE or member.issparse():
                    raise UsageError("the catalogue's archive holds what is no plain file", HINT)
                if member.name not in names or member.name in found:
                    raise UsageError("the catalogue's archive holds a file that its manifest does not name", HINT)
                content = archive.extractfile(member)
                assert content is not None  # of a plain file
                found[member.name] = content.read(most_bytes)
    except (tarfile.TarError, EOFError, ValueError, OSError, zlib.error, OverflowError, RecursionError):
        raise UsageError("the catalogue's archive cannot be unpacked", HINT) from None
    if missing := sorted(set(names) - set(found)):
        raise UsageError(f"the catalogue's archive lacks {', '.join(missing)}", HINT)
    return found


def _gunzipped(data: bytes, most_bytes: int) -> bytes:
    """Bounded before anything is made of it: a small archive can unpack to a thousand times its size."""
    inflating = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    found = inflating.decompress(data, most_bytes + 1)
    if len(found) > most_bytes:
        raise UsageError(f"the catalogue's archive unpacks to more than {most_bytes / 1e6:g} MB", HINT)
    if not inflating.eof or inflating.unused_data:
        raise EOFError
    return found
