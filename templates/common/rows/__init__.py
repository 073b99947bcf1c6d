"""Training data as people have it, read once: files, formats and shapes in, rows or sentences about them out.

Standard library only (and pyarrow for Parquet), and no other module of ours, imported relatively: the client judges
data with these very files, before anything is paid for, and the trainer reads with them.
"""

from .faults import BadRow, Faults, Told
from .files import DataFile, Unreadable
from .shapes import KINDS, Row, Shape
from .source import Source

__all__ = ["KINDS", "BadRow", "DataFile", "Faults", "Row", "Shape", "Source", "Told", "Unreadable"]
