"""Make the trainer's environment inside an image build: `python3 image_install.py FLAVOUR index|pypi|base`.

Standard library only. The environment gets the folder name that the client's and the machine's own caches use, so that
whoever looks for it by its key finds it. PyTorch is from its own index (or a folder of wheels), from PyPI (four times
the size), or the one that the base image has. Only PyPI's may bring NVIDIA's libraries: else they end the build.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/opt/cloudtrain")
WHEELS = Path("/wheels")
CERTIFICATES = Path("/run/ca.pem")
INDEX_PATIENCE_S = "10"
NVIDIA = re.compile(
    r"lib(cu(da|dart|blas|dnn|fft|file|pti|rand|solver|sparse)|nv(idia|jit|rtc|shmem|tx|infer)|nccl)[^/]*\.so|.*cuda[^/]*\.so"
)


class Flavour(NamedTuple):
    """An image flavour: the environment's name and description (both are part of its key), and what else it needs."""

    environment: str
    about: str  # what the client's table of environments says, to the letter: it is hashed
    lock: str
    torch_backend: str
    any_build: bool  # whether PyPI's build of PyTorch does too
    keep: str  # the bitsandbytes library of this flavour; the others are for other accelerators


FLAVOURS = {
    "cpu": Flavour(
        "cpu",
        "Flavour(lock='requirements.lock', torch_backend='cpu', any_build=True)",
        "requirements.lock",
        "cpu",
        True,
        "cpu",
    ),
    "cpu-longcat": Flavour(
        "longcat",
        "Flavour(lock='requirements-longcat.lock', torch_backend='cpu', any_build=True)",
        "requirements-longcat.lock",
        "cpu",
        True,
        "cpu",
    ),
    "rocm": Flavour(
        "rocm",
        "Flavour(lock='requirements.lock', torch_backend='rocm7.2', any_build=False)",
        "requirements.lock",
        "rocm7.2",
        False,
        "rocm72",
    ),
}


def key(flavour: Flavour, locks: Path) -> str:
    """The environment's key for this Python and platform: the one of the client's cache (`runs/environment.py`)."""
    digest = hashlib.sha256(f"{flavour.about} {sys.version_info[:2]} {sys.platform} {platform.machine()}".encode())
    for name in (flavour.lock, "torch.lock"):
        digest.update((locks / name).read_bytes())
    return digest.hexdigest()[:16]


def main(arguments: list[str]) -> int:
    """Install, prune, check, note what is in it. Returns the exit code."""
    name = arguments[0] if arguments else "cpu"
    if name not in FLAVOURS:
        return complain(f"no flavour `{name}`; there are {', '.join(FLAVOURS)}")
    source = arguments[1] if arguments[1:] else "index"
    flavour, locks = FLAVOURS[name], Path(__file__).parent
    folder = ROOT / "environments" / f"{flavour.environment}-{key(flavour, locks)}"
    uv = tools(locks)
    with_base = ["--system-site-packages"] if source == "base" else []
    run([uv, "venv", "--relocatable", *with_base, "--python", sys.executable, str(folder)])
    if source != "base" and not install_torch(uv, folder, flavour, locks, source):
        return complain(
            f"PyTorch's own index, which has the build for `{flavour.torch_backend}`, cannot be reached: name a folder "
            "with its wheel (--wheels)"
            + (", or take PyPI's with NVIDIA's libraries (--torch pypi)" if flavour.any_build else "")
        )
    install(uv, folder, "--require-hashes", "--requirements", str(locks / flavour.lock))
    prune(folder, flavour)
    run([str(folder / "bin" / "python"), "-B", "-c", "import torch, transformers, trl, peft, bitsandbytes, datasets"])
    found = [name for place in (folder, Path("/usr")) for name in nvidia_libraries(place)]
    if found and source != "pypi":
        return complain(f"{len(found)} libraries of NVIDIA's are in the image, first `{found[0]}`")
    (ROOT / "environment").symlink_to(folder.relative_to(ROOT))
    about = {"flavour": name, "environment": folder.name, "accelerator": "rocm" if name == "rocm" else "cpu"}
    (ROOT / "image.json").write_text(json.dumps({**about, "torch": torch_version(folder), "nvidia": len(found)}))
    return 0


def complain(sentence: str) -> int:
    """Say on the standard error why the build ends."""
    sys.stderr.write(f"error: {sentence}\n")
    return 1


def tools(locks: Path) -> str:
    """uv, in an environment that does not reach the image."""
    run([sys.executable, "-m", "venv", "/build/tools"])
    certificates = ["--cert", str(CERTIFICATES)] if has_certificates() else []
    pip = ["/build/tools/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *certificates]
    run([*pip, "--require-hashes", "-r", str(locks / "image-tools.lock")])
    return "/build/tools/bin/uv"


def install_torch(uv: str, folder: Path, flavour: Flavour, locks: Path, source: str) -> bool:
    """PyTorch from PyPI if asked, else from the folder of wheels or from its own index; False: from none."""
    lines = (locks / "torch.lock").read_text().splitlines()
    wanted = next(line.split()[0] for line in lines if line.startswith("torch=="))
    if source == "pypi":
        install(uv, folder, "--require-hashes", "--requirements", str(locks / "torch.lock"))
        return True
    if WHEELS.is_dir() and any(WHEELS.glob("torch-*.whl")):
        install(uv, folder, "--no-index", "--find-links", str(WHEELS), wanted)
        return True
    patience = {"UV_HTTP_TIMEOUT": INDEX_PATIENCE_S, "UV_HTTP_RETRIES": "0"}
    try:
        install(uv, folder, "--torch-backend", flavour.torch_backend, wanted, env=patience)
    except subprocess.CalledProcessError:
        return False
    return True


def install(uv: str, folder: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Run `uv pip install` on the environment, without anything that is not named."""
    python = str(folder / "bin" / "python")
    run(
        [uv, "--no-progress", "pip", "install", "--link-mode", "copy", "--python", python, "--no-deps", *arguments], env
    )


def run(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a program; CalledProcessError when it fails."""
    certificates = {"SSL_CERT_FILE": str(CERTIFICATES)} if has_certificates() else {}
    subprocess.run(command, check=True, env={**os.environ, **certificates, **(env or {})})


def has_certificates() -> bool:
    """Whether the build was given certificates; without the secret the file is not there or empty."""
    return CERTIFICATES.is_file() and CERTIFICATES.stat().st_size > 0


def prune(folder: Path, flavour: Flavour) -> None:
    """Take out compiled Python and the bitsandbytes libraries of other accelerators (300 MB)."""
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
    for library in folder.glob("lib/python3*/site-packages/bitsandbytes/libbitsandbytes_*.so"):
        if library.stem not in ("libbitsandbytes_cpu", f"libbitsandbytes_{flavour.keep}"):
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
