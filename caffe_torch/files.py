"""Files that are there wholly or not at all."""

import contextlib
import os
from pathlib import Path


def write_whole(path: str, content: bytes | memoryview) -> None:
    """Write a file under a temporary name, flushed to the disk, and rename it.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; `path` is as it was.
    """
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
