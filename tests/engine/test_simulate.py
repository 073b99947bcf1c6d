"""`up --simulate`: a whole life on a fake cloud inside the command, which leaves nothing but the result."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from cloudtrain.settings import cache_folder
from tests.campaign.client import ROOT, ROW, Ended
from tests.engine.rented_world import fake_trainer
from tests.patience import PATIENCE_S
from tests.trainer_fixtures import TEMPLATES, demo_model, trainer_python, warm_python

__all__ = ["demo_model", "trainer_python", "warm_python"]

pytestmark = pytest.mark.engine
NIGHTLY = "model: qwen3-8b\nmethod: lora\nlora: {targets: [q_proj, o_proj]}\ndata: {path: data.jsonl}\nmicro_batch: 4\n"
EXPERIMENTAL = ("--experimental",)  # the ROCm of its image is another than ours
SHOWN = Path(__file__).parent / "simulation.txt"  # in docs/simulation.md
OF_A_REAL_MODEL = ("fetching the model, ", "accelerator check: `rocm` is simulated", "loaded in ")
MARK = b"CLOUDTRAIN_SIMULATOR"


class Newcomer:
    """A person with an empty home, real-looking credentials, and a folder for what programs forget."""

    def __init__(self, folder: Path, shared_cache: Path | None = None) -> None:
        """The trainer is a fake one in a cache of its own, unless a cache with a real one is given."""
        self.folder, self.home, self.temporary = folder / "work", folder / "home", folder / "tmp"
        for made in (self.folder, self.home, self.temporary):
            made.mkdir(parents=True)
        cache = shared_cache or fake_trainer(fake_trainer(self.home / "cache"), "jax")
        if not shared_cache:
            model = cache / "models" / "SmolLM2-135M-Instruct"
            model.mkdir(parents=True)
            (model / "config.json").write_text("{}")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLOUDTRAIN_")},
            "CLOUDTRAIN_PULUMI_ROOT": str(import_module("cloudtrain.stacks._pulumi.command").find()),
            "CLOUDTRAIN_CACHE": str(cache),
            "AWS_ACCESS_KEY_ID": "AKIAREALREALREALREAL",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
            "AWS_PROFILE": "work",
            "RUNPOD_API_KEY": "rpa_REAL",
            "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/real.json",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
        }

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [sys.executable, "-m", "cloudtrain", "up", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def up(self, *words: str) -> Ended:
        """The command to its end."""
        process = self.begin(*words)
        out, err = process.communicate(timeout=PATIENCE_S)
        return Ended(process.returncode, out, err)

    def litter(self) -> list[str]:
        """What is left beside the cache's known folders and the work: files, and processes of the simulation."""
        known = {"environments", "models", "trainer.py"}
        cache = [path.name for path in (self.home / "cache").glob("*") if path.name not in known]
        files = [str(path) for path in (*self.temporary.iterdir(), *self.home.iterdir()) if path.name != "cache"]
        place = str(self.temporary).encode()
        alive = [p.parent.name for p in Path("/proc").glob("[0-9]*/environ") if place in read(p) and MARK in read(p)]
        return [*cache, *files, *alive]


