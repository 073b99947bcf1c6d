"""A trainer as a container image: what its name is, building it, pushing it, and which ones are here.

The name is content-addressed: `cloudtrain-BACKEND:FLAVOUR-LOCK-ENTRY`, where LOCK is a hash of everything that decides
the packages and ENTRY one of our own few files. What is there under its name is neither built nor pushed again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain import backends
from cloudtrain.errors import CloudtrainError, UsageError, nearest
from cloudtrain.trainer.container_engine import Engine, Log

if TYPE_CHECKING:  # the same file, where a type checker finds it
    from templates.machine import flavours
else:
    from cloudtrain.templates.machine import flavours

LABEL = "cloudtrain.flavour"
TORCHES = ("index", "pypi", "base")
HASH_LETTERS = 8
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
SHARED = ("common", "supervisor")  # folders of programs that every image holds in addition to its back end's


def image_flavours() -> list[str]:
    """The flavours of which an image can be made."""
    return [name for name, backend in backends.flavours().items() if backend.flavours[name].image is not None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides an image. `base` "" is the one that the back end names.

    `torch`: PyTorch from its own index, PyPI's build with NVIDIA's libraries (`pypi`), or the one of the base image.
    """

    flavour: str = "cpu"
    base: str = ""
    torch: str = "index"

    def __post_init__(self) -> None:
        known = image_flavours()
        if self.flavour not in known:
            close = nearest(self.flavour, known)
            hint = f"did you mean `{close}`?" if close else f"known: {', '.join(known)}"
            raise UsageError(f"no image flavour `{self.flavour}`", hint)
        if self.torch not in TORCHES:
            raise UsageError(f"no source of PyTorch `{self.torch}`", f"known: {', '.join(TORCHES)}")
        pytorch = self.about.packages.get("pytorch", {})
        if self.torch != "index" and not pytorch:
            raise UsageError(f"--torch {self.torch} does not help `{self.flavour}`: it has no PyTorch", "leave it out")
        if self.torch == "pypi" and not pytorch["or_pypi"]:
            raise UsageError(
                f"--torch pypi does not help `{self.flavour}`: PyPI's build of PyTorch has no support for it",
                "name a folder with its wheel: --wheels FOLDER",
            )
        if self.torch == "base" and not self.base:
            raise UsageError("the pinned base image has no PyTorch", "name one that has it: --base IMAGE")

    @property
    def backend(self) -> backends.BackEnd:
        """Whose flavour it is."""
        return backends.of_flavour(self.flavour)

    @property
    def about(self) -> backends.Flavour:
        """The flavour."""
        return self.backend.flavours[self.flavour]

    @property
    def lock_hash(self) -> str:
        """Of everything that decides the packages: the flavour and its locks, installer, Dockerfile, base image."""
        digest = hashlib.sha256(f"{self.flavour}\0{self.base}\0{self.torch}\0".encode())
        digest.update(json.dumps(self.about.image, sort_keys=True).encode())
        digest.update(flavours.decisive_bytes(str(self.backend.folder), self.about.packages))
        return _digest(digest, list(_build_files()))

    @property
    def entry_hash(self) -> str:
        """Of our own files, the thin last layer."""
        return _digest(hashlib.sha256(), list(_entry_files(self.backend)))

    @property
    def tag(self) -> str:
        """FLAVOUR-LOCK-ENTRY."""
        return f"{self.flavour}-{self.lock_hash[:HASH_LETTERS]}-{self.entry_hash[:HASH_LETTERS]}"

    @property
    def repository(self) -> str:
        """The name without place and tag."""
        return f"cloudtrain-{self.backend.name}"

    @property
    def name(self) -> str:
        """The name on this machine."""
        return f"localhost/{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is here. `current`: this version of cloudtrain would build the same, by its labels."""

    names: tuple[str, ...]
    flavour: str
    size_bytes: int
    created: str  # RFC 3339
    lock_hash: str
    torch: str  # index | pypi | base; only PyPI's build brings NVIDIA's libraries
    current: bool


