"""Everything that takes hours, in parts of less than an hour: `python -m tests.soak n/N FOLDER`.

ITEMS says what there is to do. Each item gets a fresh seed, which is printed and noted; a former one comes again with
CLOUDTRAIN_SEED. What was done of this very version, and was green, is noted in FOLDER and not done again: a part that was
broken off, or whose hour was over, goes on when it is called again. The last line is the sum; the exit code is 0 when
every item of the part is done and green, 130 when it was broken off, which ends the item at work.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.campaign.clouds import TARGETS
from tests.campaign.nights_world import PLACES
from tests.chance import SEED

ROOT = Path(__file__).parent.parent
HOUR_S = 3600.0
LATE = 2.0  # an item that takes so many times what it should is ended: it hangs
# Signals that asked for our end. Noted and not raised: an item has a session of its own, and would go on if an exception
# came between its start and the wait for it.
ASKED: list[int] = []
PYTEST = ("-m", "pytest", "-q", "--soak", "-p", "no:cacheprovider", "--durations=10")


class Item(NamedTuple):
    """Something to do: Python's arguments, in which {seed} is a number, and what it may take on two cores."""

    name: str
    minutes: float
    words: tuple[str, ...]
    environment: Mapping[str, str] = {}


def campaign(cloud: str, trials: int, minutes: float, *kind: str) -> Item:
    """Random schedules of faults, of kills, or of whole runs, against one fake cloud."""
    name = "-".join(["campaign", cloud, *(word.removeprefix("--") for word in kind)])
    return Item(name, minutes, ("-m", "tests.campaign", cloud, "{seed}", str(trials), *kind))


def marked(path: str, count: int) -> Item:
    """The tests of a file that the gate leaves out."""
    stem = Path(path).stem
    return Item(f"tests-{stem.removeprefix('test_')}", MINUTES.get(stem, 0.5) * count, (*PYTEST, "-m", "soak", path))


def whole(name: str, minutes: float, *words: str, **environment: str) -> Item:
    """Tests of the gate, played otherwise."""
    return Item(name, minutes, (*PYTEST, *words), environment)


MINUTES = {
    "test_rented_training": 3.0,
    "test_campaign": 3.0,
    "test_campaign_jobs": 5.0,
    "test_tools": 0.15,
    "test_refresh_campaign": 3.0,
}  # a test; 0.5 elsewhere
FAST = "not trainer and not engine and not campaign and not soak"
ITEMS = (
    *(campaign(cloud, 1000, 12) for cloud in TARGETS),
    *(campaign(cloud, 20, 25, "--kill") for cloud in TARGETS),
    *(campaign(cloud, 40, 40, "--jobs") for cloud in TARGETS),
    campaign("v6e", 40, 10, "--jobs"),
    *(campaign(cloud, 100, 30, "--lying") for cloud in TARGETS),
    *(
        Item(f"nights-{cloud}", 6, ("-m", "tests.campaign.nights", cloud, "{seed}", "30", "--seeds", "4"))
        for cloud in PLACES
    ),
    Item("state-fuzz", 10, ("-m", "tests.campaign.state_fuzz", "{seed}", "2000")),
    whole("more-examples", 30, "-n", "2", "-m", FAST, "--hypothesis-seed={seed}"),
    whole("random-order", 6, "-n", "2", "-m", FAST, "--order-seed={seed}"),
    whole("real-starts", 40, "-n", "2", "-m", "trainer and not engine", CLOUDTRAIN_REAL_STARTS="1"),
    Item(
        "pulumi-from-source",
        15,
        ("tests/pulumi_cli/provide.py",),
        {"CLOUDTRAIN_CACHE": "{folder}/empty-cache-{seed}", "CLOUDTRAIN_PULUMI_ROOT": ""},
    ),
)


