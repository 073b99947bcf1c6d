"""Makes what is published of a folder of refreshed price lists: the archive, then its signature and manifest, last."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain.errors import UsageError
from cloudtrain.prices import folder
from cloudtrain.prices.published import archive, check, keys, origin
from cloudtrain.prices.published.manifest import PublishedArchive, PublishedList, PublishedManifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from cloudtrain.prices.published.check import Judged


def publish(
    place: Path, against: Path | None, target: Path, key: Ed25519PrivateKey, now: float
) -> tuple[list[Judged], tuple[Path, ...]]:
    """Write the lists that pass; the verdict of each, and the files in the order in which they are to be uploaded.

    Raises UsageError when no list passes, and when they cannot be written.
    """
    verdicts = check.judged(place, against, now)
    found = check.lists(place)
    texts: dict[str, bytes] = {}
    lists: dict[str, PublishedList] = {}
    for provider in (verdict.provider for verdict in verdicts if not verdict.faults):
        path, entry = found[provider]
        if entry is None:
            raise UsageError(
                f"`{place}` has no {folder.MANIFEST}: nobody could say when its prices were asked for",
                "name the folder that CLOUDTRAIN_PRICES names for `prices refresh`",
            )
        texts[provider] = path.read_bytes()
        lists[provider] = PublishedList(
            sha256=entry.sha256,
            asked_at=entry.asked_at,
            asked=entry.asked,
            kept=entry.kept,
            tool=entry.tool,
            held=entry.held,
        )
    if not lists:
        raise UsageError("no price list passes the gate: nothing is published", "`cloudtrain prices gate` says why")
    return verdicts, _written(target, made(lists, texts, key, now))


def made(
    lists: Mapping[str, PublishedList], texts: Mapping[str, bytes], key: Ed25519PrivateKey, now: float
) -> dict[str, bytes]:
    """The three files, the manifest last. The same lists, key and time give the same bytes."""
    packed = archive.packed({f"{provider}.csv": text for provider, text in texts.items()})
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H%M%SZ")
    name = f"prices-{moment}.tar.gz"
    manifest = PublishedManifest(
        made=float(int(now)),
        archive=PublishedArchive(name=name, sha256=folder.digest(packed)),
        lists=dict(sorted(lists.items())),
    ).as_bytes()
    unpacked_bytes = sum(map(len, texts.values())) + archive.MEMBER_BYTES * len(texts) + archive.END_BYTES
    if max(len(packed), unpacked_bytes) > origin.MOST_BYTES or len(manifest) > origin.MOST_MANIFEST_BYTES:
        raise UsageError("the price lists are larger than `prices pull` takes", "see MOST_BYTES in origin.py")
    return {name: packed, origin.SIGNATURE: keys.sign(manifest, key), origin.MANIFEST: manifest}


def _written(target: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (target / name).write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write `{target}`: {error.strerror or error}") from None
    return tuple(target / name for name in files)
