"""Which row of a quote somebody names: by its id, its number, parts of its place, or what the table shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cloudtrain.cli.output import print_message
from cloudtrain.cli.quote.table import machine, offer_text, place
from cloudtrain.errors import UsageError, nearest

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow

LISTED = 6  # ids that an ambiguous name's message lists


class Rows:
    """The lines of a quote, to be found by a name."""

    def __init__(self, quote: Quote) -> None:
        self.lines, self.ids = quote.lines, quote.ids()

    def find(self, text: str) -> int:
        """The index of the line that `text` names.

        A number is a rank. Of several lines that parts of a place name, the best ranked is taken, and that is said.
        Raises UsageError with the ids when what the table shows stands for several, with the nearest id for none.
        """
        how, found = self.matches(text)
        if not found:
            raise UsageError(f"no row `{text}` in this quote", self.closest(text.strip().lower()))
        if how == "shown" and len(found) > 1:
            raise UsageError(f"`{text}` is shown for {len(found)} rows of this quote", self.listed(found))
        if how == "rank":
            print_message(f"#{found[0]} is a rank, which changes; the id of this row stays: {self.ids[found[0]]}")
        elif len(found) > 1:
            print_message(f"`{text}` names {len(found)} rows; the best ranked is {self.ids[found[0]]}")
        return found[0]

    def matches(self, text: str) -> tuple[Literal["rank", "id", "parts", "shown"], list[int]]:
        """In which way `text` names lines, and the indices of all of them, the best ranked first."""
        wanted, asked = text.strip().lower(), words(text)
        if wanted.isdecimal() and int(wanted) < len(self.lines):
            return "rank", [int(wanted)]
        if wanted in self.ids:
            return "id", [self.ids.index(wanted)]
        if by_parts := [index for index, line in enumerate(self.lines) if has_parts(line, wanted)]:
            return "parts", by_parts
        return "shown", [index for index, line in enumerate(self.lines) if asked and is_shown_as(line, asked)]

    def two(self, text: str) -> list[str]:
        """The two names of `A,B`; what the table shows may have a comma of its own. Raises UsageError."""
        parts = text.split(",")
        cuts = [[",".join(parts[:at]), ",".join(parts[at:])] for at in range(1, len(parts))]
        if len(cuts) > 1:
            cuts = [cut for cut in cuts if all(self.matches(side)[1] for side in cut)]
        if len(cuts) != 1:
            raise UsageError("--compare takes two rows", "write --compare A,B")
        return cuts[0]

    def listed(self, indices: Sequence[int]) -> str:
        """The first of these ids, and how many more there are."""
        more = f", and {len(indices) - LISTED} more" if len(indices) > LISTED else ""
        return f"say which: {', '.join(self.ids[i] for i in indices[:LISTED])}{more}"

    def closest(self, wanted: str) -> str:
        """The hint with the id nearest to `wanted`: as a whole, else by the word for its machine."""
        close = nearest(wanted, self.ids) if "/" in wanted else ""
        if not close:
            by_word: dict[str, str] = {}
            for id_, line in zip(self.ids, self.lines, strict=True):
                provider, word = id_.split("/")[:2]
                for key in (word, f"{provider}/{word}", line.offer.name.lower(), offer_text(line).lower()):
                    by_word.setdefault(key, id_)
            close = by_word.get(nearest(wanted, list(by_word)), "")
        return f"did you mean `{close}`?" if close else "`-o csv` and `-o json` have the id of every row"


def has_parts(line: QuoteRow, wanted: str) -> bool:
    """Whether all parts of `name/region/market`, in any order, are the line's."""
    offer, parts = line.offer, [part for part in wanted.split("/") if part]
    own = [str(each).lower() for each in (offer.provider, offer.name, offer.region, offer.market)]
    own += [*offer.zone.lower().split(), f"{offer.count}x{offer.hardware}".lower(), offer.hardware]
    return bool(parts) and all(part in own for part in parts)


def is_shown_as(line: QuoteRow, asked: Sequence[str]) -> bool:
    """Whether a table shows the line so: provider and machine, then perhaps its place and market."""
    offer = line.offer
    beside = {*words(place(line)), *words(offer.region), *words(offer.market), *offer.zone.lower().split()}
    for shown in (offer_text(line), f"{offer.provider} {machine(line)}", f"{offer.provider} {offer.name}"):
        own = words(shown)
        head, rest = asked[: len(own)], asked[len(own) :]
        if len(head) == len(own) and all(map(is_same, head, own)) and beside.issuperset(rest):
            return True
    return False


def is_same(asked: str, own: str) -> bool:
    """Whether two words are equal, or one is the `1..8` of a folded row and the other a number in it."""
    low, dots, high = asked.partition("..")
    if dots and low.isdecimal() and high.isdecimal() and own.isdecimal():
        return int(low) <= int(own) <= int(high)
    return asked == own


def words(text: str) -> list[str]:
    """The words of a shown name, without case, commas and signs; `2xMI300X` is the same as `2 x MI300X`."""
    return re.findall(r"[\w.+-]+", re.sub(r"\b(\d+)x(?=\w)", r"\1 x ", text.lower().replace("_", " ")))
