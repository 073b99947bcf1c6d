"""Container images of the trainer: content-addressed names, one build, one push, engines that say no, the installer."""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloudtrain import backends
from cloudtrain.errors import CloudtrainError, MissingCredentials, Permission, Unavailable, UsageError
from cloudtrain.trainer import container_engine, environment, image
from tests.conftest import Result

IMAGE = Path(str(files("cloudtrain.templates"))) / "image"

# Stands in for podman or docker: notes its arguments, keeps its images in a file, says and fails what it is told to.
FAKE = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(os.environ["FAKE_ENGINE"])
words = sys.argv[1:]
with open(here / "calls", "a") as calls:
    calls.write(json.dumps(words) + chr(10))
kept = here / "images.json"
images = json.loads(kept.read_text()) if kept.exists() else {{}}
verb = words[0]
said = here / ("say-" + verb)
if said.exists():
    print(said.read_text())
    sys.exit(1)
if verb == "build":
    context = Path(words[-1])
    (here / "context").write_text(json.dumps(sorted(str(p.relative_to(context)) for p in context.rglob("*") if p.is_file())))
    args = dict(w.split("=", 1) for b, w in zip(words, words[1:]) if b == "--build-arg")
    labels = {{"cloudtrain.flavour": args["FLAVOUR"], "cloudtrain.lock": args["LOCK_HASH"],
              "cloudtrain.entry": args["ENTRY_HASH"], "cloudtrain.torch": args["TORCH"],
              "cloudtrain.base": args["BASE"]}}
    name = words[words.index("-t") + 1]
    images[name] = {{"Id": str(len(images)), "RepoTags": [name], "Created": "2026-11-24T12:00:00Z", "Size": 1520000000,
                    "Config": {{"Labels": labels}}}}
    print("STEP 1/1")
elif verb == "image":
    found = [images.get(w) or next((i for i in images.values() if i["Id"] == w), None) for w in words[2:]]
    if not all(found):
        sys.exit(125)
    print(json.dumps(found))
elif verb == "images":
    print(chr(10).join(i["Id"] for i in images.values()))
elif verb in ("manifest", "search"):
    pushed = (here / "pushed").read_text() if (here / "pushed").exists() else ""
    if not pushed.startswith(words[-1]):
        sys.exit(1)
    print(pushed.rpartition(":")[2])
elif verb == "push":
    (here / "pushed").write_text(words[-1])
    if "--digestfile" in words:
        Path(words[words.index("--digestfile") + 1]).write_text("sha256:" + "a" * 64)
    else:
        print("v1: digest: sha256:" + "b" * 64 + " size: 1234")
kept.write_text(json.dumps(images))
"""


class Fake:
    """The folder of a fake engine: what it was asked, and what it shall say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def calls(self, verb: str) -> list[list[str]]:
        lines = (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []
        return [words for words in map(json.loads, lines) if words[0] == verb]

    def refuse(self, verb: str, words: str) -> None:
        (self.folder / f"say-{verb}").write_text(words)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fake]:
    """PATH holds nothing but the named fake engines."""

    def engines(*programs: str) -> Fake:
        for program in programs:
            path = tmp_path / "bin" / program
            path.parent.mkdir(exist_ok=True)
            path.write_text(FAKE.format(python=sys.executable))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("FAKE_ENGINE", str(tmp_path))
        return Fake(tmp_path)

    for name in image.CERTIFICATES:
        monkeypatch.delenv(name, raising=False)
    return engines


def read_anew(monkeypatch: pytest.MonkeyPatch, templates: Path) -> None:
    """Let the back ends be those of another folder."""
    found = [backends.read(path) for path in sorted(templates.glob("*/backend.json"))]
    monkeypatch.setattr(backends, "templates", lambda: templates)
    monkeypatch.setattr(backends, "flavours", lambda: {name: each for each in found for name in each.flavours})


def quiet(line: str) -> None:
    """Nobody listens."""


