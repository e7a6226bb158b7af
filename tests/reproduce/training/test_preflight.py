"""The check of a Caffe before a search: what it measures, and each way in which it fails."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reproduce.training import disk, process
from reproduce.training.preflight import Preflight, PreflightError, preflight
from reproduce.training.recipe import Recipe

RECIPE = Recipe(
    epochs=20,
    iterations_per_epoch=430,
    test_iter=50,
    base_lr=0.001,
    chance_accuracy=0.1,
    max_restarts=2,
    random_seed=7,
)
NET = 'name: "a net"\n'


def check(fake: Any, **keywords: Any) -> Preflight:
    folder = fake.run_folder / "preflight"
    return preflight(folder, fake.run_folder, NET, RECIPE, fake.caffe, **keywords)


@pytest.fixture(autouse=True)
def nothing_survives(fake: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(process.CaffeProcess.__init__.__kwdefaults__, "grace_s", 0.3)
    yield
    assert fake.alive() == []


def test_what_it_does_and_leaves(fake: Any) -> None:
    check(fake)
    first, second = fake.processes()
    assert first["argv"] == ["train", "--solver=preflight/solver.prototxt"]
    assert second["argv"][2] == "--snapshot=preflight/snapshot_iter_1.solverstate"
    assert first["cwd"] == str(fake.run_folder)
    fake.folder = fake.run_folder / "preflight"
    assert fake.files() == {"train.log", "resume.log"}
    log = (fake.folder / "resume.log").read_text()
    assert f"base_lr: {0.001 * 0.4**2:.5g}" in log  # the lowest rate of the recipe
    assert "test_iter: 1\n" in log


def resumed_log(folder: Path, slow: float, each: float) -> str:
    """What a process prints that resumes at 1, where iteration 1 is slow."""
    lines = []
    for iteration in range(1, 8):
        second = (slow if iteration > 1 else 0) + each * (iteration - 1)
        at = f"I1124 17:48:{second:09.6f} 10291 solver.cpp:239] Iteration {iteration}"
        lines.append(f"{at} (1 iter/s, 1s/1 iters), loss = 0.5")
    start = "I1124 17:48:59.900000 10291 solver.cpp:"
    lines += [
        f"{start}347] Iteration 8, Testing net (#0)",
        f"{start}414]     Test net output #0: accuracy = 0.5",
        f"{start}414]     Test net output #1: loss = 0.5 (* 1 = 0.5 loss)",
    ]
    path = folder / "resumed.log"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_what_it_measures(fake: Any, tmp_path: Path) -> None:
    """The stamps of the log give the speed; the first iteration of a process is left out."""
    log = resumed_log(tmp_path, slow=30.0, each=0.25)
    fake.script(processes={"1": {"log": [log, 0]}})
    assert check(fake).seconds_per_iteration == pytest.approx(0.25)


def test_how_long_it_takes_to_start(fake: Any, tmp_path: Path) -> None:
    log = resumed_log(tmp_path, slow=0.0, each=0.01)
    fake.script(processes={"1": {"log": [log, 0], "start_seconds": 0.3}})
    assert check(fake).startup_seconds >= 0.3 - 0.01


def test_time_stamps_are_needed(fake: Any, tmp_path: Path) -> None:
    path = Path(resumed_log(tmp_path, slow=0.0, each=0.01))
    path.write_text(path.read_text().replace("I1124 17:48:", "I1124 17h48:"))
    fake.script(processes={"1": {"log": [str(path), 0]}})
    with pytest.raises(PreflightError, match="printed no time stamp with each training loss"):
        check(fake)


def test_the_size_of_a_snapshot(fake: Any) -> None:
    """Both of its files, seen while the second process is slow to begin."""
    measured = check(fake)
    sizes: list[int] = []

    def watch() -> None:
        folder = fake.run_folder / "preflight"
        files = [folder / f"snapshot_iter_1.{kind}" for kind in ("caffemodel", "solverstate")]
        deadline = time.monotonic() + 10
        while len(fake.processes()) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        sizes.append(sum(file.stat().st_size for file in files))

    fake.script(processes={"3": {"start_seconds": 0.5}})
    thread = threading.Thread(target=watch)
    thread.start()
    check(fake)
    thread.join()
    assert sizes == [measured.snapshot_bytes]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"fatal_at": [-1, "Cannot use GPU in CPU-only Caffe: check mode."]},
            "did not train: Cannot use GPU in CPU-only Caffe: check mode.",
        ),
        ({"exit_at": [0, 3]}, "did not train: exit code 3 after iteration 0, with no complaint"),
        ({"signal_at": [0, signal.SIGSEGV]}, "did not train: ended by SIGSEGV after iteration 0"),
        ({"no_display": True}, "did not train: exit code 0"),
        ({"unwritable_at": 1}, "wrote no snapshot that can be read again: Check failed: proto.S"),
        ({"cut_state_at": 1}, "wrote no snapshot that can be read again: exit code 0"),
        ({"full_at": 1}, "wrote no snapshot that can be read again: no space left on the disk of"),
        ({"nan_at": 0}, "computes no finite numbers: training loss nan at iteration 0"),
        ({"no_resume": True}, "did not resume from its own snapshot: exit code 0"),
        (
            {"processes": {"1": {"fatal_at": [-1, "Check failed: restored"]}}},
            "did not resume from its own snapshot: Check failed: restored",
        ),
        (
            {"signal_at": [4, signal.SIGKILL]},
            "did not train on after it had resumed: ended by SIGK",
        ),
        ({"no_accuracy": True}, "printed no test accuracy: exit code 0 after iteration 8"),
        ({"nan_at": 8}, "computes no finite numbers: test loss nan at iteration 8"),
        ({"fatal_at": [1, "Check failed: error == cudaSuccess (2 vs. 0)"]}, "(2 vs. 0)"),
    ],
)
def test_each_failure_is_one_clear_line(fake: Any, keys: dict[str, Any], said: str) -> None:
    fake.script(**keys)
    with pytest.raises(PreflightError) as error:
        check(fake)
    text = str(error.value)
    assert text.startswith("caffe version 1.0.0-fake ")
    assert said in text
    assert "\n" not in text
    log = text.rpartition("its log is ")[2]
    assert log.endswith(f"preflight/{'resume' if len(fake.processes()) == 2 else 'train'}.log")
    fake.folder = fake.run_folder / "preflight"
    assert fake.files() <= {"train.log", "resume.log"}
    fake.script()
    check(fake)


def test_an_exit_code_alone_is_no_failure(fake: Any) -> None:
    """As for a trial: what counts is the snapshot and the test."""
    fake.script(exit_after=11)
    check(fake)


@pytest.mark.parametrize("ignore_sigint", [False, True])
def test_a_process_that_hangs(fake: Any, ignore_sigint: bool) -> None:
    fake.script(processes={"1": {"hang_at": 3, "ignore_sigint": ignore_sigint, "daemon": True}})
    with pytest.raises(PreflightError, match=r"after it had resumed: no end within 1\.5 s, after"):
        check(fake, timeout_s=1.5)


def test_it_can_be_stopped(fake: Any) -> None:
    fake.script(hang_at=0)
    stop = threading.Event()
    stop.set()
    with pytest.raises(PreflightError, match="stopped after iteration 0"):
        check(fake, stop=stop)


def test_a_full_disk_of_its_own_writes(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: object, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "free_bytes", lambda folder: 12_300_000)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", full)
        with pytest.raises(
            PreflightError, match=r"no space left on the disk of .* \(12\.3 MB free"
        ):
            check(fake)
    check(fake)


def test_killed_and_repeated(fake: Any) -> None:
    fake.script(hang_at=3, daemon=True)
    driver = os.fork()
    if driver == 0:
        try:
            check(fake)
        finally:
            os._exit(0)
    deadline = time.monotonic() + 10
    while len(fake.processes()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(driver, signal.SIGKILL)
    os.waitpid(driver, 0)
    fake.folder = fake.run_folder / "preflight"
    assert "caffe.mark" in fake.files()
    assert fake.alive()  # the helper, at least
    fake.script()
    check(fake)
    assert fake.files() == {"train.log", "resume.log"}


def test_a_gpu_is_checked_as_it_will_be_used(fake: Any) -> None:
    fake.caffe = replace(fake.caffe, gpu=1, threads=3)
    check(fake)
    assert {(each["gpu"], each["threads"]) for each in fake.processes()} == {("1", "3")}