def found() -> list[Item]:
    """All items: those of the list, and one for each test file that leaves something to the soak."""
    words = [sys.executable, *PYTEST, "-m", "soak", "--collect-only", "--durations=0", "tests"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    counts = Counter(line.partition("::")[0] for line in said.splitlines() if "::" in line)
    if not counts:
        raise SystemExit(f"no test is marked `soak`: {said[-2000:]}")
    return [*ITEMS, *(marked(path, count) for path, count in sorted(counts.items()))]


def part(items: list[Item], number: int, count: int) -> list[Item]:
    """The items of one part of so many: the longest first, each to the part that has least to do."""
    load = [0.0] * count
    mine = []
    for item in sorted(items, key=lambda item: (-item.minutes, item.name)):
        least = load.index(min(load))
        load[least] += item.minutes
        if least == number - 1:
            mine.append(item)
    return mine


def version() -> str:
    """What the records are of: the commit, and what is not in it."""
    told = [["rev-parse", "HEAD"], ["status", "--porcelain"], ["diff", "HEAD"]]
    said = [
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout for words in told
    ]
    import hashlib

    dirty = hashlib.sha256("".join(said[1:]).encode()).hexdigest()[:8] if said[1] else ""
    return f"{said[0].strip()[:12] or 'unknown'}{'+' + dirty if dirty else ''}"


class Record(NamedTuple):
    """How an item ended."""

    version: str
    seed: int
    code: int
    seconds: float
    last: str


class Soak:
    """One part, its folder of records and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.version = folder.absolute(), version()
        self.folder.mkdir(parents=True, exist_ok=True)

    def record(self, item: Item) -> Record | None:
        """How it ended with this version, if it did."""
        with suppress(OSError, ValueError, TypeError):
            kept = Record(**json.loads((self.folder / f"{item.name}.json").read_text()))
            return kept if kept.version == self.version else None
        return None

    def run(self, item: Item) -> Record:
        """Do it; its output is in the folder."""
        seed = int(os.environ.get(SEED) or secrets.randbelow(10**6))
        words = [word.format(seed=seed) for word in item.words]
        more = {name: value.format(folder=self.folder, seed=seed) for name, value in item.environment.items()}
        print(f"{item.name}: {SEED}={seed} python {' '.join(words)}", flush=True)
        log, began = self.folder / f"{item.name}.log", time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env={**os.environ, **more, SEED: str(seed)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            code = ended(process, max(LATE * 60 * item.minutes, 600.0))
        lines = log.read_text(errors="replace").strip().splitlines()
        made = Record(self.version, seed, code, round(time.monotonic() - began, 1), lines[-1] if lines else "")
        (self.folder / f"{item.name}.json").write_text(json.dumps(made._asdict()))
        print(f"{item.name}: {'green' if code == 0 else f'FAILED ({code}), see {log}'}: {made.last}", flush=True)
        return made


def ended(process: subprocess.Popen[bytes], patience_s: float) -> int:
    """Its exit code; 124 when it had to be ended, with all that it has started in its session.

    Raises KeyboardInterrupt, when it is ended, if somebody has asked for our end.
    """
    give_up = time.monotonic() + patience_s
    while not ASKED and time.monotonic() < give_up:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(0.2)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()
    if ASKED:
        raise KeyboardInterrupt
    return 124


def provide_pulumi() -> None:
    """The engine's command line, for whoever needs it."""
    if "CLOUDTRAIN_PULUMI_ROOT" not in os.environ:
        words = [sys.executable, "tests/pulumi_cli/provide.py"]
        told = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
        os.environ["CLOUDTRAIN_PULUMI_ROOT"] = told.strip()


def played(soak: Soak, items: list[Item]) -> Iterator[tuple[str, str]]:
    """The word for how each item stands, and its name, as they are done."""
    until = time.monotonic() + HOUR_S
    for item in items:
        kept = soak.record(item)
        if kept is not None and kept.code == 0:
            print(
                f"{item.name}: done before, green in {kept.seconds:.0f} s, {SEED}={kept.seed}: {kept.last}", flush=True
            )
            yield "done before", item.name
        elif time.monotonic() + 60 * item.minutes > until and item is not items[0]:
            yield "left", item.name
        else:
            yield ("green" if soak.run(item).code == 0 else "failed"), item.name


def main(words: list[str]) -> int:
    """0 when every item of the part is done and green."""
    try:
        number, count = map(int, words[0].split("/"))
        assert 1 <= number <= count
        folder, names = Path(words[1]), words[2:]
    except (ValueError, IndexError, AssertionError):
        print("usage: python -m tests.soak n/N FOLDER [ITEM...]", file=sys.stderr)
        return 2
    items = part([item for item in found() if not names or item.name in names], number, count)
    soak = Soak(folder)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda came, _: ASKED.append(came))
    print(
        f"soak {number}/{count} of {soak.version}: {sum(item.minutes for item in items):.0f} minutes expected",
        flush=True,
    )
    began = time.monotonic()
    stands: dict[str, list[str]] = {}
    try:
        provide_pulumi()
        for how, name in played(soak, items):
            stands.setdefault(how, []).append(name)
    except KeyboardInterrupt:
        print(f"soak {number}/{count}: broken off; call it again and it goes on after what is done", flush=True)
        return 130
    told = [
        f"{len(named)} {how}" + (f" ({', '.join(named)})" if how in ("failed", "left") else "")
        for how, named in stands.items()
    ]
    print(f"soak {number}/{count}: {len(items)} items: {', '.join(told)} in {(time.monotonic() - began) / 60:.0f} min")
    return 1 if {"failed", "left"} & set(stands) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
