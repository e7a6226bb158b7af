"""A signal in the middle of training: the same lines behind it, whatever the iteration."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conformance.commands import ENVIRONMENT
from tests.conformance.logs.normalize import counted, read
from tests.conformance.logs.test_runs import NET, SOLVER

pytestmark = pytest.mark.conformance

ENDLESS = SOLVER.replace("max_iter: 18", "max_iter: 1000000").replace("snapshot: 9", "")
ENDLESS = ENDLESS.replace("display: 3", "display: 1").replace("stepsize: 8", "stepsize: 1000000")
ENDLESS = ENDLESS.replace("test_interval: 6", "test_interval: 1000000")
CASES = {
    "SIGINT stops": (signal.SIGINT, (), 0),
    "SIGINT snapshots": (signal.SIGINT, ("-sigint_effect", "snapshot"), None),
    "SIGINT is nothing": (signal.SIGINT, ("-sigint_effect=none",), None),
    "SIGHUP snapshots": (signal.SIGHUP, (), None),
    "SIGHUP stops": (signal.SIGHUP, ("--sighup_effect=stop",), 0),
    "SIGHUP is nothing": (signal.SIGHUP, ("--sighup_effect", "none"), None),
    "SIGTERM ends": (signal.SIGTERM, (), -signal.SIGTERM),
    "SIGKILL ends": (signal.SIGKILL, (), -signal.SIGKILL),
}


def _run(command: list[str], folder: Path, number: int) -> tuple[int | None, str]:
    """Signal a training that has begun; its exit status (None: it went on), and its log."""
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, stderr=file, env=ENVIRONMENT)
    try:
        _wait(log, "Iteration 3,", process)
        shown = log.read_text().count(", lr = ")
        process.send_signal(number)
        deadline = time.monotonic() + 60
        while process.poll() is None and log.read_text().count(", lr = ") < shown + 20:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process.poll(), log.read_text()
    finally:
        process.kill()
        process.wait()


def _wait(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _lines(log: str) -> list[str]:
    """The different lines of the training itself, the last one only if it is whole."""
    return counted(read(log.rpartition("\n")[0].partition("Solving")[2]).lines)


@pytest.mark.parametrize("name", CASES)
def test_signal(name: str, tmp_path: Path, data: Path, real_caffe: Path) -> None:
    number, flags, status = CASES[name]
    logs = []
    for kind, command in (
        ("embedded", [sys.executable, "-m", "caffe_torch"]),
        ("real", [str(real_caffe)]),
    ):
        folder = tmp_path / kind
        (folder / "work").mkdir(parents=True)
        (folder / "data").symlink_to(data)
        (folder / "net.prototxt").write_text(NET)
        (folder / "solver.prototxt").write_text(ENDLESS)
        arguments = ["train", "-solver", "solver.prototxt", *flags]
        ended, log = _run([*command, *arguments], folder, number)
        assert ended == status, log[-2000:]
        logs.append(_lines(log))
        snapshots = {path.suffix for path in (folder / "work").iterdir()}
        kept = "snapshots" in name or "stops" in name
        assert snapshots == ({".caffemodel", ".solverstate"} if kept else set())
    assert logs[0] == logs[1]
    assert any("Snapshotting" in line for line in logs[0]) == kept
