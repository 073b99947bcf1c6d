"""Pulumi's command line out of its makers' archive, by checksum; of what is in it the command line alone.

A checksum that we know (`CHECKSUMS`) is the only one believed. Where we know none, the release's own list of them is:
it comes from another site than the archive, so that neither site alone can pass off another program. That proves that
both say the same, and not who made it. The archive also holds language plugins; we need none, and one of them runs
code that a record of the engine names.
"""

from __future__ import annotations

import hashlib
import platform
import re
import sys
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from . import command

ARCHIVES = "https://get.pulumi.com/releases/sdk"
LISTS = "https://github.com/pulumi/pulumi/releases/download"
CHECKSUMS: Mapping[
    str, str
] = {}  # archive -> SHA-256, of the version in `command.VERSION`, once somebody has seen them
MEMBER = "pulumi/pulumi"  # in the archive
SILENCE_S = 30.0  # a server that says nothing for so long has nothing for us
LARGEST_BYTES, LARGEST_LIST_BYTES = 1 << 30, 1 << 20
_SYSTEMS = {"linux": "linux", "darwin": "darwin"}
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S+)")


def fetch(root: Path) -> None:
    """Put `bin/pulumi` into `root`. Raises OSError, ValueError; then there may be something half in it."""
    name = archive_name()
    expected = CHECKSUMS.get(name) or published(name)
    root.mkdir(parents=True, exist_ok=True)
    archive = root / name
    found = download(f"{ARCHIVES}/{name}", archive)
    if found != expected:
        raise ValueError(f"{name} has the checksum {found[:16]}..., and not {expected[:16]}...: nothing of it was run")
    unpack(archive, root / "bin" / "pulumi")
    archive.unlink()


def archive_name() -> str:
    """What the archive for this machine is called. Raises OSError where there is none that we can read."""
    system, machine = _SYSTEMS.get(sys.platform), _MACHINES.get(platform.machine().lower())
    if system is None or machine is None:
        raise OSError(f"no archive is known for {sys.platform} on {platform.machine()}")
    return f"pulumi-v{command.VERSION}-{system}-{machine}.tar.gz"


def published(name: str) -> str:
    """The archive's SHA-256 by the release's list. Raises OSError, and ValueError when it is not in it."""
    url = f"{LISTS}/v{command.VERSION}/pulumi-{command.VERSION}-checksums.txt"
    with urllib.request.urlopen(url, timeout=SILENCE_S) as answer:  # noqa: S310  # https, as written above
        text = answer.read(LARGEST_LIST_BYTES).decode(errors="replace")
    found = {match[2].rpartition("/")[2]: match[1].lower() for match in map(_LINE.match, text.splitlines()) if match}
    if name not in found:
        raise ValueError(f"the release's list of checksums does not name {name}")
    return found[name]


def download(url: str, path: Path) -> str:
    """What is at the address, as a file; its SHA-256. Raises OSError, ValueError."""
    found = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=SILENCE_S) as answer, open(path, "wb") as file:  # noqa: S310
        size = 0
        while block := answer.read(1 << 20):
            size += len(block)
            if size > LARGEST_BYTES:
                raise ValueError(f"{path.name} is larger than {LARGEST_BYTES >> 20} MiB")
            found.update(block)
            file.write(block)
    return found.hexdigest()


def unpack(archive: Path, target: Path) -> None:
    """The command line alone, executable. Raises OSError, and ValueError for an archive without it."""
    try:
        with tarfile.open(archive) as files:
            member = files.extractfile(MEMBER)
            if member is None:
                raise ValueError(f"{archive.name} has no file {MEMBER}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with member, open(target, "wb") as file:
                while block := member.read(1 << 20):
                    file.write(block)
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise ValueError(f"{archive.name} cannot be unpacked: {error}") from None
    target.chmod(0o700)  # the user's own
