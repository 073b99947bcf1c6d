"""The bundle: what a rented machine needs but the weights, as one archive that is the same for the same input.

    machine/...  supervisor/...  common/...  BACKEND/...  data/...  job.json  bundle.json

`bundle.json` is {"version", "backend", "flavour"}: the folder with the trainer and its description, and which of its
environments is needed. In `job.json` the data's paths are relative to the archive's folder; run, deadline, grace time
and the folders of checkpoints and output are the machine's to fill in.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from cloudtrain import backends
from cloudtrain.errors import UsageError
from cloudtrain.units import gib

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.state.protocol import Store

VERSION = 1
LARGEST_DATA_BYTES = 2 << 30
EVERY_MACHINES = ("machine", "supervisor", "common")  # folders of `templates/` that are in every bundle
MACHINES_OWN = (
    "run",
    "deadline",
    "grace_s",
    "output",
    "quantised",
    "chip",
    "devices",
)  # keys of the job that the machine fills in


class Bundle(NamedTuple):
    """An archive in the state."""

    key: str
    sha256: str
    bytes: int


def ship(store: Store, plan: Plan) -> Bundle:
    """Put the plan's bundle into the state, once for the same content. Raises UsageError for data that is too large."""
    with tempfile.TemporaryFile() as file:
        size, digest = write(plan, file)
        bundle = Bundle(f"bundles/{digest}.tar.gz", digest, size)
        if store.size(bundle.key) != size:
            file.seek(0)
            upload(store, bundle.key, file)
    return bundle


def upload(store: Store, key: str, file: IO[bytes]) -> None:
    """A file of any size, in parts where the state is a bucket."""
    from cloudtrain.state.bucket import ObjectFolder

    if isinstance(store, ObjectFolder):
        store.upload(key, file)
    else:
        store.write(key, file.read())


def write(plan: Plan, file: IO[bytes]) -> tuple[int, str]:
    """Write the archive; returns its size and its SHA-256."""
    with (
        gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, source in sorted(members(plan).items()):
            add(archive, name, source)
    size = file.tell()
    file.seek(0)
    return size, hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it reads and seeks


def add(archive: tarfile.TarFile, name: str, source: bytes | Path) -> None:
    """One member, without anything of this machine: no owner, no time, no rights but the usual."""
    entry = tarfile.TarInfo(name)
    entry.mode = 0o644
    if isinstance(source, bytes):
        entry.size = len(source)
        archive.addfile(entry, io.BytesIO(source))
        return
    try:
        with open(source, "rb") as content:
            entry.size = content.seek(0, 2)
            content.seek(0)
            archive.addfile(entry, content)
    except OSError as error:
        raise UsageError(
            f"`{source}` cannot be read: {error.strerror}", "it belongs to what the machine needs"
        ) from None


def members(plan: Plan) -> dict[str, bytes | Path]:
    """Name in the archive -> content, or the file that holds it. Raises UsageError for data that is too large."""
    data = data_files(plan.job)
    total = sum(path.stat().st_size for path in data.values())
    if total > LARGEST_DATA_BYTES:
        raise UsageError(
            f"the data has {gib(total)}, and a bundle takes {gib(LARGEST_DATA_BYTES)}", "use fewer or shorter rows"
        )
    backend = backends.of_flavour(plan.flavour)
    about = {"version": VERSION, "backend": backend.name, "flavour": plan.flavour}
    own = {"bundle.json": about, "job.json": portable_job(plan.job, data)}
    return {
        **dict(shipped(backend)),
        **data,
        **{name: json.dumps(content, indent=1, sort_keys=True).encode() for name, content in own.items()},
    }


def shipped(backend: backends.BackEnd) -> Iterator[tuple[str, bytes]]:
    """The files of `templates/` that a machine with this back end runs."""
    templates = backends.templates()
    for folder in (*(templates / name for name in EVERY_MACHINES), backend.folder):
        for path in backends.shipped(folder):
            yield path.relative_to(templates).as_posix(), path.read_bytes()


def data_files(job: dict[str, Any]) -> dict[str, Path]:
    """Name in the archive -> file, for what the job trains and evaluates on. The suffix names the kind."""
    found = {}
    for name, key in (("train", "path"), ("eval", "eval_path")):
        if job["data"].get(key):
            path = Path(job["data"][key])
            found[f"data/{name}{suffix(path)}"] = path
    return found


def suffix(path: Path) -> str:
    """By what the reader knows the kind of a data file: `.jsonl`, `.csv.gz`; nothing else of the name travels."""
    found = path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]
    return "".join(found) if all(part.isascii() and part[1:].isalnum() for part in found) else ""


def portable_job(job: dict[str, Any], data: dict[str, Path]) -> dict[str, Any]:
    """The job without anything of this machine or of one attempt."""
    inside = {str(path): name for name, path in data.items()}
    renamed = {key: inside.get(str(job["data"].get(key))) for key in ("path", "eval_path")}
    checkpoint = {key: value for key, value in job["checkpoint"].items() if key != "folder"}
    rest = {key: value for key, value in job.items() if key not in MACHINES_OWN}
    if Path(str(job["model"])).is_absolute():
        rest["model"] = Path(str(job["model"])).name  # the ticket says where its files are
    return {**rest, "data": {**job["data"], **renamed}, "checkpoint": checkpoint}
