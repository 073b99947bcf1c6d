"""`python -m tests.campaign.nights CLOUD SEED NIGHTS [--seeds N]`: many nights of one schedule under bad conditions, in process.

Ticks are those of the file that `cloudtrain schedule` writes, by its own cron lines and its own command. One in five is
dropped, one in ten comes twice, some are up to twelve hours late, some are killed at a random call; one machine in five is taken
back. In the end: one run a night or one honest "missed", an empty ledger, spend within the budget, a summary and a true exit code
for every tick, one issue kept up to date, no secret anywhere. The last line is the result.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import traceback
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cloudtrain.nights import book, calendar, due
from cloudtrain.nights.outcome import EXIT_CODES
from cloudtrain.nights.results import had_machine
from cloudtrain.records import NightRecord
from cloudtrain.runs.record import Run
from cloudtrain.simulator.forge.github import JOB_TOKEN, REPOSITORY, FakeGitHub
from tests.campaign.nights_world import PLACES, NightsWorld

HOUR, DAY = 3600.0, 86400.0
NAME = "nightly"
BUDGETS_USD = (40, 150, 200, 250)  # a month; the first is used up before its end
ZONES = ("Europe/Berlin", "Australia/Lord_Howe")
BEGINS = (date(2026, 3, 17), date(2025, 10, 2))  # 30 nights from either hold a change of the clock in both zones
HOURS = ("01:17", "02:17", "23:47")  # the second does not exist, or exists twice, once in 30 nights
DECIDED = ("finished", "failed", "unchanged", "missed", "skipped: budget")


class Given(NamedTuple):
    """A tick that was delivered: when, whether whole, what it said."""

    time: float
    whole: bool
    outcome: str


class Verdict(NamedTuple):
    """What was wrong, what happened, and how often."""

    wrong: list[str]
    story: list[str]
    facts: Counter[str]


class Season:
    """Some nights of one schedule on one cloud."""

    def __init__(self, world: NightsWorld, forge: FakeGitHub, seed: int, count: int, first: date) -> None:
        self.world, self.forge, self.random, self.count = world, forge, Random(seed), count
        self.zone, self.first = ZoneInfo(ZONES[seed % 2]), first
        self.at = self.random.choice(HOURS)
        self.budget = BUDGETS_USD[(seed + seed // 4) % len(BUDGETS_USD)]
        self.given: list[Given] = []
        self.wrong: list[str] = []
        self.story: list[str] = []
        self.facts: Counter[str] = Counter()
        self.calls = 300
        self.nights: list[NightRecord] = []
        world.plays.preempts = lambda: self.random.random() < 0.2
        world.plays.fails = lambda: self.random.random() < 0.05

    def run(self) -> Verdict:
        """The file is written, the nights go by, and then all is looked at."""
        world = self.world
        begin = calendar.due(self.first, calendar.parse_at("00:00"), self.zone)
        world.until(begin)
        text = self.written()
        command, instants = step_command(text), cron_instants(text, self.first, self.count, self.zone)
        for day, when in enumerate(begin + n * DAY for n in range(self.count + 1)):
            if self.random.random() < 0.85:
                world.at(when, lambda day=day: world.change_data(day))  # type: ignore[misc]
        for when in self.delivered(instants):
            world.until(when)
            fuse = int(self.calls * self.random.random() ** 2) if self.random.random() < 0.12 else None
            self.tick(command, fuse)
        self.afterwards(command)
        return Verdict(self.wrong, self.story, self.facts)

    def written(self) -> str:
        """The file that the schedule's command writes, in the repository."""
        words = ["schedule", "cloudtrain.yaml", "--ci", "github", "--name", NAME, "--at", self.at]
        words += [
            "--timezone",
            self.zone.key,
            "--budget-month",
            str(self.budget),
            "--max-cost",
            "12",
            "--comment",
            "issue",
        ]
        words += ["--repository", REPOSITORY, *PLACES[self.world.name], "--write"]
        code, out, err = self.world.client(words)
        found = sorted((self.world.folder / ".github" / "workflows").glob("*.y*ml"))
        if code or len(found) != 1:
            raise RuntimeError(f"no file was written: {code} {out} {err}")
        return found[0].read_text()

    def delivered(self, instants: list[float]) -> list[float]:
        """When ticks really come."""
        found = []
        for when in instants:
            if self.random.random() < 0.2:
                self.facts["dropped"] += 1
                continue
            if self.random.random() < 0.15:
                self.facts["late"] += 1
                found.append(when + self.random.uniform(0, 12 * HOUR))
            else:
                found.append(when)
            if self.random.random() < 0.1:
                found.append(found[-1] + self.random.uniform(0, 300))
                self.facts["doubled"] += 1
        return sorted(found)

    def tick(self, command: list[str], fuse: int | None) -> None:
        """One tick, as the file's step gives it; what it says is held against what it is."""
        world, now = self.world, self.world.clock.now()
        work = world.folder / "runner"
        work.mkdir(exist_ok=True)
        summary, output = work / "summary.md", work / "output"
        for path in (summary, output):
            path.write_text("")
        environment = {
            **self.forge.environment(),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_OUTPUT": str(output),
        }
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            code, out, err = world.client(command, fuse)
        finally:
            os.environ.clear()
            os.environ.update(before)
        if code is None:
            self.given.append(Given(now, False, ""))
            self.facts["killed"] += 1
            self.tell(f"killed after {fuse} calls")
            return
        said = dict(line.split("=", 1) for line in output.read_text().splitlines())
        outcome = said.get("outcome", "")
        self.given.append(Given(now, True, outcome))
        self.facts[outcome or "no outcome"] += 1
        self.tell(f"{code} {outcome} {said.get('run', '')} {told(self.world, said.get('date', ''))}")
        if code != EXIT_CODES.get(outcome, 0) or not outcome:  # type: ignore[call-overload]
            self.wrong.append(f"{self.clock(now)}: exit code {code} for `{outcome}`: {err[-1500:]}")
        if not summary.read_text().strip() or summary.stat().st_size > 1 << 20:
            self.wrong.append(f"{self.clock(now)}: no summary, or one that is too long")
        for secret in (*world.both.secrets(), JOB_TOKEN):
            if any(secret in text for text in (out, err, summary.read_text(), output.read_text())):
                self.wrong.append(f"{self.clock(now)}: a secret is shown")
        if outcome == "leak" and not any(not each.whole for each in self.given):
            self.wrong.append(f"{self.clock(now)}: a leak, and no tick was ever killed: {out[-600:]}")

    def tell(self, words: str) -> None:
        """A line of the story."""
        self.story.append(f"{self.clock(self.world.clock.now())} {words}")

    def clock(self, instant: float) -> str:
        """On the schedule's clock."""
        return f"{datetime.fromtimestamp(instant, self.zone):%m-%d %H:%M}"

    def afterwards(self, command: list[str]) -> None:
        """No more trouble: ticks until everything has ended. Then everything is counted."""
        world, store = self.world, self.world.store
        world.plays.preempts = world.plays.fails = lambda: False
        for _ in range(6):
            world.until(world.clock.now() + 5 * HOUR)
            self.tick(command, None)
        self.wrong += [f"left over: {words}" for words in world.both.leftovers()]
        schedule = book.schedule(store, NAME)
        assert schedule is not None
        days = book.dates(store, NAME)
        runs = {name: Run(store, name) for name in store.children("runs")}
        begun = Counter(name[len(NAME) + 1 :][:10] for name, run in runs.items() if run.begun and had_machine(run))
        wanted = [(self.first + timedelta(days=n)).isoformat() for n in range(1, self.count)]
        for day in wanted:
            record = book.night(store, NAME, day) if day in days else None
            if record is None or record.outcome not in DECIDED:
                self.wrong.append(f"{day}: {'no record' if record is None else repr(record.outcome)}")
                continue
            self.facts[f"night {record.outcome}"] += 1
            least = record.outcome == "finished"
            if not least <= begun[day] <= (record.outcome in ("finished", "failed")):
                self.wrong.append(f"{day}: {record.outcome}, and {begun[day]} runs: {record.message}")
            if record.outcome == "missed" and (why := self.dishonest(due.night(schedule, date.fromisoformat(day)))):
                self.wrong.append(f"{day}: missed ({record.message}), and yet {why}")
        spent = sum(float(run.spent_usd() or 0) for run in runs.values() if run.begun)
        months = Counter[str]()
        for run in runs.values():
            if run.begun:
                months[f"{datetime.fromtimestamp(run.intent.created, UTC):%Y-%m}"] += float(run.spent_usd() or 0)  # type: ignore[assignment]
        over = [f"{month}: ${usd:.2f}" for month, usd in months.items() if usd > self.budget]
        self.wrong += [f"{each} were spent, ${self.budget} were allowed" for each in over]
        self.nights, _ = book.nights(store, NAME, days)
        self.facts["dollars"] = round(spent)
        self.issue()
        self.secrets()

    def dishonest(self, night: due.Night) -> str:
        """Why a night was not missed for want of a tick: one came in time, was not killed, and did not have to wait."""
        for each in self.given:
            if each.whole and night.due <= each.time <= night.ends and each.outcome not in ("going on", "leak"):
                return f"a tick came at {self.clock(each.time)} and said {each.outcome}"
        return ""

    def issue(self) -> None:
        """One of it, open when the last night was a bad one; and nobody else's text was touched."""
        forge, issues = self.forge, self.forge.issues
        bad = [n for n in self.nights if n.outcome in ("failed", "missed")]
        if len(issues) > 1 or (bad and not issues):
            self.wrong.append(f"{len(bad)} bad nights, and there are {len(issues)} issues")
        last = [n.outcome for n in self.nights if n.outcome in ("failed", "missed", "finished", "unchanged")][-1]
        if issues and issues[0].is_open == (last in ("finished", "unchanged")):
            self.wrong.append(f"the last night is {last}, and the issue open: {issues[0].is_open}")
        self.wrong += [f"the forge: {words}" for words in (*forge.trespasses, *forge.mentioned, *forge.commands)]
        self.wrong += ["a secret is in an issue" for each in issues for secret in (*self.world.both.secrets(), JOB_TOKEN)
                       if secret in each.body]  # fmt: skip
        self.facts["issues"] = len(issues)

    def secrets(self) -> None:
        """In no document of the state, but what is signed, which is another's test."""
        import obstore

        for batch in obstore.list(self.world.objects):
            for meta in batch:
                data = bytes(obstore.get(self.world.objects, meta["path"]).bytes())
                for secret in (*self.world.both.secrets(), JOB_TOKEN):
                    if secret.encode() in data:
                        self.wrong.append(f"a secret is in {meta['path']}")