def test_an_image_is_built_once_and_found_current(make: Callable[..., Fake], cloudtrain: Any) -> None:
    """The second build asks for nothing; `ls` shows the image as what this version would build, valid by its schema."""
    fake = make("podman")
    first, second = cloudtrain("image", "build"), cloudtrain("image", "build")
    assert (first.code, second.code) == (0, 0)
    assert first.out == second.out == f"{image.Recipe().name}\n"
    assert len(fake.calls("build")) == 1
    listed = cloudtrain("image", "ls", "-o", "json")
    (shown,) = json.loads(listed.out)
    jsonschema.validate(json.loads(listed.out), json.loads(cloudtrain("schema", "image").out))
    assert shown["lock_hash"] == image.Recipe().lock_hash
    assert (shown["current"], shown["torch"], shown["size_bytes"]) == (True, "index", 1_520_000_000)
    assert "1.52 GB" in cloudtrain("image", "ls").out


def test_the_context_is_exactly_what_the_dockerfile_copies(make: Callable[..., Fake]) -> None:
    """Every file that a COPY names is there; no compiled Python, no spec, no data of the user."""
    fake = make("podman")
    image.build(container_engine.find(), image.Recipe(), None, None, quiet)
    context = set(json.loads((fake.folder / "context").read_text()))
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (IMAGE / "Dockerfile").read_text(), re.MULTILINE)
    for source in " ".join(copied).replace("${BACKEND}", "torch").split():
        assert [name for name in context if Path(name).match(source) or name.startswith(source)], source
    assert {f"torch/{name}" for name in ("train.py", "loop.py", "ask.py", "backend.json", "torch.lock")} <= context
    assert {"common/job.py", "image/entrypoint.py", "supervisor/supervisor.py"} <= context
    assert not [name for name in context if not name.endswith((".py", ".lock", ".json", "Dockerfile"))]


def test_names_change_only_with_what_the_image_holds() -> None:
    """Flavour, base and the other PyTorch each give another name; the same recipe always gives the same one."""
    recipes = [image.Recipe(flavour) for flavour in image.image_flavours()]
    recipes += [
        image.Recipe("cpu", base="debian"),
        image.Recipe("cpu", torch="pypi"),
        image.Recipe("cpu", base="debian", torch="base"),
    ]
    assert len({recipe.tag for recipe in recipes}) == len(recipes)
    assert image.Recipe().tag == image.Recipe().tag
    assert re.fullmatch(r"cpu-[0-9a-f]{8}-[0-9a-f]{8}", image.Recipe().tag)