def build(engine: Engine, recipe: Recipe, wheels: Path | None, certificates: Path | None, log: Log) -> str:
    """Build the image unless it is here, and return its name. Takes minutes; `log` gets the engine's lines.

    `wheels` is a folder with PyTorch's wheel for builds without its index; `certificates` a bundle that the build
    trusts (kept out of the image). Raises UsageError, Unavailable (network), CloudtrainError (disk, anything else).
    """
    if wheels is not None and not any(wheels.glob("torch-*.whl")):
        raise UsageError(
            f"`{wheels}` has no wheel of PyTorch", "put torch-*.whl into it, for example by `pip download`"
        )
    if engine.inspect(recipe.name):
        log(f"{recipe.name} is here already")
        return recipe.name
    given = {
        "BACKEND": recipe.backend.name,
        "FLAVOUR": recipe.flavour,
        "BASE": recipe.base or pinned_base(recipe),
        "TORCH": recipe.torch,
        "LOCK_HASH": recipe.lock_hash,
        "ENTRY_HASH": recipe.entry_hash,
    }
    arguments = [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
    arguments += ["--secret", f"id=ca,src={certificates}"] if certificates else []
    arguments += ["--build-context", f"wheels={wheels.resolve()}"] if wheels else []
    with tempfile.TemporaryDirectory(prefix="cloudtrain-image-") as folder:
        context = Path(folder)
        write_context(context, recipe.backend)
        file = str(context / "image" / "Dockerfile")
        engine.run(["build", "-f", file, *arguments, "-t", recipe.name, str(context)], log)
    return recipe.name


def write_context(folder: Path, backend: backends.BackEnd) -> None:
    """Copy what the Dockerfile reads into `folder`, and nothing else."""
    templates = backends.templates()
    locks = {name for each in backend.flavours.values() if each.image for name in flavours.locks(each.packages)}
    for path in [*_build_files(), *_entry_files(backend), *(backend.folder / name for name in sorted(locks))]:
        target = folder / path.relative_to(templates)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def push(engine: Engine, recipe: Recipe, registry: str, log: Log) -> str:
    """Push the image unless the registry has it; return registry/name:tag, with @digest when this call pushed it.

    Raises UsageError without a registry or image, MissingCredentials, Permission, Unavailable, CloudtrainError.
    """
    if not registry:
        raise UsageError("no registry is set", "`cloudtrain config set registry HOST/PATH`, or --registry")
    remote = f"{registry}/{recipe.repository}:{recipe.tag}"
    if engine.is_in_registry(remote):
        log(f"{remote} is there already")
        return remote
    if not engine.inspect(recipe.name):
        raise UsageError(
            f"`{recipe.name}` is not here", f"build it first: `cloudtrain image build --flavour {recipe.flavour}`"
        )
    if engine.ask("tag", recipe.name, remote) is None:
        raise CloudtrainError(f"{engine.program} cannot name the image `{remote}`", "check the setting `registry`")
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cloudtrain-image-") as folder:
        note = Path(folder) / "digest"
        podman = ["--digestfile", str(note)] if engine.program == "podman" else []

        def on_line(line: str) -> None:
            said.append(line)
            log(line)

        engine.run(["push", *engine.without_tls(registry), *podman, remote], on_line)
        text = note.read_text() if note.exists() else " ".join(said)
    digest = re.search(r"sha256:[0-9a-f]{64}", text)
    return f"{remote}@{digest[0]}" if digest else remote


def here(engine: Engine) -> list[Image]:
    """The trainer images of this machine, newest first."""
    listed = engine.ask("images", "-q", "--no-trunc", "--filter", f"label={LABEL}")
    images = []
    for about in engine.inspect(*sorted(set((listed or "").split()))):
        labels = about["Config"].get("Labels") or {}
        images.append(
            Image(
                tuple(about.get("RepoTags") or ()),
                labels.get(LABEL, ""),
                int(about["Size"]),
                str(about["Created"]),
                labels.get("cloudtrain.lock", ""),
                labels.get("cloudtrain.torch", ""),
                _is_current(labels),
            )
        )
    return sorted(images, key=lambda image: image.created, reverse=True)


def _is_current(labels: dict[str, str]) -> bool:
    """Whether this version of cloudtrain would put the same into an image made in the same way."""
    base = labels.get("cloudtrain.base", "")
    try:
        recipe = Recipe(labels[LABEL])
        recipe = Recipe(recipe.flavour, "" if base == pinned_base(recipe) else base, labels["cloudtrain.torch"])
    except (UsageError, KeyError):
        return False
    return (recipe.lock_hash, recipe.entry_hash) == (labels.get("cloudtrain.lock"), labels.get("cloudtrain.entry"))


def pinned_base(recipe: Recipe) -> str:
    """The base image that the flavour's back end names, with its digest."""
    return str((recipe.about.image or {})["base"])


def _build_files() -> list[Path]:
    """What installs the packages, of whatever back end."""
    templates = backends.templates()
    image, machine = templates / "image", templates / "machine"
    return [image / "Dockerfile", image / "install.py", machine / "flavours.py", machine / "uv.lock"]


def _entry_files(backend: backends.BackEnd) -> Iterator[Path]:
    """The trainer's own programs and what starts them, in a fixed order."""
    templates = backends.templates()
    yield templates / "image" / "entrypoint.py"
    for folder in (*(templates / name for name in SHARED), backend.folder):
        yield from (path for path in backends.shipped(folder) if path.suffix != ".lock")


def _digest(digest: hashlib._Hash, paths: list[Path]) -> str:
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(backends.templates())}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
