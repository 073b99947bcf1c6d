"""What is published, as records: the signed manifest, and what of it was pulled here last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from cloudtrain.errors import DamagedRecord, UsageError
from cloudtrain.prices.records import Held
from cloudtrain.records.door import read
from cloudtrain.records.form import Form, Instant, Record

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
PROVIDER = re.compile(r"[a-z][a-z0-9_]{0,31}")
ARCHIVE = re.compile(r"prices-[0-9TZ-]{1,30}\.tar\.gz")  # one name in the same folder, and nothing that leads elsewhere


class PublishedList(Form):
    """One provider's list in the archive. `asked_at`: when the provider was asked; counts are of prices."""

    sha256: Sha256
    asked_at: Instant
    asked: Count
    kept: Count
    tool: str
    held: tuple[Held, ...] = ()  # prices that jumped, and still are the old ones in it


class PublishedArchive(Form):
    """The file with the lists, beside the manifest."""

    name: str
    sha256: Sha256


class PublishedManifest(Record):
    """`manifest.json`: what the signature is for. A later one has a greater `made` (epoch seconds)."""

    made: Instant
    archive: PublishedArchive
    lists: Mapping[str, PublishedList]


class PulledRecord(Record):
    """`published.json` beside the refreshed lists: the newest manifest that was believed here.

    `etag` is what its address called it, "" unless all of it counts here.
    """

    made: Instant
    sha256: Sha256
    address: str
    etag: str


def parsed(data: bytes) -> PublishedManifest:
    """The manifest in these bytes. Raises UsageError."""
    hint = "a newer cloudtrain may read it: nothing was taken"
    try:
        found = read(PublishedManifest, data, "manifest.json")
    except DamagedRecord as error:
        raise UsageError(f"the catalogue's manifest cannot be read: {error.message.partition(': ')[2]}", hint) from None
    if not ARCHIVE.fullmatch(found.archive.name) or not all(map(PROVIDER.fullmatch, found.lists)):
        raise UsageError(
            "the catalogue's manifest cannot be read: it has a name that is none of a list or an archive", hint
        )
    return found
