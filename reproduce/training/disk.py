"""A full disk: no failure of a trial, which stops and goes on when there is space again."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

from reproduce.training.snapshots import Snapshots

LEAST = 1 << 20
"""Bytes below which a disk counts as full, whatever the next snapshot needs."""

_FULL = ("no space left on device", "disk quota exceeded")
_WRITE_FAILED = "serializetoostream"


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write to the disk of a folder."""
    return shutil.disk_usage(folder).free


def is_full(error: OSError) -> bool:
    """Whether a write of our own failed for lack of space."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def filled_by(complaints: Iterable[str], snapshots: Snapshots) -> str:
    """Caffe's complaint, if it says that a disk is full; else empty.

    Real Caffe says only that a snapshot could not be written; where its file was begun, its
    folder cannot be the reason.
    """
    for complaint in complaints:
        text = complaint.lower()
        if any(sign in text for sign in _FULL):
            return complaint
        if _WRITE_FAILED in text and snapshots.any_torn():
            return complaint
    return ""


def lacks_space(run_folder: Path, snapshots: Snapshots) -> bool:
    """Whether the disk has no room for another snapshot; then Caffe's last words may be lost."""
    return free_bytes(run_folder) < max(LEAST, snapshots.largest())


def no_space(run_folder: Path, complaint: str = "") -> str:
    """What the user is told."""
    free = f"{free_bytes(run_folder) / 1e6:,.1f} MB free" + (complaint and f"; {complaint}")
    return (
        f"no space left on the disk of {run_folder} ({free}): "
        "free some and give the same command again"
    )
