"""Where a published catalogue is read: a folder that somebody has downloaded, or an address."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cloudtrain.errors import UsageError
from cloudtrain.files import read_beginning
from cloudtrain.prices.published import origin
from cloudtrain.prices.published.download import Answer, Door


class Place(Protocol):
    """Hands out files by name. Raises UsageError for what must not be taken, Unavailable where nobody answers."""

    address: str

    def get(self, name: str, most_bytes: int, etag: str = "") -> Answer | None:
        """The file; None when it is still the one with that etag."""


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self._path = path

    def get(self, name: str, most_bytes: int, etag: str = "") -> Answer | None:
        """The file, whatever the etag."""
        path = self._path / name
        try:
            data = read_beginning(path, most_bytes)
        except OSError as error:
            beside = f"{origin.MANIFEST}, {origin.SIGNATURE} and the archive lie beside each other"
            raise UsageError(f"cannot read `{path}`: {error.strerror or error}", beside) from None
        if len(data) > most_bytes:
            raise UsageError(f"`{path}` is larger than {most_bytes / 1e6:g} MB", "nothing was taken from it")
        return Answer(data, "")


def chosen(file: Path | None, url: str | None) -> Place:
    """What was named: one of the three files or their folder, an address, or else that of this version.

    Raises UsageError where there is none.
    """
    if file is not None and url is not None:
        raise UsageError("--file and --url are two places", "leave one of them out")
    if file is not None:
        return Folder(file if file.is_dir() else file.parent)
    address = url or origin.ADDRESS
    if not address:
        raise UsageError(
            "no catalogue is published yet: this version knows no address to pull prices from",
            "`cloudtrain prices refresh` asks the providers; --file F and --url U take a catalogue of somebody's",
        )
    return Door(address, origin.HOSTS, origin.SECONDS)