def test_an_entry_point_that_changes_leaves_the_packages_hash_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our few files are a layer of their own: the large one keeps its name; a changed lock gives another."""
    import shutil

    before = image.Recipe()
    locks, entry = before.lock_hash, before.entry_hash
    shutil.copytree(IMAGE.parent, tmp_path / "templates")
    read_anew(monkeypatch, tmp_path / "templates")
    assert (before.lock_hash, before.entry_hash) == (locks, entry)
    with (tmp_path / "templates" / "torch" / "train.py").open("a") as file:
        file.write("# changed\n")
    assert before.lock_hash == locks
    assert before.entry_hash != entry
    with (tmp_path / "templates" / "torch" / "requirements.lock").open("a") as file:
        file.write("# changed\n")
    assert before.lock_hash != locks
    assert image.Recipe("longcat").lock_hash != image.Recipe("cpu").lock_hash


@pytest.mark.parametrize(("program", "digest"), [("podman", "a" * 64), ("docker", "b" * 64)])
def test_an_image_is_pushed_once_and_named_by_its_digest(
    make: Callable[..., Fake],
    cloudtrain: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    digest: str,
) -> None:
    """The setting says where to; the second push finds it there and sends nothing."""
    fake = make(program)
    monkeypatch.setenv("CLOUDTRAIN_REGISTRY", "ghcr.io/acme")
    cloudtrain("image", "build")
    remote = f"ghcr.io/acme/cloudtrain-torch:{image.Recipe().tag}"
    assert cloudtrain("image", "push").out == f"{remote}@sha256:{digest}\n"
    assert cloudtrain("image", "push").out == f"{remote}\n"
    assert [words[-1] for words in fake.calls("push")] == [remote]


def test_only_a_registry_on_this_machine_needs_no_tls() -> None:
    """A host that merely begins like one is not."""
    podman, docker = container_engine.Engine("podman"), container_engine.Engine("docker")
    assert podman.without_tls("localhost:5000/x") == podman.without_tls("127.0.0.1:5000") == ["--tls-verify=false"]
    assert podman.without_tls("localhost.example.com/x") == podman.without_tls("ghcr.io/acme") == []
    assert docker.without_tls("localhost:5000/x") == []


def test_a_push_without_registry_or_image_says_what_to_do(make: Callable[..., Fake], cloudtrain: Any) -> None:
    """Neither reaches a registry."""
    fake = make("podman")
    nowhere, nothing = cloudtrain("image", "push"), cloudtrain("image", "push", "--registry", "ghcr.io/acme")
    assert (nowhere.code, nothing.code) == (2, 2)
    assert "config set registry" in nowhere.err
    assert "cloudtrain image build --flavour cpu" in nothing.err
    assert fake.calls("push") == []


def test_the_engine_is_the_first_that_answers(make: Callable[..., Fake]) -> None:
    """podman before docker; one that is installed but does not answer is passed over."""
    fake = make("podman", "docker")
    assert container_engine.find().program == "podman"
    assert container_engine.find("docker").program == "docker"
    (fake.folder / "bin" / "podman").write_text("#!/bin/sh\nexit 1\n")
    assert container_engine.find().program == "docker"
    with pytest.raises(UsageError, match="`podman` does not answer"):
        container_engine.find("podman")


def test_without_an_engine_the_hint_says_runs_need_none(make: Callable[..., Fake], cloudtrain: Any) -> None:
    """Exit 2 and a way on."""
    make()
    shown = cloudtrain("image", "ls")
    assert shown.code == 2
    assert "apt-get install podman" in shown.err
    assert "a run does not need an image" in shown.err


@pytest.mark.parametrize(
    ("verb", "said", "kind", "words"),
    [
        ("build", "error: PyTorch's own index cannot be reached\nError: building at STEP", Unavailable, "own index"),
        ("build", "write /x: no space left on device", CloudtrainError, "disk is full"),
        ("build", "Error: pinging registry: dial tcp: lookup x: no such host", Unavailable, "no such host"),
        ("build", "", CloudtrainError, "printed nothing"),
        ("push", "Error: unauthorized: access token", MissingCredentials, "refuses"),
        ("push", "denied: requested access to the resource is denied", Permission, "refuses"),
    ],
)
def test_a_failing_engine_is_an_error_of_the_set(
    make: Callable[..., Fake], verb: str, said: str, kind: type[CloudtrainError], words: str
) -> None:
    """What it said is in the message, and the kind gives the exit code."""
    fake = make("podman")
    engine = container_engine.find()
    if verb == "push":
        image.build(engine, image.Recipe(), None, None, quiet)
    fake.refuse(verb, said)
    acts = {
        "build": lambda: image.build(engine, image.Recipe(), None, None, quiet),
        "push": lambda: image.push(engine, image.Recipe(), "ghcr.io/acme", quiet),
    }
    with pytest.raises(CloudtrainError, match=words) as caught:
        acts[verb]()
    assert type(caught.value) is kind
    assert caught.value.hint


def test_certificates_and_wheels_are_lent_to_the_build(
    make: Callable[..., Fake], cloudtrain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a secret and as a named context: neither is an argument whose value gets into the image."""
    fake = make("podman")
    (tmp_path / "ca.pem").write_text("certificate")
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    empty = cloudtrain("image", "build", "--wheels", str(tmp_path / "wheels"))
    assert (empty.code, fake.calls("build")) == (2, [])
    (tmp_path / "wheels" / "torch-2.13.0+cpu-cp312-cp312-linux_x86_64.whl").touch()
    assert cloudtrain("image", "build", "--wheels", str(tmp_path / "wheels")).code == 0
    (words,) = fake.calls("build")
    assert f"id=ca,src={tmp_path}/ca.pem" in words
    assert f"wheels={tmp_path}/wheels" in words