def step_command(text: str) -> list[str]:
    """The words of the file's one command that ticks, after the program's name."""
    lines = [line.strip().removeprefix("- ").removeprefix("run:").strip() for line in text.splitlines()]
    (found,) = [line for line in lines if " night tick " in f" {line} " and not line.startswith("#")]
    words = shlex.split(found)
    return words[words.index("night") :]


def cron_instants(text: str, first: date, count: int, zone: ZoneInfo) -> list[float]:
    """When the file's own lines come, one of two an hour; a local time that does not exist is passed over by cron too."""
    found = set()
    for minutes, hours in re.findall(r"cron: ['\"]?([0-9,]+) ([0-9,-]+) \* \* \*", text):
        minute = int(minutes.split(",")[0])
        for part in hours.split(","):
            low, _, high = part.partition("-")
            for hour in range(int(low), int(high or low) + 1):
                for day in (first + timedelta(days=n) for n in range(count)):
                    when = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                    found.update({when.timestamp(), when.replace(fold=1).timestamp()})
    if not found:
        raise RuntimeError(f"no cron line in {text}")
    return sorted(found)


def told(world: NightsWorld, day: str) -> str:
    """What the record of a night says, for the story."""
    record = book.night(world.store, NAME, day) if day else None
    return "" if record is None else record.message[:300]


