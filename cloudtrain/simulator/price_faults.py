"""What can be wrong with what a price interface answers, by name, and the helper by which a fake shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

from cloudtrain.simulator.http_server import Reply

T = TypeVar("T")

Transport = Literal[
    "throttled",  # refused for the moment, with a Retry-After of a second where the provider sends one
    "failing_page",  # 500 on page 3, or on the last one where there are fewer
    "cut_body",  # the connection drops in the middle of an answer
    "html",  # a page for people, with status 200
    "stalled",  # half of an answer comes, and then nothing
    "dripping",  # the same, and then a byte now and then: no read ever times out
    "clock_skew",  # our clock is not theirs: a signature is refused, or an answer is of tomorrow
]
Paging = Literal[
    "empty_page",  # a page without entries and with a new token; nothing is missing after it
    "repeated_page",  # the page before once more in place of this one, whose entries never come
    "repeated_token",  # a page names itself as the next one
    "expired_token",  # the token of the next page is not valid any more
]
Figure = Literal[
    "other_currency",
    "other_number",  # a number where a text stands otherwise, or the other way round; the figure is right
    "zero",  # which is "not offered"
    "filler",  # 700, as catalogues write that fill gaps
    "spot_above_list",
    "per_pod",  # a figure for the whole where one for a chip is asked for
    "missing",  # an entry is not in the answer
]
Place = Literal["region_refused"]  # one region answers nobody of this account

PriceFault = Transport | Paging | Figure | Place
TRANSPORT: frozenset[str] = frozenset(get_args(Transport))
PAGING: frozenset[str] = frozenset(get_args(Paging))
FIGURES: frozenset[str] = frozenset(get_args(Figure))
NAMES: frozenset[str] = TRANSPORT | PAGING | FIGURES | frozenset(get_args(Place))
ALWAYS = 1 << 30

_HTML = b"<!DOCTYPE html><html><body><p>We will be back soon.</p></body></html>"


@dataclass
class PriceFaults:
    """The faults that a fake's prices have from now on, and those that were shown.

    A fake takes each of its own kinds where it makes what the fault spoils, and asks `instead`, `page` and `sent` for
    those that look alike at every provider.
    """

    waiting: dict[str, int] = field(default_factory=dict)
    happened: list[str] = field(default_factory=list)

    def add(self, name: PriceFault, times: int = ALWAYS) -> None:
        """Show it the next `times` times that it can be shown."""
        self.waiting[name] = times

    def take(self, name: PriceFault) -> bool:
        """Whether it is shown here and now; that uses it up once."""
        if self.waiting.get(name, 0) < 1:
            return False
        self.waiting[name] -= 1
        self.happened.append(name)
        return True

    def clear(self) -> None:
        """No more faults."""
        self.waiting.clear()

    def instead(self, number: int, is_last: bool) -> Reply | None:
        """What comes in place of page `number` (from 1), or None. Where `throttled` looks different, take it before."""
        if self.take("throttled"):
            return Reply(429, b"{}", {"Retry-After": "1"})
        if (number == 3 or (number < 3 and is_last)) and self.take("failing_page"):
            return Reply(500, b"{}")
        if self.take("html"):
            return Reply(200, _HTML, {"Content-Type": "text/html"})
        return None

    def page(self, entries: Sequence[T], size: int, start: int) -> tuple[Sequence[T], int | None]:
        """The entries of the page that begins at `start`, and where the next one does: None after the last."""
        here, after = entries[start : start + size], start + size
        following = after if after < len(entries) else None
        if following is not None and self.take("empty_page"):
            return (), start
        if following is not None and self.take("repeated_token"):
            return here, start
        if start and self.take("repeated_page"):
            return entries[max(0, start - size) : start], following
        return here, following

    def sent(self, reply: Reply) -> Reply:
        """The reply as it goes over the line."""
        if self.take("cut_body"):
            return reply._replace(cut=True)
        if self.take("stalled"):
            return reply._replace(seconds_a_byte=600.0)
        return reply._replace(seconds_a_byte=0.1) if self.take("dripping") else reply
