"""One file per price source, found by its file name; see README.md."""

from pathlib import Path

SNAPSHOTS = Path(__file__).parent / "snapshots"  # the catalogue that is shipped
