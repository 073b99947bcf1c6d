"""What makes many tests in one process cheap; nothing that a test judges depends on it."""

from __future__ import annotations

import functools
import gc
from collections import defaultdict


def collect_rarely() -> None:
    """As the product does (`cloudtrain/__main__.py`): with Python's own numbers a quarter of all computing is collecting."""
    gc.set_threshold(100_000, 50, 50)


def keep_what_is_imported() -> None:
    """So that no collection looks through it again."""
    gc.collect()
    gc.freeze()


def read_data_files_once() -> None:
    """botocore reads EC2's description again for every session, a tenth of a second each; now once in this process.

    And looks through the folders of all services, to find the newest description of each, and finds the present names of
    300 events by patterns.
    """
    from botocore.hooks import EventAliaser
    from botocore.loaders import JSONFileLoader, Loader

    read = functools.cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda self, path: read(path)
    found: dict[tuple[str, ...], dict[object, object]] = defaultdict(dict)  # by the folders that a loader looks into
    Loader._cache = property(lambda self: found[tuple(self.search_paths)], lambda self, empty: None)
    names: dict[str, str] = {}
    EventAliaser._alias_name_cache = property(lambda self: names, lambda self, empty: None)
