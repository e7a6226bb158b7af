"""Temporary names, under which all is written before it is renamed: a kill leaves no half of it.

They begin with a dot, which hides them from every search for finished things, and name the
machine and the process, so that a later process knows what a killed one has left.
"""

import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import psutil


def temporary_name(path: Path) -> Path:
    """Where this process writes what is to become `path`: beside it."""
    return path.with_name(f".{path.name}@{socket.gethostname()}.{os.getpid()}.partial")


def remove_leftovers(folder: Path) -> None:
    """Remove from `folder` what processes of this machine that were killed have left there.

    To be called while this process writes nothing there: what bears its own number is of an
    earlier process, since a container's first has the same number each time.
    """
    pattern = re.compile(rf"\..+@{re.escape(socket.gethostname())}\.(\d+)\.partial")
    for leftover in folder.glob(".*.partial"):
        if not (found := pattern.fullmatch(leftover.name)):
            continue
        pid = int(found[1])
        if pid == os.getpid() or not psutil.pid_exists(pid):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                with suppress(OSError):
                    leftover.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Write the whole file under its temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    partial = temporary_name(path)
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
