"""A full disk stops a trial, and nothing that was half written is believed afterwards."""

import errno
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reproduce.training import disk
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.recipe import Recipe
from reproduce.training.snapshots import Snapshots
from reproduce.training.trial import run_trial

FAKE = Path(__file__).parents[2] / "fake_caffe.py"
RECIPE = Recipe(
    epochs=3,
    iterations_per_epoch=10,
    test_iter=1,
    base_lr=0.001,
    chance_accuracy=0.1,
    retries=0,
    keep_model=True,
)
WRITE_FAILED = "Check failed: proto.SerializeToOstream(&output)"


def test_what_fills_a_disk() -> None:
    assert disk.is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert disk.is_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert not disk.is_full(PermissionError(errno.EACCES, "Permission denied"))
    assert not disk.is_full(TimeoutError("a process cannot be ended"))


@pytest.mark.parametrize(
    ("complaints", "torn", "said"),
    [
        ([], True, ""),
        ([WRITE_FAILED], True, WRITE_FAILED),
        ([WRITE_FAILED], False, ""),  # its folder cannot be written
        (["Check failed: x == y"], True, ""),
        (["Aborted", "OSError: [Errno 28] No space left on device"], False, "OSError: [Errno 28]"),
        ([WRITE_FAILED + " Cannot write x: Disk quota exceeded; create it"], False, WRITE_FAILED),
    ],
)
def test_caffes_complaints(tmp_path: Path, complaints: list[str], torn: bool, said: str) -> None:
    if torn:
        (tmp_path / "snapshot_0_iter_7.caffemodel").write_bytes(b"half of a")
    found = disk.filled_by(complaints, Snapshots(tmp_path, "snapshot_0"))
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_room_for_another_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = Snapshots(tmp_path, "snapshot_0")
    size = 2 * disk.LEAST
    with (tmp_path / "snapshot_0_iter_7.caffemodel").open("wb") as file:
        for free, wanted in ((0, True), (disk.LEAST - 1, True), (disk.LEAST, False)):
            monkeypatch.setattr(disk, "free_bytes", lambda folder, free=free: free)
            assert disk.lacks_space(tmp_path, snapshots) is wanted
        file.truncate(size)
        for free, wanted in ((size - 1, True), (size, False)):
            monkeypatch.setattr(disk, "free_bytes", lambda folder, free=free: free)
            assert disk.lacks_space(tmp_path, snapshots) is wanted


def test_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1_234_567_890)
    assert disk.no_space(Path("/runs/a"), "why") == (
        "no space left on the disk of /runs/a (1,234.6 MB free; why): "
        "free some and give the same command again"
    )


# The driver's own writes


class FullAt:
    """The disk is full at the n-th write of this process, and then no longer."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, path: Path) -> bool:
        self.left -= 1
        return self.left == -1

    def guard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        full, write_text, mkdir, open_ = self, Path.write_text, Path.mkdir, Path.open

        def guarded_write(path: Path, text: str, **keywords: Any) -> int:
            if full(path):
                write_text(path, text[: len(text) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return write_text(path, text, **keywords)

        def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
            def call(path: Path, *arguments: Any, **keywords: Any) -> Any:
                reads = method is open_ and (not arguments or arguments[0] in ("r", "rb"))
                if not reads and full(path):
                    raise OSError(errno.ENOSPC, "No space left on device")
                return method(path, *arguments, **keywords)

            return call

        monkeypatch.setattr(Path, "write_text", guarded_write)
        monkeypatch.setattr(Path, "mkdir", guarded(mkdir))
        monkeypatch.setattr(Path, "open", guarded(open_))


def test_the_disk_is_full_at_any_of_the_drivers_writes(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, epochs=2)
    fake.script()
    wanted = run_trial(fake.run_folder / "wanted", fake.run_folder, "", recipe, fake.caffe)
    for at in range(100):
        folder = fake.run_folder / f"at-{at}"
        full = FullAt(at)
        with monkeypatch.context() as patch:
            full.guard(patch)
            result = run_trial(folder, fake.run_folder, "", recipe, fake.caffe)
        if full.left >= 0:
            break
        assert (result.outcome, "no space left on the disk" in result.message) == (
            Outcome.STOPPED,
            True,
        )
        again = run_trial(folder, fake.run_folder, "", recipe, fake.caffe)
        assert replace(again, seconds=0) == replace(wanted, seconds=0)
        assert (folder / "model.caffemodel").exists()
    assert at > 12
    assert fake.alive() == []


# A real disk that is full


@pytest.mark.parametrize("at", [10, 20, 30], ids=["first epoch", "second", "last"])
def test_a_full_disk_stops_a_trial_that_goes_on_when_there_is_space(
    fake: Any, tmp_path: Path, on_small_disk: Callable[..., list[TrialResult]], at: int
) -> None:
    fake.script()
    wanted = run_trial(fake.folder, fake.run_folder, "", RECIPE, fake.caffe)
    well = tmp_path / "well.json"
    well.write_text("{}")
    fake.script(fill_disk_at=at)
    full, still_full, resumed = on_small_disk(
        "disk 1m; drive; drive; disk 8m; FAKE_CAFFE=$WELL drive",
        "",
        RECIPE,
        CAFFE=f"{sys.executable} -I -S {FAKE}",
        WELL=str(well),
    )
    for result in (full, still_full):
        assert result.outcome is Outcome.STOPPED
        assert re.fullmatch(
            r"no space left on the disk of /.*/small disk \(0\.\d MB free(; .*)?\): "
            "free some and give the same command again",
            result.message,
        )
    assert full.accuracies == wanted.accuracies[: at // 10 - 1]
    assert replace(resumed, seconds=0) == replace(wanted, seconds=0)
    assert fake.alive() == []