def test_unknown_flavours_and_helpless_flags_are_refused(cloudtrain: Any) -> None:
    """Before any engine is asked."""
    assert "did you mean `longcat`?" in cloudtrain("image", "build", "--flavour", "cpu-longcat").err
    refused = cloudtrain("image", "build", "--flavour", "rocm", "--torch", "pypi")
    assert refused.code == 2
    assert "--wheels" in refused.err
    assert "--base IMAGE" in cloudtrain("image", "build", "--torch", "base").err


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program that runs inside the build."""
    monkeypatch.syspath_prepend(str(IMAGE))
    return import_module("install")


def test_the_images_environment_has_the_clients_cache_key(
    installer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine's agent in the image looks where it looks everywhere, so the folder must have the very same name."""
    made: list[str] = []
    monkeypatch.setattr(installer, "ROOT", tmp_path)
    monkeypatch.setattr(installer, "tools", lambda locks: "uv")
    monkeypatch.setattr(installer, "install", lambda *arguments: None)
    monkeypatch.setattr(installer, "run", lambda command: made.append(command[-1]))
    monkeypatch.setattr(installer, "torch_version", lambda folder: "2.13.0")
    monkeypatch.setattr(installer, "nvidia_libraries", lambda folder: [])
    for flavour in image.image_flavours():
        folder = backends.of_flavour(flavour).folder
        assert installer.main([str(folder), flavour, "index"]) == 0
        assert Path(made[-2]).name == environment._folder(flavour).name
        assert "import bitsandbytes\n" in made[-1]
        about = json.loads((tmp_path / "image.json").read_text())
        assert (about["backend"], about["flavour"], about["environment"]) == ("torch", flavour, Path(made[-2]).name)
        (tmp_path / "environment").unlink()
    assert installer.main([str(folder), "xpu", "index"]) == 1


def kept(flavour: str) -> Any:
    """What the description says stays of a flavour's libraries."""
    return image.Recipe(flavour).about.image["keep"]  # type: ignore[index]


def test_libraries_of_nvidia_are_pruned_and_others_left(installer: Any, tmp_path: Path) -> None:
    """What PyPI's PyTorch brings is found; PyTorch's own CPU libraries are not taken for it. Pruning leaves one of ours."""
    libraries = tmp_path / "lib" / "python3.12" / "site-packages" / "bitsandbytes"
    (libraries / "__pycache__").mkdir(parents=True)
    theirs = [
        "libcudart.so.13",
        "libcublasLt.so.13",
        "libcudnn.so.9",
        "libnccl.so.2",
        "libcupti.so.13",
        "libtorch_cuda.so",
    ]
    theirs += ["libnvrtc.so.13", "libcusparseLt.so.0", "libnvshmem_host.so.3", "libcufile.so.0"]
    ours = ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcurl.so.4", "libtorch_python.so"]
    for name in [*theirs, *ours, "libbitsandbytes_cpu.so", "libbitsandbytes_cuda130.so", "libbitsandbytes_rocm72.so"]:
        (libraries / name).touch()
    assert installer.nvidia_libraries(tmp_path) == sorted([*theirs, "libbitsandbytes_cuda130.so"])
    installer.prune(tmp_path, kept("rocm"))
    assert installer.nvidia_libraries(tmp_path) == sorted(theirs)
    assert (libraries / "libbitsandbytes_rocm72.so").exists()
    assert not (libraries / "__pycache__").exists()
    installer.prune(tmp_path, kept("cpu"))
    assert sorted(path.name for path in libraries.glob("libbits*")) == ["libbitsandbytes_cpu.so"]


def test_the_base_is_pinned_and_the_user_is_not_root() -> None:
    """A moved tag cannot change an image; the container's process owns nothing but its working folders."""
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image.pinned_base(image.Recipe()))
    text = (IMAGE / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["1000:1000"]
    assert text.index("COPY --from=packages") < text.index("COPY ${BACKEND}/ ")
