"""Adds up the matrices, experts and small vectors of a model whose layers differ: the arithmetic behind `hybrid.py`."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.models import decoder
from cloudtrain.models.counted import Counted
from cloudtrain.models.keys import Keys

HOW = "counted by formula"
QV, ATTENTION, MLP, NONE = 0, 1, 2, 3  # the narrowest targets that adapt a matrix


class Mamba(NamedTuple):
    """A Mamba-2 block."""

    heads: int
    head: int
    groups: int
    state: int
    kernel: int
    biased: bool
    conv_biased: bool


class Tally:
    """Adds up what the layers hold."""

    def __init__(self) -> None:
        self.linear = self.experts = self.router = self.other = self.tables = self.picked = self.largest = 0
        self.adapted = [0, 0, 0]

    def matrix(self, inputs: int, outputs: int, times: int = 1, adapted_by: int = ATTENTION) -> None:
        """A dense matrix; 4-bit loading quantises it."""
        if inputs and outputs and times:
            self.linear += inputs * outputs * times
            self.largest = max(self.largest, inputs * outputs)
            for targets in range(adapted_by, len(self.adapted)):
                self.adapted[targets] += (inputs + outputs) * times

    def mlp(self, hidden: int, width: int, times: int = 1, *, gated: bool = True) -> None:
        """Gate, up and down, or up and down alone."""
        self.matrix(hidden, width, times * (2 if gated else 1), MLP)
        self.matrix(width, hidden, times, MLP)

    def attention(self, hidden: int, query: int, key: int, value: int, times: int = 1, *, gated: bool = False) -> None:
        """Projections of queries (twice as wide with an output gate), keys, values and the output."""
        self.matrix(hidden, query * (2 if gated else 1), times, QV)
        self.matrix(hidden, key, times)
        self.matrix(hidden, value, times, QV)
        self.matrix(query, hidden, times)

    def mamba(self, hidden: int, block: Mamba, times: int) -> None:
        """One matrix in, a convolution, three numbers a head, a gated norm, one matrix out."""
        inner = block.heads * block.head
        convolved = inner + 2 * block.groups * block.state
        self.matrix(hidden, inner + convolved + block.heads, times, MLP)
        self.matrix(inner, hidden, times, MLP)
        small = convolved * (block.kernel + block.conv_biased) + 3 * block.heads + inner
        small += (inner + convolved + block.heads + hidden) if block.biased else 0
        self.other += small * times

    def mixture(self, keys: Keys, hidden: int, width: int, layers: int, *, gated: bool = True) -> None:
        """Experts stacked in one tensor for each of `layers` layers, with a router before them."""
        count, picks = keys.size(*decoder.EXPERTS), keys.size(*decoder.PICKS, "top_k_experts")
        if picks > count:
            raise keys.refuse("num_experts_per_tok", f"is {picks}, more than the {count} experts")
        one = (3 if gated else 2) * hidden * width
        self.experts += one * count * layers
        self.picked += one * picks * layers
        self.router += hidden * count * layers
        self.largest = max(self.largest, (2 if gated else 1) * hidden * width * count)

    def finish(self, vocab: int, hidden: int, *, tied: bool) -> Counted:
        """With embedding, head and last norm."""
        table = vocab * hidden
        embedding = self.tables + (table if tied else 2 * table)
        outside = self.linear + self.router + self.other + hidden
        qv, attention, everything = self.adapted
        return Counted(
            total=embedding + outside + self.experts,
            embedding=embedding,
            linear=self.linear,
            experts=self.experts,
            router=self.router,
            active=table + outside + self.picked,
            largest=max(self.largest, table, self.tables),
            adapted=(qv, attention, everything),
            how=HOW,
        )
