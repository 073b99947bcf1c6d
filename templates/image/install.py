"""Make a trainer's environment inside an image build: `python3 install.py BACKEND_FOLDER FLAVOUR index|pypi|base`.

Standard library only. The environment gets the folder name that the client's and the machine's own caches use, so that
whoever looks for it by its key finds it. PyTorch is from its own index (or a folder of wheels), from PyPI (four times
the size), or the one that the base image has. Only PyPI's may bring NVIDIA's libraries: else they end the build.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "machine"))  # in a build it lies next to this file

import flavours

ROOT = Path("/opt/cloudtrain")
WHEELS = Path("/wheels")
CERTIFICATES = Path("/run/ca.pem")
NVIDIA = re.compile(
    r"lib(cu(da|dart|blas|dnn|fft|file|pti|rand|solver|sparse)|nv(idia|jit|rtc|shmem|tx|infer)|nccl)[^/]*\.so|.*cuda[^/]*\.so"
)


def main(arguments: list[str]) -> int:
    """Install, prune, check, note what is in it. Returns the exit code."""
    home, name, source = Path(arguments[0]), arguments[1], arguments[2]
    backend = flavours.read(str(home))
    about = backend["flavours"].get(name, {})
    if "image" not in about:
        made = [name for name, each in backend["flavours"].items() if "image" in each]
        return print_error(f"no image flavour `{name}`; there are {', '.join(made)}")
    folder = ROOT / "environments" / flavours.folder_name(str(home), name, sys.version_info[:2])
    uv = tools(Path(__file__).parent)
    with_base = ["--system-site-packages"] if source == "base" else []
    run([uv, "venv", "--relocatable", *with_base, "--python", sys.executable, str(folder)])
    if not install_packages(uv, folder, home, about["packages"], source):
        pytorch = about["packages"]["pytorch"]
        return print_error(
            f"PyTorch's own index, which has the build for `{pytorch['build']}`, cannot be reached: name a folder "
            "with its wheel (--wheels)"
            + (", or take PyPI's with NVIDIA's libraries (--torch pypi)" if pytorch["or_pypi"] else "")
        )
    image = {**backend.get("image", {}), **about["image"]}
    prune(folder, image.get("keep", {}))
    run([str(folder / "bin" / "python"), "-B", "-c", "".join(f"import {each}\n" for each in image["imports"])])
    found = [library for place in (folder, Path("/usr")) for library in nvidia_libraries(place)]
    if found and source != "pypi":
        return print_error(f"{len(found)} libraries of NVIDIA's are in the image, first `{found[0]}`")
    (ROOT / "environment").symlink_to(folder.relative_to(ROOT))
    noted: dict[str, Any] = {"backend": home.name, "flavour": name, "environment": folder.name}
    noted |= {"accelerator": about["accelerator"], "nvidia": len(found)}
    if "pytorch" in about["packages"]:
        noted["torch"] = torch_version(folder)
    (ROOT / "image.json").write_text(json.dumps(noted))
    return 0


def print_error(message: str) -> int:
    """Say on the standard error why the build ends."""
    sys.stderr.write(f"error: {message}\n")
    return 1


def tools(locks: Path) -> str:
    """uv, in an environment that does not reach the image."""
    run([sys.executable, "-m", "venv", "/build/tools"])
    certificates = ["--cert", str(CERTIFICATES)] if has_certificates() else []
    pip = ["/build/tools/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *certificates]
    run([*pip, "--require-hashes", "-r", str(locks / "uv.lock")])
    return "/build/tools/bin/uv"


def install_packages(uv: str, folder: Path, home: Path, packages: Mapping[str, Any], source: str) -> bool:
    """Every step of the flavour, PyTorch from `source`; False when PyTorch's own index was to have it and cannot."""
    steps = flavours.steps(str(home), packages, "trainer")
    if "pytorch" in packages:
        pytorch, *steps = steps
        if source == "pypi":
            assert pytorch.instead is not None  # the client has looked
            install(uv, folder, pytorch.instead.arguments)
        elif source != "base" and WHEELS.is_dir() and any(WHEELS.glob("torch-*.whl")):
            install(uv, folder, ["--no-index", "--find-links", str(WHEELS), pytorch.arguments[-1]])
        elif source != "base":
            try:
                install(uv, folder, pytorch.arguments, pytorch.variables)
            except subprocess.CalledProcessError:
                return False
    for step in steps:
        install(uv, folder, step.arguments, step.variables)
    return True


def install(uv: str, folder: Path, arguments: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Run `uv pip install` on the environment, without anything that is not named."""
    python = str(folder / "bin" / "python")
    run(
        [uv, "--no-progress", "pip", "install", "--link-mode", "copy", "--python", python, "--no-deps", *arguments], env
    )


def run(command: list[str], env: Mapping[str, str] | None = None) -> None:
    """Run a program; CalledProcessError when it fails."""
    certificates = {"SSL_CERT_FILE": str(CERTIFICATES)} if has_certificates() else {}
    subprocess.run(command, check=True, env={**os.environ, **certificates, **(env or {})})


def has_certificates() -> bool:
    """Whether the build was given certificates; without the secret the file is not there or empty."""
    return CERTIFICATES.is_file() and CERTIFICATES.stat().st_size > 0


def prune(folder: Path, keep: Mapping[str, Sequence[str]]) -> None:
    """Take out compiled Python, and of what a pattern finds everything that its list does not keep."""
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
    for pattern, names in keep.items():
        for library in folder.glob(f"lib/python3*/site-packages/{pattern}"):
            if library.name not in names:
                library.unlink()


def nvidia_libraries(folder: Path) -> list[str]:
    """The names of shared libraries that are NVIDIA's or need one."""
    return sorted(path.name for path in folder.rglob("*.so*") if NVIDIA.match(path.name))


def torch_version(folder: Path) -> str:
    """The PyTorch that the environment imports, with its build, like 2.13.0+cpu."""
    command = [str(folder / "bin" / "python"), "-B", "-c", "import torch; print(torch.__version__)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
