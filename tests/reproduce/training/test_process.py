"""One supervised process: its log is followed and nothing of it survives."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from reproduce.training import process as module
from reproduce.training.log_parser import Error
from reproduce.training.process import CaffeProcess, end_orphans, kernel_oom_kills


def shell(folder: Path, script: str, **keywords: object) -> CaffeProcess:
    return CaffeProcess(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env=dict(os.environ),
        log=folder / "log",
        mark=folder / "mark",
        **keywords,  # type: ignore[arg-type]
    )


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text().strip()


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_both_streams_are_appended_and_followed(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ERROR: before\n")
    with shell(tmp_path, "echo ERROR: out; echo ERROR: err >&2; exit 3") as process:
        events = list(process.events())
    assert events == [Error("ERROR: before"), Error("ERROR: out"), Error("ERROR: err")]
    assert process.ending.reason == "exited"
    assert process.ending.returncode == 3
    assert not (tmp_path / "mark").exists()


def test_a_program_that_is_missing(tmp_path: Path) -> None:
    arguments = {"cwd": tmp_path, "env": {}, "log": tmp_path / "log", "mark": tmp_path / "mark"}
    with CaffeProcess(["/no/such/caffe"], **arguments) as process:
        events = list(process.events())
    assert events == [Error("ERROR: cannot run /no/such/caffe: No such file or directory")]
    assert process.ending.returncode == 1


def test_timeout_begins_with_sigint(tmp_path: Path) -> None:
    script = "trap 'echo ERROR: int; exit 0' INT; while :; do sleep 0.02; done"
    with shell(tmp_path, script, timeout_s=0.3) as process:
        events = list(process.events())
    assert events == [Error("ERROR: int")]
    assert process.ending.reason == "timeout"
    assert process.ending.returncode == 0
    assert 0.3 <= process.ending.seconds < 5


def test_sigkill_after_the_grace(tmp_path: Path) -> None:
    script = "trap '' INT; while :; do sleep 0.02; done"
    with shell(tmp_path, script, timeout_s=0.1, grace_s=0.2) as process:
        assert list(process.events()) == []
    assert process.ending.reason == "timeout"
    assert process.ending.returncode == -signal.SIGKILL
    assert not process.ending.kernel_out_of_memory


def test_stop_event(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with shell(tmp_path, "exec sleep 60", stop=stop) as process:
        list(process.events())
    assert process.ending.reason == "stopped"


def test_what_the_process_started_ends_with_it(tmp_path: Path) -> None:
    with shell(tmp_path, "sleep 60 & echo $! > child; exit 0") as process:
        list(process.events())
    child = int(wait_for(tmp_path / "child"))
    assert process.ending.returncode == 0
    deadline = time.monotonic() + 5
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(child)


def test_an_exception_ends_the_process(tmp_path: Path) -> None:
    class BoomError(Exception):
        pass

    process = shell(tmp_path, "echo $$ > pid; exec sleep 60")

    def fail() -> None:
        with process:
            wait_for(tmp_path / "pid")
            raise BoomError

    with pytest.raises(BoomError):
        fail()
    assert not runs(int(wait_for(tmp_path / "pid")))
    assert process.ending.returncode == -signal.SIGINT


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_process_dies_with_its_driver(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from reproduce.training.process import CaffeProcess
folder = Path(sys.argv[1])
with CaffeProcess(["/bin/sh", "-c", "echo $$ > pid; exec sleep 60"], cwd=folder,
                  env=dict(os.environ), log=folder / "log", mark=folder / "mark") as process:
    list(process.events())
"""
    driver = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    pid = int(wait_for(tmp_path / "pid"))
    assert runs(pid)
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 5
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(pid)


def test_orphans_are_found_by_their_token(tmp_path: Path) -> None:
    mark, token = tmp_path / "mark", f"token of {tmp_path}"
    mark.write_text(token)
    sleepers = [
        subprocess.Popen(["/bin/sleep", "60"], env={**os.environ, "METAQNN_PROCESS": value})
        for value in (token, "another")
    ]
    orphan, other = sleepers
    try:
        assert end_orphans(mark) == 1
        assert not runs(orphan.pid)
        assert other.poll() is None
        assert not mark.exists()
        assert end_orphans(mark) == 0
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_sigkill_is_out_of_memory_only_if_the_kernel_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shell(tmp_path, "kill -KILL $$") as process:
        list(process.events())
    assert process.ending.returncode == -signal.SIGKILL
    assert not process.ending.kernel_out_of_memory
    counts = iter([7, 8])
    monkeypatch.setattr(module, "kernel_oom_kills", lambda: next(counts))
    with shell(tmp_path, "kill -KILL $$") as process:
        list(process.events())
    assert process.ending.kernel_out_of_memory


def test_the_kernels_count(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 3\noom_kill 12\nzswpin 0\n")
    assert kernel_oom_kills(counters) == 12
    assert kernel_oom_kills(tmp_path / "missing") == 0