def trial(cloud: str, seed: int, count: int, first: date | None = None) -> Verdict:
    """One season in a world of its own; its first night is one of BEGINS unless it is given."""
    first = first or BEGINS[seed // 2 % 2]
    start = calendar.due(first, calendar.parse_at("00:00"), ZoneInfo(ZONES[seed % 2]))
    with NightsWorld(cloud, start - HOUR) as world:
        forge = FakeGitHub(world.clock)
        try:
            return Season(world, forge, seed, count, first).run()
        finally:
            forge.stop()


def main(argv: list[str]) -> int:
    """0 when every night was as it should be."""
    parser = argparse.ArgumentParser(prog="nights")
    parser.add_argument("cloud", choices=sorted(PLACES))
    parser.add_argument("seed", type=int)
    parser.add_argument("nights", type=int)
    parser.add_argument("--seeds", type=int, default=1, help="so many seasons, from the seed on")
    parser.add_argument("--story", action="store_true", help="tell every tick")
    given = parser.parse_args(argv)
    bad, facts = 0, Counter[str]()
    for seed in range(given.seed, given.seed + given.seeds):
        try:
            verdict = trial(given.cloud, seed, given.nights)
        except Exception:
            verdict = Verdict([f"it broke: {traceback.format_exc()}"], [], Counter())
        facts += verdict.facts
        bad += bool(verdict.wrong)
        if given.story or verdict.wrong:
            print("  " + "\n  ".join(verdict.story))
        for words in verdict.wrong:
            print(f"seed {seed}: {words}")
        sys.stdout.flush()
    print(", ".join(f"{name} {count}" for name, count in sorted(facts.items())))
    print(f"{given.cloud}: {given.seeds} seasons of {given.nights} nights, {bad} with something wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
