"""A run as it is followed: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cloudtrain.cli.first_minutes import FirstMinutes
from cloudtrain.cli.output import print_message
from cloudtrain.runs.events import FollowingEnded, LogBytes, MachinePhase
from cloudtrain.runs.follow import Progress
from cloudtrain.state.errors import BucketUnreachable
from cloudtrain.units import SECONDS_PER_HOUR, hours, money, speed

if TYPE_CHECKING:
    from cloudtrain.runs.record import Run

PLAIN_EVERY_S = 5.0
REDRAW_S = 0.3


class View:
    """What a person sees of a run while it is followed. Written to stderr: stdout is for results."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.first_minutes = None if run.stack.direct else FirstMinutes(run)
        self.terminal = sys.stderr.isatty()
        self.progress = Progress()
        self.began = time.monotonic()
        self.printed = 0.0
        self.width = 0

    def show_event(self, event: MachinePhase | LogBytes | FollowingEnded) -> None:
        """Show what the log says, and on a rented machine what it says of itself before."""
        if isinstance(event, LogBytes):
            self.feed(event.data)
        elif isinstance(event, FollowingEnded):
            self.clear()
        elif self.first_minutes:
            for text in self.first_minutes.of_phase(event):
                self.show_line(text)

    def feed(self, data: bytes) -> None:
        """The bytes of the log, as events of the trainer."""
        for event in self.progress.feed(data):
            if self.first_minutes and (text := self.first_minutes.of_event(event)):
                self.show_line(text)
            self.show(event)
        if self.terminal and not data:
            self.status()

    def show(self, event: dict[str, Any]) -> None:
        """One event of the trainer."""
        kind = event["event"]
        if kind == "step":
            last = event.get("step") == event.get("of")
            if self.terminal:
                self.status()
            elif last or time.monotonic() - self.printed >= PLAIN_EVERY_S:
                self.printed = time.monotonic()
                print_message(self.status_line())
        elif text := describe_event(event):
            self.show_line(text)

    def show_line(self, text: str) -> None:
        """An ordinary line."""
        self.clear()
        print_message(text)

    def status_line(self) -> str:
        """Step, loss, tokens per second, time left, dollars so far."""
        now = self.progress.latest
        if now.get("step") is None:
            return f"starting, {hours(time.monotonic() - self.began)}"
        parts = step_parts(now)
        if left := self.seconds_left():
            parts.append(f"{hours(left)} left")
        parts.append(f"{money(self.dollars())} so far")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """At the pace of this attempt's steps."""
        now = self.progress.latest
        tokens, rate, step, of = (now.get(k) for k in ("tokens", "tokens_per_second", "step", "of"))
        if not (tokens and rate and step and of) or step >= of:
            return None
        return float(tokens) / float(step) * (float(of) - float(step)) / float(rate)

    def dollars(self) -> Decimal | None:
        """Metered up to now, at the frozen price; None while the state cannot be reached, which ends nothing."""
        try:
            price, machine = self.run.usd_per_hour, self.run.machine
        except BucketUnreachable:
            return None
        if price is None or machine is None:
            return None
        return price * Decimal(time.time() - machine.created) / SECONDS_PER_HOUR

    def status(self) -> None:
        """Redraw the one line."""
        if time.monotonic() - self.printed < REDRAW_S:
            return
        self.printed = time.monotonic()
        text, room = self.status_line(), shutil.get_terminal_size().columns - 1
        while len(text) > room and ", " in text:
            text = text.rpartition(", ")[0]
        text = text[:room]
        sys.stderr.write("\r" + text.ljust(self.width))
        sys.stderr.flush()
        self.width = len(text)

    def clear(self) -> None:
        """Make room for an ordinary line."""
        if self.terminal and self.width:
            sys.stderr.write("\r" + " " * self.width + "\r")
            sys.stderr.flush()
            self.width = 0


def step_parts(figures: dict[str, Any]) -> list[str]:
    """What a trainer says of a step: its number, the loss, the speed."""
    parts = [f"step {figures['step']}/{figures.get('of')}"]
    if figures.get("loss") is not None:
        parts.append(f"loss {figures['loss']:.3f}")
    if figures.get("tokens_per_second"):
        parts.append(f"{speed(figures['tokens_per_second'])} tokens/s")
    return parts


def describe_event(event: dict[str, Any]) -> str:
    """An event other than a step, as text; "" for those that are not shown."""
    kind = event["event"]
    if kind == "data":
        return (
            f"data: {event.get('rows', 0):,} rows, {event.get('tokens', 0):,} tokens, {event.get('steps', 0):,} steps"
        )
    if kind == "loaded":
        return f"loaded in {hours(event.get('seconds', 0))}: {event.get('trainable', 0):,} trainable parameters"
    if kind == "compute":
        return f"computing in {'float32' if event.get('type') == 'fp32' else 'bf16'}: {event.get('why', '')}"
    if kind == "checkpoint":
        return f"checkpoint at step {event.get('step')}"
    if kind == "resumed":
        return f"resumed at step {event.get('step')}"
    if kind == "eval" and event.get("loss") is not None:
        return f"evaluation: loss {event['loss']:.3f}"
    if kind == "error":
        return f"trainer: {event.get('message')}"
    return ""
