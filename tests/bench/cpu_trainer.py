"""Three trainers on this processor, a step each in turn: stock TRL, our `plain` trainer, our `fast` one.

    python tests/bench/cpu_trainer.py [--no-stock] [STEPS] [SETTING ...]

Settings: lora, qlora (SmolLM2-135M-Instruct), shape (LoRA on random weights in the shape of Qwen3-0.6B). Stock is
`SFTTrainer` with its defaults: batches of 4 rows, padded, checkpointing, bf16 autocast, memory handed out as glibc
does. `plain` and `fast` are train.py with `trainer: plain` and `trainer: fast`: the same rows packed, two rows of 512
a step, the allocator set. Each is a process of its own that makes a step when it is told to, so whatever else runs on
the machine falls on all three. `plain` computes layers again in the backward pass; `fast` only where memory is short,
or always with BENCH_CHECKPOINTING=1, as it does for a spec. Printed are ratios of useful tokens (no padding) a second, with their spread over the
steps, and the highest memory of each. Ratios hold for this kind of processor only.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
TORCH, COMMON = ROOT / "templates" / "torch", ROOT / "templates" / "common"
CHILD = Path(__file__).with_name("children") / "cpu_trainer.py"
SETTINGS = {"lora": ("lora", "small"), "qlora": ("qlora", "small"), "shape": ("lora", "shape")}
PROGRAMS = ("stock", "plain", "fast")


def rows(path: Path, count: int = 400) -> Path:
    """Conversations of mixed length, the same ones every time: 15 to 340 words, a third of them the question's."""
    with path.open("w") as file:
        for number in range(count):
            length = 15 + number * 37 % 97 + (number * 61 % 240 if number % 3 == 0 else 0)
            words = [f"word{(number * 7 + at * 3) % 90}" for at in range(length)]
            asked, answered = " ".join(words[: length // 3]), " ".join(words[length // 3 :])
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return path


class Program:
    """One of the three, loaded and waiting."""

    def __init__(self, name: str, python: Path, given: dict[str, Any], env: dict[str, str]) -> None:
        command = [str(python), str(CHILD), name, json.dumps(given)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.name, self.process = name, subprocess.Popen(command, text=True, env=env, **pipes)  # type: ignore[call-overload]
        self.about = self.answer()
        self.steps: list[dict[str, float]] = []

    def answer(self) -> dict[str, Any]:
        """Its next line of JSON."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def step(self) -> None:
        """Let it make one."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.steps.append(self.answer())

    @property
    def rates(self) -> list[float]:
        """Useful tokens a second of each step but the first."""
        return [step["tokens"] / step["seconds"] for step in self.steps[1:]]

    def end(self) -> None:
        """It has nothing to save."""
        self.process.kill()
        self.process.wait()


def measured(setting: str, names: list[str], steps: int, python: Path, small: Path, folder: Path) -> dict[str, Any]:
    """One setting's ratios and memory."""
    from cloudtrain import backends

    method, model = SETTINGS[setting]
    given = {"method": method, "model": model, "small": str(small), "data": str(rows(folder / "rows.jsonl"))}
    given |= {"folder": str(folder), "steps": steps + 1, "paths": [str(TORCH), str(COMMON)]}
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    set_up = {**quiet, **backends.of_flavour("cpu").variables("cpu")}
    programs = [Program(name, python, given, quiet if name == "stock" else set_up) for name in names]
    for _ in range(steps + 1):
        for program in programs:
            program.step()
    for program in programs:
        program.end()
    fast = programs[-1]
    found: dict[str, Any] = {"setting": setting, "fast": fast.about}
    for other in programs[:-1]:
        each = sorted(mine / theirs for mine, theirs in zip(fast.rates, other.rates, strict=True))
        whole = statistics.median(fast.rates) / statistics.median(other.rates)
        found[f"against {other.name}"] = {"medians": round(whole, 2), "steps": [round(ratio, 2) for ratio in each]}
    found["tokens per second"] = {each.name: round(statistics.median(each.rates), 1) for each in programs}
    found["peak GB"] = {each.name: round(each.steps[-1]["peak_bytes"] / 1e9, 2) for each in programs}
    found["losses"] = {each.name: [round(step["loss"], 3) for step in each.steps] for each in programs}
    return found


def main() -> None:
    """Measure the settings asked for, all by default."""
    from cloudtrain.trainer import environment

    words = sys.argv[1:]
    names = [name for name in PROGRAMS if name != "stock" or "--no-stock" not in words]
    words = [word for word in words if word != "--no-stock"]
    steps = int(words.pop(0)) if words and words[0].isdigit() else 5
    python = environment.ensure("cpu", lambda sentence: print(sentence, file=sys.stderr))
    command = [str(python), str(ROOT / "templates" / "demo" / "prepare_model.py"), "--uv", environment.uv_binary()]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    small = Path(made.stdout.strip().splitlines()[-1])
    for setting in words or SETTINGS:
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(measured(setting, names, steps, python, small, Path(name))), flush=True)


if __name__ == "__main__":
    main()
