"""Whether a run on this machine goes as its quote says once the machine was probed: three settings, 50 steps each.

    python tests/bench/probe_holds.py [STEPS] [SETTING ...]

Aim, on an idle machine: within 20 % of likely, and the trainer takes the faster number type. SmolLM2-135M with QLoRA and
rows of 128 and of 256 tokens, and Qwen3-0.6B's shape with random weights and SmolLM2's tokenizer (no model hub). Prints
what the probe found, and a line for each setting. The state is a folder of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

TEMPLATES = Path(str(files("cloudtrain.templates")))
PROGRAM = str(Path(sys.executable).parent / "cloudtrain")
SETTINGS = {"135m-128": ("135m", 128), "135m-256": ("135m", 256), "0.6b-256": ("0.6b", 256)}

MAKE = """
import shutil, sys, torch
from pathlib import Path
from transformers import Qwen3Config, Qwen3ForCausalLM
tokenizer, folder = map(Path, sys.argv[1:])
torch.manual_seed(1)
torch.set_default_dtype(torch.bfloat16)
Qwen3ForCausalLM(Qwen3Config(
    vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
    num_key_value_heads=8, head_dim=128, tie_word_embeddings=True, max_position_embeddings=40960,
)).save_pretrained(folder)
for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
    shutil.copy(tokenizer / name, folder)
"""


def rows(path: Path) -> None:
    """Texts that are longer than a row, so that each is cut to a full one: the quote is of full rows, too."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(200):
            file.write(json.dumps({"text": " ".join(f"word{number * 7 % 50 + at}" for at in range(120))}) + "\n")


def answer(env: dict[str, str], *words: str) -> dict[str, Any]:
    """The JSON of a command."""
    done = subprocess.run([PROGRAM, *words, "-o", "json"], env=env, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def hold(env: dict[str, str], folder: Path, model: Path, length: int, steps: int) -> str:
    """Quote, run, and say how far the one was from the other."""
    folder.mkdir()
    rows(folder / "rows.jsonl")
    quote = answer(env, "quote", str(model), "--seq", str(length), "--batch", "1", "--infra", "local")
    line = quote["lines"][0]
    likely = quote["work"]["tokens"] / line["time_parts_s"]["steps"]["likely"]
    spec = f"model: {model}\ndata: rows.jsonl\nsequence_length: {length}\nmicro_batch: 1\ngrad_accum: 1\nmax_steps: {steps}\n"
    (folder / "cloudtrain.yaml").write_text(spec, encoding="utf-8")
    before = set(Path(env["CLOUDTRAIN_STATE"]).glob("runs/*"))
    subprocess.run([PROGRAM, "up", "-y", "--infra", "local"], cwd=folder, env=env, check=True, capture_output=True)
    (run,) = set(Path(env["CLOUDTRAIN_STATE"]).glob("runs/*")) - before
    measured = json.loads((run / "measured.json").read_text(encoding="utf-8"))
    metered = measured["tokens_per_second"]
    off = 100 * (metered / likely - 1)
    load = "" if measured.get("load") is None else f", others had {100 * measured['load']:.0f} %"
    return (
        f"quoted likely {likely:.1f}, metered {metered:.1f} tokens/s, off {off:+.0f} %"
        f" (quoted in {line['recipe']['dtype']}, ran in {measured['dtype']}{load})"
    )


def main() -> None:
    """Probe, then each setting."""
    from cloudtrain.trainer import environment

    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    python = str(environment.ensure("cpu", print))
    words = [python, str(TEMPLATES / "demo" / "prepare_model.py"), "--uv", environment.uv_binary()]
    small = Path(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1])
    wanted = sys.argv[2:] or list(SETTINGS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = {**os.environ, "CLOUDTRAIN_STATE": str(folder / "state")}
        models = {"135m": small, "0.6b": folder / "qwen3-0.6b-shape"}
        if "0.6b-256" in wanted:
            subprocess.run([python, "-c", MAKE, str(small), str(models["0.6b"])], check=True, capture_output=True)
        print(json.dumps(answer(env, "probe")))
        print((folder / "state" / "probes.jsonl").read_text(encoding="utf-8").strip(), flush=True)
        for setting in wanted:
            model, length = SETTINGS[setting]
            # Each run is quoted without what the one before has taught: the probe alone is on trial.
            (folder / "state" / "measurements.jsonl").unlink(missing_ok=True)
            print(f"{setting}: {hold(env, folder / setting, models[model], length, steps)}", flush=True)


if __name__ == "__main__":
    main()
