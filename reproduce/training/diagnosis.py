"""What ended a `caffe` process before it was done: one of the closed set of outcomes."""

from __future__ import annotations

from pathlib import Path

from reproduce.training import disk
from reproduce.training.outcome import Outcome, is_out_of_memory
from reproduce.training.process import Ending
from reproduce.training.progress import Progress
from reproduce.training.snapshots import Snapshots


def diagnose(
    ending: Ending,
    progress: Progress,
    snapshots: Snapshots,
    run_folder: Path,
    *,
    timeout_s: float | None,
    lacking: str,
) -> tuple[Outcome, str]:
    """Name what ended a process, and why in one line.

    Args:
        ending: how it ended.
        progress: what its log said.
        snapshots: those that it wrote.
        run_folder: where it ran; a full disk is this folder's.
        timeout_s: what it was allowed.
        lacking: what it has not done, for a process that says nothing: "before its last test".
    """
    where = f"after iteration {progress.reached}"
    said = "; ".join(progress.complaints[:2])
    if complaint := disk.filled_by(progress.complaints, snapshots):
        return Outcome.STOPPED, disk.no_space(run_folder, complaint)
    if any(map(is_out_of_memory, progress.complaints)):
        return Outcome.OUT_OF_MEMORY, said
    if ending.kernel_out_of_memory:
        return Outcome.OUT_OF_MEMORY, f"the kernel killed it for lack of memory, {where}"
    if ending.reason == "stopped" or (progress.stopped_early and ending.reason == "exited"):
        return Outcome.STOPPED, f"stopped {where}"
    if ending.reason == "timeout":
        return Outcome.TIMEOUT, f"no end within {timeout_s or 0:g} s, {where}"
    if disk.lacks_space(run_folder, snapshots):
        return Outcome.STOPPED, disk.no_space(run_folder)
    return Outcome.CRASHED, said or f"{ending.how} {where}, {lacking}"
