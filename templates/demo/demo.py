"""The main job on this machine, from a price list to a fine-tuned model: what `make demo` runs.

    python templates/demo/demo.py

It only calls `cloudtrain` and says each command before it runs it. The result lies in ./demo-run; a second call goes on
with the same run, and `--new` trains again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORK = Path("demo-run").absolute()
QUESTION = "What is the capital of Portugal?"


def main() -> int:
    """Exit code of the first command that fails; 0 when all went well."""
    title("1. What would LongCat-Flash cost, and where does it really work?")
    cloudtrain("quote", "longcat-flash", "--method", "qlora")
    title("2. A model that this machine can fine-tune")
    python, model = prepared()
    print(f"the model is in {model}")
    title("3. What it says before")
    before = answer(python, model)
    title("4. Fine-tune it here: 48 rows about capitals, 4-bit weights, a small adapter")
    WORK.mkdir(exist_ok=True)
    shutil.copy(HERE / "capitals.jsonl", WORK)
    (WORK / "cloudtrain.yaml").write_text(
        (HERE / "cloudtrain.yaml").read_text().replace("SmolLM2-135M-Instruct", str(model), 1)
    )
    adapter = WORK / "adapter"
    cloudtrain(
        "up", str(WORK / "cloudtrain.yaml"), "--infra", "local", "-y", "--no-learn", "--to", str(adapter), *sys.argv[1:]
    )
    title("5. What it says after, to a question that was not in the data")
    after = answer(python, model, adapter)
    print(f"\nasked   {QUESTION}\nbefore  {before}\nafter   {after}\nadapter {adapter}")
    title("6. What it cost")
    cloudtrain("report", newest())
    return 0


def title(text: str) -> None:
    """A heading between the steps."""
    print(f"\n=== {text}\n", flush=True)


def cloudtrain(*arguments: str) -> None:
    """Say the command and run it; end here when it fails."""
    print(f"$ cloudtrain {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "cloudtrain", *arguments], check=False).returncode
    if code:
        sys.exit(code)


def prepared() -> tuple[Path, Path]:
    """The trainer's Python and the model's folder, both made when they are not there yet."""
    from cloudtrain.settings import cache_folder
    from cloudtrain.trainer import environment

    python = environment.ensure("cpu", lambda message: print(message, flush=True))
    arguments = [str(python), str(HERE / "prepare_model.py"), "--uv", environment.uv_binary()]
    places = {**os.environ, "CLOUDTRAIN_CACHE": str(cache_folder())}
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, env=places, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return python, Path(done.stdout.strip().splitlines()[-1])


def answer(python: Path, model: Path, adapter: Path | None = None) -> str:
    """The model's answer to the question, without or with the adapter."""
    questions = WORK / "question.jsonl"
    WORK.mkdir(exist_ok=True)
    questions.write_text(json.dumps({"question": QUESTION}) + "\n")
    arguments = [
        str(python),
        str(HERE.parent / "torch" / "ask.py"),
        "--model",
        str(model),
        "--questions",
        str(questions),
    ]
    arguments += ["--adapter", str(adapter)] if adapter else []
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the model could not be asked: {done.stderr.strip()[-400:]}")
    said = str(json.loads(done.stdout.strip().splitlines()[-1])["answer"]).strip()
    print(f"{QUESTION} -> {said}", flush=True)
    return said


def newest() -> str:
    """The id of the newest run."""
    done = subprocess.run(
        [sys.executable, "-m", "cloudtrain", "ps", "-a", "-o", "json"], stdout=subprocess.PIPE, text=True, check=True
    )
    return str(json.loads(done.stdout)[0]["run"])


if __name__ == "__main__":
    sys.exit(main())
