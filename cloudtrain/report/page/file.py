"""Writing the page to a file that a person has named."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cloudtrain.errors import UsageError


def write(path: Path, page: str) -> int:
    """Replace the file by the page in one step; returns its bytes. Raises UsageError when it cannot be written."""
    data = page.encode()
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)  # a device or a pipe is written to, not replaced; a folder is an error
            return len(data)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"the page cannot be written to `{path}`: {error.strerror}", "name another file") from error
    return len(data)