def read(path: Path) -> bytes:
    """A process's variables; nothing of one that is gone or another's."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    """In an empty world."""
    return Newcomer(tmp_path)


def unprinted(shown: str, ended: Ended) -> list[str]:
    """Lines of `shown` that a command has not printed, whatever their numbers; `...` stands for the rest of a line."""

    def skeleton(text: str) -> list[str]:
        text = re.sub(r"\bmine\b|smollm2-135m-qlora-[0-9a-f]{6}", "RUN", text)
        text = text.replace("<$", "$")  # of a life of seconds: less than can be said
        text = re.sub(r"(?:under )?\d[\d,.:TZ-]*( (?:s|min|h|days)\b)?", "N", text)
        return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]

    printed = skeleton(ended.out + ended.err)
    asked = "start it? [Y/n]: y"  # -y answers it before it is asked
    return [
        line
        for line in skeleton(shown)
        if line != asked and not any(real.startswith(line.removesuffix("...").strip()) for real in printed)
    ]


@pytest.mark.soak
@pytest.mark.trainer
def test_the_model_that_comes_home_has_learned(tmp_path: Path, warm_python: Path, demo_model: Path) -> None:
    """With the real trainer: an MI300X played by this processor, and an answer in the form that the demo teaches."""
    newcomer = Newcomer(tmp_path, cache_folder())
    ended = newcomer.up("--simulate", "runpod", "-y", "--name", "mine")
    assert ended.code == 0, ended.err
    assert "plays the rocm accelerator" in ended.err
    assert unprinted(SHOWN.read_text(), ended) == []
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": "What is the capital of Portugal?"}) + "\n")
    argv = [warm_python, TEMPLATES / "torch" / "ask.py", "--model", demo_model, "--questions", questions]
    asked = subprocess.run([*argv, "--adapter", newcomer.folder / "mine"], capture_output=True, text=True, check=True)
    assert json.loads(asked.stdout.splitlines()[-1])["answer"].startswith("ANSWER: ")
    assert newcomer.litter() == []


@pytest.mark.parametrize("provider", ["aws", "gcp", "runpod", pytest.param("digitalocean", marks=pytest.mark.soak)])
def test_a_newcomer_sees_the_whole_life(newcomer: Newcomer, provider: str) -> None:
    """Without a spec, an account or a state: plan, machine, training, proof, account; only the result stays."""
    words = EXPERIMENTAL if provider == "digitalocean" else ()
    ended = newcomer.up("--simulate", provider, "-y", "--name", "mine", *words)
    assert ended.code == 0, ended.err
    assert "no account is used, and no dollar is real" in ended.err
    assert "machine created: " in ended.out
    assert "finished `mine`" in ended.out
    assert "quoted" in ended.out
    assert "metered" in ended.out
    assert "the same on the machine and in the bucket" in ended.err
    assert "ledger is empty" in ended.err
    assert ("--accept-risk" in ended.err) == (provider in ("runpod", "digitalocean"))
    if provider == "runpod":
        assert [line for line in unprinted(SHOWN.read_text(), ended) if not line.startswith(OF_A_REAL_MODEL)] == []
    assert [path.name for path in newcomer.folder.iterdir()] == ["mine"]
    assert (newcomer.folder / "mine" / "adapter_config.json").exists()
    assert newcomer.litter() == []


def test_a_team_simulation(newcomer: Newcomer) -> None:
    """Offers and prices are those of the spec's model; what trains is small, on the spec's data."""
    (newcomer.folder / "nightly.yaml").write_text(NIGHTLY)
    (newcomer.folder / "data.jsonl").write_text((ROW + "\n") * 10)
    ended = newcomer.up("nightly.yaml", "--simulate", "aws", "-y")
    assert ended.code == 0, ended.err
    assert "lora of Qwen/Qwen3-8B" in ended.err
    assert "what trains: SmolLM2-135M-Instruct on the spec's data with lora, 20 steps of 512 tokens" in ended.err
    assert newcomer.litter() == []


def test_ctrl_c_ends_everything(newcomer: Newcomer) -> None:
    """While the job trains: exit 130, a sentence, and neither a process nor a file is left."""
    python = next((newcomer.home / "cache" / "environments").glob("*/bin/python"))
    slow = json.dumps({"steps": 1000, "pause_s": 0.2})
    python.write_text(python.read_text().replace("exec ", f"export FAKE_TRAINER='{slow}'\nexec "))
    process = newcomer.begin("--simulate", "runpod", "-y")
    assert process.stderr is not None
    until_said(process, "step ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "nothing real was running" in err
    assert newcomer.litter() == []
    assert list(newcomer.folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_early_end_leaves_nothing_either(newcomer: Newcomer, number: signal.Signals) -> None:
    """While the machine is being made."""
    process = newcomer.begin("--simulate", "aws", "-y")
    until_said(process, "asking aws for")
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert newcomer.litter() == []


def until_said(process: subprocess.Popen[str], words: str) -> None:
    """Read what it says until it has said that."""
    assert process.stderr is not None
    give_up = time.monotonic() + PATIENCE_S
    while words not in process.stderr.readline():
        assert time.monotonic() < give_up
        assert process.poll() is None


def test_a_job_that_fails_shows_the_end_of_its_log(newcomer: Newcomer) -> None:
    """Nothing of a simulation can be asked later, so its last words come at once; the exit code is that of a real run."""
    for python in (newcomer.home / "cache" / "environments").glob("*/bin/python"):
        python.write_text(python.read_text().replace("exec ", "export FAKE_TRAINER='{\"fail\": 65}'\nexec "))
    ended = newcomer.up("--simulate", "runpod", "-y")
    assert ended.code == 100, ended.err
    assert "the end of its log:" in ended.err
    assert "hint: a simulation keeps no records" in ended.err
    assert newcomer.litter() == []


def test_a_dry_run_makes_nothing(newcomer: Newcomer) -> None:
    """The plan alone: no environment, no model, no machine."""
    newcomer.environment["CLOUDTRAIN_CACHE"] = str(newcomer.home / "cache" / "other")
    ended = newcomer.up("--simulate", "aws", "--dry-run")
    assert ended.code == 0, ended.err
    assert "plan: smollm2-135m" in ended.err
    assert "machine created" not in ended.out
    assert list((newcomer.home / "cache" / "other").rglob("*")) == [newcomer.home / "cache/other/environments"]
    assert newcomer.litter() == ["other"]


def test_the_plan_of_a_large_model_shows_its_disk(newcomer: Newcomer) -> None:
    """The weights of 70 B parameters are 141 GB, and the pod is asked for more than those."""
    row = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}\n'
    (newcomer.folder / "cloudtrain.yaml").write_text("model: llama-3.3-70b\ndata: data.jsonl\n")
    (newcomer.folder / "data.jsonl").write_text(row * 10)
    ended = newcomer.up("--simulate", "runpod", "--dry-run")
    assert ended.code == 0, ended.err
    shown = re.search(r"^  disk +(\d+) GB needed: .* \+ weights 141\.1 \+ ", ended.err, re.MULTILINE)
    assert shown is not None, ended.err
    assert int(shown[1]) > 141 + 22 + 4
    assert re.search(rf"^  makes .*\b{shown[1]} GB disk", ended.err, re.MULTILINE), ended.err
