"""The n-gram embedding of LongCat-Flash-Lite: huge tables that are looked up, and small matrices behind them."""

from __future__ import annotations


def ngram_parameters(vocab: int, hidden: int, ratio: int, neighbours: int, splits: int) -> tuple[int, int]:
    """`(table parameters, projection parameters)`; both zero without an n-gram embedding.

    For each n from 2 to `neighbours` there are `splits` hashed tables; table i has `ratio x vocab + 2 i + 1` rows of
    `hidden / tables` numbers, and one matrix brings them to `hidden`. Source: mlx-lm 0.32.2 `longcat_flash_ngram`;
    for LongCat-Flash-Lite it gives 31,416,422,400, which makes up the published 68.5 B.
    """
    tables = splits * (neighbours - 1)
    if not ratio or tables <= 0 or hidden < tables:
        return 0, 0
    width = hidden // tables
    rows = tables * ratio * vocab + tables * tables  # the sum of 2 i + 1 over the tables is their number squared
    return rows * width, tables * width * hidden
