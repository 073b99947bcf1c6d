"""`python -m tests.campaign.state_fuzz SEED COMMANDS`: commands on damaged states; the last line is the result.

A command gets a recorded state of which some documents are damaged by chance: no traceback, no hang, and `down` says
nothing but 0, with a certificate that can be read, or 6.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from cloudtrain.cli import run as run_command
from cloudtrain.errors import EXIT_CODES
from cloudtrain.runs.record import Run
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.clock import Clock
from cloudtrain.state.layout import MACHINES, NEWEST
from cloudtrain.state.store import LocalFolder

DATA = Path(__file__).parents[1] / "state" / "data"
LONGEST_S = 180  # of a command: `down` gives a job a minute for its checkpoint
NAME = "fuzzed"  # no other test has a run of that name: `down` ends what carries it on this machine, whoever asks
RUN = f"runs/{NAME}"
COMMANDS = (
    *(("ps",), ("ps", "-a"), ("ps", "-a", "-o", "json"), ("report",), ("report", NAME), ("report", "-o", "json")),
    *(("logs", NAME), ("logs", "--tail", "3", NAME), ("logs", "-o", "json", NAME), ("events", NAME)),
    *(("poll", NAME), ("poll", "--all"), ("attach", NAME), ("wait", "--timeout", "1s", NAME), ("unlock", NAME)),
    *(("sweep", "-y"), ("sweep", "--dry-run"), ("pull", NAME, "--to", "home"), ("events", "-o", "json", NAME)),
    *([("down", NAME)] * 6),
    *([("down", "--all")] * 2),
)
NAMES = ("intent.json", "machine.json", "quote.json", "gone.json", "tombstone", "kill", "journal.jsonl", "spec.yaml")
MORE = ("candidates.json", "attempts/001.json", "events.jsonl", "client.lock", "tickets/1.json", "measured.json")
OF_MACHINE = ("hb.json", "exit.json", "ckpt/LATEST", "events.jsonl", "log/0000000000000000", "log/9999999999999999")
ODD = (
    *(
        b"",
        b"[1]",
        b"null",
        b"{}",
        b"0",
        b"\xff\xfe\x00 no text",
        b"9" * 5000,
        b"[" * 20000,
        b"x" * 3_000_000,
        b"1e400",
    ),
    *(b'{"version": 99}', b'{"reason": ["x"]}', b'{"kind": "x"}', b'"' + b"y" * 100_000 + b'"', b"NaN", b"\x00" * 100),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        10**30,
        1e308,
        -1e308,
        "",
        "x",
        "\x1b[2J",
        "../../x",
        [],
        [1],
        {},
        {"a": {"b": []}},
        "NaN",
        7.5,
    ),
    *("9" * 5000, "aws", "local", "x" * 100_000, 99, "1E+999999"),
)


class Hung(BaseException):
    """A command did not end."""


class Damaged(NamedTuple):
    """A folder with a state, and what was done to it."""

    folder: Path
    story: list[str]


def copy(random: Random, folder: Path, own_account: str) -> Path:
    """A recorded state below the folder; in half of the cases with the newest layout."""
    name = random.choice(("finished", "failed", "rented", "rented", "rented"))
    shutil.copytree(DATA / name, folder, dirs_exist_ok=True)
    run = (folder / "runs" / "mine").rename(folder / RUN)
    journal = run / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"100000000001", own_account.encode()))
    intent = json.loads((run / "intent.json").read_text())
    intent |= {"run": NAME, "deadline": time.time() - 600}
    if random.random() < 0.5:
        intent["layout"] = NEWEST
        (run / "machine").mkdir()
        for each in MACHINES:
            if (run / each).exists():
                (run / each).rename(run / "machine" / each)
    (run / "intent.json").write_text(json.dumps(intent))
    good = folder / "runs" / "good"
    good.mkdir()
    (good / "intent.json").write_text(json.dumps({**intent, "run": "good", "provider": "local", "wanted": "down"}))
    return run


def damage(random: Random, run: Path) -> str:
    """Do something to one document; returns words for it."""
    machine = run / "machine" if (run / "machine").exists() else run
    path = random.choice([*(run / name for name in (*NAMES, *NAMES, *MORE)), *(machine / name for name in OF_MACHINE)])
    kind = random.choice(("odd", "odd", "field", "field", "field", "cut", "flip", "remove", "folder", "line"))
    with contextlib.suppress(OSError, ValueError, UnicodeDecodeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes() if path.is_file() else b""
        if kind == "odd":
            path.write_bytes(random.choice(ODD))
        elif kind == "cut":
            path.write_bytes(before[: random.randrange(len(before) + 1)])
        elif kind == "remove":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        elif kind == "folder":
            path.unlink(missing_ok=True)
            path.mkdir()
        elif kind == "line":
            path.write_bytes(before + random.choice(ODD)[:200_000] + b"\n")
        elif kind == "flip" and before:
            spoiled = bytearray(before)
            for _ in range(random.randint(1, 8)):
                spoiled[random.randrange(len(spoiled))] = random.randrange(256)
            path.write_bytes(bytes(spoiled))
        elif kind == "field" and before:
            lines = before.splitlines() if path.suffix == ".jsonl" else [before]
            number = random.randrange(len(lines))
            lines[number] = json.dumps(changed(random, json.loads(lines[number]))).encode()
            path.write_bytes(b"\n".join(lines))
    return f"{path.relative_to(run)}: {kind}"


def changed(random: Random, document: Any) -> Any:
    """The document with one of its values, however deep, another one or gone."""
    if isinstance(document, dict) and document:
        name = random.choice(sorted(document))
        if isinstance(document[name], dict | list) and random.random() < 0.7:
            return {**document, name: changed(random, document[name])}
        if random.random() < 0.2:
            return {key: value for key, value in document.items() if key != name}
        return {**document, name: random.choice(VALUES)}
    if isinstance(document, list) and document:
        where = random.randrange(len(document))
        return [*document[:where], changed(random, document[where]), *document[where + 1 :]]
    return random.choice(VALUES)


def command(words: tuple[str, ...]) -> tuple[int, str]:
    """One command in this process: its exit code, and what it said. Raises Hung."""

    def hung(*_: object) -> None:
        raise Hung

    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace", write_through=True)
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(LONGEST_S)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = run_command(list(words))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return code, said.buffer.getvalue().decode(errors="replace")  # type: ignore[attr-defined]


def verdict(words: tuple[str, ...], code: int, said: str, folder: Path) -> str:
    """What is wrong with how a command ended; "" for nothing."""
    if code == 1 or code not in EXIT_CODES or "Traceback" in said or "unexpected" in said:
        return f"ended with {code}"
    if words[0] != "down":
        return ""
    if code not in (0, 6):
        return f"ended with {code}"
    if code == 0 and (folder / RUN).exists() and Run(LocalFolder(folder), NAME).gone is None:
        return "said 0 without a certificate"
    return ""


def trial(seed: int, account: str) -> str:
    """One command on one damaged state; words for what was wrong, "" for nothing."""
    random = Random(seed)
    with tempfile.TemporaryDirectory(prefix="cloudtrain-fuzz-") as place, contextlib.chdir(place):
        folder = Path(place) / "state"
        run = copy(random, folder, account)
        story = [damage(random, run) for _ in range(random.choice((1, 1, 1, 2, 4)))]
        os.environ["CLOUDTRAIN_STATE"] = str(folder)
        words = random.choice(COMMANDS)
        try:
            began = time.monotonic()
            code, said = command(words)
            if os.environ.get("FUZZ_TIMES") and time.monotonic() - began > 2:
                print(f"{seed} {words} {story} {code} {time.monotonic() - began:.1f}", said[-300:], flush=True)
            wrong = verdict(words, code, said, folder)
        except Hung:
            wrong, said = "did not end", ""
        return f"seed {seed}: `{' '.join(words)}` {wrong}; {story}; {said[-1500:]}" if wrong else ""


@contextlib.contextmanager
def account() -> Iterator[str]:
    """A fake account of Amazon in which nothing stands, and nobody else's credentials; yields its number."""
    kept = dict(os.environ)
    fake = AwsCloud(Clock(time.time()))
    try:
        for name in [
            name
            for name in os.environ
            if name.startswith(("AWS_", "GOOGLE_", "RUNPOD_", "CLOUDTRAIN_STATE", "CLOUDTRAIN_SIMULATOR"))
        ]:
            del os.environ[name]
        os.environ.update(fake.environment())
        os.environ |= {
            "CLOUDTRAIN_SIMULATOR_TIMING": "2,0.05,0.02,0.01",
            "CLOUDTRAIN_AWS_REGIONS": "us-east-1 us-west-2",
        }
        yield str(fake.account)
    finally:
        fake.stop()
        os.environ.clear()
        os.environ.update(kept)


def main(argv: list[str]) -> int:
    """0 when every command ended as it may."""
    first, count = int(argv[0]), int(argv[1])
    wrong = []
    with account() as number:
        for seed in range(first, first + count):
            if found := trial(seed, number):
                wrong.append(found)
                print(found, flush=True)
    print(f"{count} commands on damaged states, seeds {first} .. {first + count - 1}: {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
