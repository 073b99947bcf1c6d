"""Weights that lie in a mapped file: whether they do, and giving their pages back when they have been copied.

transformers reads safetensors in place. A copy of a weight would leave the file's pages in the process's memory for as
long as any other weight of the file is read: twice the memory. Given back, such a page is read again if it is needed.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

from torch import Tensor

_DONT_NEED = 4  # MADV_DONTNEED of Linux
_MAPS = Path("/proc/self/maps")


def lies_in_a_file(weight: Tensor) -> bool:
    """Whether all of it is memory that a file backs; never, where that cannot be known."""
    if sys.platform != "linux" or weight.numel() == 0:
        return False
    begin = weight.data_ptr()
    end = begin + weight.numel() * weight.element_size()
    try:
        lines = _MAPS.read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        fields = line.split()
        low, high = (int(word, 16) for word in fields[0].split("-"))
        if low <= begin < high:
            return end <= high and fields[4] != "0" and len(fields) > 5 and fields[5].startswith("/")
    return False


def give_back(weight: Tensor) -> None:
    """Let go of the whole pages of a weight that nothing reads any more, if a file backs them."""
    if not weight.is_contiguous() or not lies_in_a_file(weight):
        return
    page = mmap.PAGESIZE
    begin = -(-weight.data_ptr() // page) * page
    end = (weight.data_ptr() + weight.numel() * weight.element_size()) // page * page
    if end > begin:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONT_NEED)
