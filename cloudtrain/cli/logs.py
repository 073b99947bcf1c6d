"""`cloudtrain logs`: the trainer's output, byte for byte, from any offset."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click

from cloudtrain.cli import words
from cloudtrain.cli.live import describe_event, step_parts
from cloudtrain.cli.options import Duration
from cloudtrain.cli.output import dim, print_json, print_message, print_text
from cloudtrain.errors import UsageError
from cloudtrain.runs import follow
from cloudtrain.runs.listing import find
from cloudtrain.runs.results.remaining import Watch

LAST_TIME = 1e12  # of an event, in epoch seconds: no number that is larger is one
Filter = Callable[[bytes], bool]


class Which(NamedTuple):
    """Which lines are wanted: the last so many, those of the last `since` seconds, those with a pattern."""

    tail: int | None
    since: float | None
    grep: str | None


@click.command("logs")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("-f", "--follow", "following", is_flag=True, help="Follow until the run has ended.")
@click.option("--tail", type=click.IntRange(0), help="Only the last N lines.")
@click.option("--since", type=Duration(), help="Only lines of the last 10m, 2h ... (those that carry a time).")
@click.option("--grep", metavar="PATTERN", help="Only lines in which this regular expression is found.")
@click.option("--offset", type=click.IntRange(0), help="From this byte on.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "raw", "json"]),
    default="text",
    help="raw: the bytes, also at a terminal; json: the trainer's events.",
)
def command(run_name: str | None, following: bool, offset: int | None, output: str, **which: Any) -> None:
    """Print the log of RUN, or of the newest run, byte for byte. --offset continues a reader that was cut off.

    At a terminal the trainer's events are sentences, as `up` and `attach` show them; its other lines are as they are.
    """
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    lines_wanted = Which(**which)
    tail, since = lines_wanted.tail, lines_wanted.since
    if offset is not None and tail is not None:
        raise UsageError("--offset and --tail both say where to begin", "give one of them")
    run = find(open_store(settings.load().state), run_name)
    start = offset if offset is not None else follow.tail_offset(run, tail) if tail is not None else 0
    blocks = follow.stream(run, start) if following else follow.blocks(run, start)
    if output == "text":
        blocks = with_rest(blocks, Watch(run))
    wanted = line_filter(lines_wanted.grep, None if since is None else settings.now() - since)
    if output == "json":
        print_json([event for line in lines(blocks) if wanted(line) and (event := follow.parse_event(line))])
    elif output == "text" and offset is None and sys.stdout.isatty():
        for line in lines(blocks):
            if wanted(line):
                show_line(line)
    elif wanted is everything:
        write(blocks)
    else:
        write(line + b"\n" for line in lines(blocks) if wanted(line))


def with_rest(blocks: Iterator[bytes], watch: Watch) -> Iterator[bytes]:
    """The same blocks; on stderr, once, what the rest of a living run comes to by its own rate."""
    is_told = False
    for block in blocks:
        yield block
        if not is_told and (rest := watch.look()):
            is_told = True
            for sentence in (rest.describe(), *rest.warnings()):
                print_message(sentence)


def show_line(line: bytes) -> None:
    """A line for a person: an event as a sentence, anything else dim and as it is."""
    event = follow.parse_event(line)
    if event is None:
        return click.echo(dim(line.decode(errors="replace")))
    return print_text(as_sentence(event))


def as_sentence(event: dict[str, Any]) -> str:
    """An event of the trainer as `up` shows it; one that is not shown there by its name and figures."""
    said = ""
    with contextlib.suppress(TypeError, ValueError):  # a figure that is none: anything may stand in a log
        is_step = event["event"] == "step" and event.get("step") is not None
        said = ", ".join(step_parts(event)) if is_step else describe_event(event)
    if not said:
        more = ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("event", "time"))
        said = ": ".join(filter(None, (event["event"], more)))
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in said)


def everything(line: bytes) -> bool:
    """The filter that lets all pass."""
    return True


def line_filter(grep: str | None, since: float | None) -> Filter:
    """Which lines are wanted. Raises UsageError for a pattern that is none."""
    if grep is None and since is None:
        return everything
    try:
        pattern = re.compile((grep or "").encode())
    except re.error as error:
        raise UsageError(f"`{grep}` is not a regular expression: {error}") from None

    def wanted(line: bytes) -> bool:
        if not pattern.search(line):
            return False
        event = follow.parse_event(line) if since is not None else None
        return since is None or (event is not None and time_of(event) >= since)

    return wanted


def time_of(event: dict[str, Any]) -> float:
    """When it happened, in epoch seconds; 0 where it does not say."""
    found = event.get("time")
    return float(found) if isinstance(found, int | float) and abs(found) < LAST_TIME else 0.0


def lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks as lines without their ends, each cut at `follow.LINE_BYTES`; a last line without an end counts."""
    cutter = follow.LineCutter()
    for block in blocks:
        yield from cutter.feed(block)
    if last := cutter.rest():
        yield last


def write(pieces: Iterator[bytes]) -> None:
    """Bytes to stdout as they are."""
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
