"""One supervised process: its log is followed and nothing of it survives."""

import json
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
from reproduce.training.commands import StopCommand
from reproduce.training.log_parser import Error, TrainLoss
from reproduce.training.process import (
    CaffeProcess,
    IterationTime,
    end_orphans,
    kernel_oom_kills,
)


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


LATE = """
trap 'i=0; while [ $i -lt 25 ]; do sleep 0.02; i=$((i + 1)); done; echo ERROR: saved; exit 0' INT
"""
"""A shell that obeys SIGINT half a second late, as Caffe at the end of a long iteration."""

SLOW_LINES = """
for i in 0 1 2 3 4 5; do
    echo "I0101 00:00:00.000000 1 solver.cpp:239] Iteration $i, loss = 1"
    j=0; while [ $j -lt 20 ]; do sleep 0.02; j=$((j + 1)); done
done
"""


def test_the_grace_grows_with_the_iterations(tmp_path: Path) -> None:
    stop, said = threading.Event(), []
    with shell(tmp_path, LATE + SLOW_LINES, stop=stop, grace_s=0.1) as process:
        for event in process.events():
            if isinstance(event, TrainLoss) and event.iteration == 1:
                stop.set()
            said += [event.message] if isinstance(event, Error) else []
    assert said == ["ERROR: saved"]
    assert (process.ending.reason, process.ending.returncode) == ("stopped", 0)


def test_before_the_first_line_the_grace_grows_with_the_time_spent(tmp_path: Path) -> None:
    script = LATE + "while :; do sleep 0.02; done"
    with shell(tmp_path, script, timeout_s=1.0, grace_s=0.2) as process:
        assert list(process.events()) == [Error("ERROR: saved")]
    assert process.ending.returncode == 0


def test_leaving_by_an_exception_gives_the_same_grace(tmp_path: Path) -> None:
    def fail() -> None:
        with shell(tmp_path, LATE + SLOW_LINES, grace_s=0.1) as process:
            for event in process.events():
                if isinstance(event, TrainLoss) and event.iteration == 1:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "log").read_text().endswith("ERROR: saved\n")


def test_the_grace_is_bounded_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    script = "trap 'exit 0' INT; while :; do sleep 0.02; done"
    with shell(tmp_path, script, timeout_s=0.1, grace_s=1e4) as process:
        list(process.events())
    assert process.ending.returncode == 0
    assert caplog.messages == [
        f"{tmp_path.name}: Caffe may take up to 600 s to end its iteration and write a snapshot"
    ]


def test_what_an_iteration_takes_is_told_by_the_lines_arrival() -> None:
    def line(iteration: int) -> TrainLoss:
        return TrainLoss(iteration, 1.0, None)

    time_of = IterationTime(100.0)
    assert time_of.allowance(107.0) == 7.0  # a whole iteration took no longer
    time_of.take([Error("ERROR: x")], 108.0)
    time_of.take([line(20)], 109.0)
    assert time_of.allowance(150.0) == 3 * 9.0  # the start, with an iteration in it
    time_of.take([line(40)], 149.0)
    assert time_of.allowance(150.0) == 3 * 40 / 20
    time_of.take([line(60), line(80)], 155.0)
    assert time_of.allowance(155.0) == 3 * 40 / 20
    time_of.take([line(100)], 255.0)
    assert time_of.allowance(255.0) == 3 * 100 / 20


def test_stop_event(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with shell(tmp_path, "exec sleep 60", stop=stop) as process:
        list(process.events())
    assert process.ending.reason == "stopped"


def test_sigint_arrives_though_the_driver_blocks_it(tmp_path: Path) -> None:
    """Ray's workers do, and a signal mask outlives exec."""
    stop = threading.Event()
    stop.set()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with shell(tmp_path, "exec sleep 60", stop=stop) as process:
            list(process.events())
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    assert process.ending.returncode == -signal.SIGINT


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
    mark.write_text(json.dumps({"token": token, "values": {}}))
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


def test_a_torn_mark_is_of_a_process_that_never_began(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for torn in ("", '{"token": "3f', '{"token": "3f0c", "values": {'):
        mark.write_text(torn)
        assert end_orphans(mark) == 0
        assert not mark.exists()


@pytest.mark.parametrize("how", ["exit 0", "exit 1", "exec sleep 60"])
def test_a_session_of_its_own_does_not_outlive_the_process(tmp_path: Path, how: str) -> None:
    """Such as a daemon that Caffe's wrapper has started: no signal to the group reaches it."""
    script = f"setsid sleep 60 & echo $! > child; while ! [ -s child ]; do :; done; {how}"
    with shell(tmp_path, script, timeout_s=1.0) as process:
        child = int(wait_for(tmp_path / "child"))
        list(process.events())
    assert not runs(child)


def test_a_process_that_cannot_be_logged_leaves_no_mark(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(IsADirectoryError), shell(tmp_path, "exit 0"):
        pass
    assert not (tmp_path / "mark").exists()


# A stop command: here the local process stands for the client, such as ssh, of one elsewhere


def stopper(tmp_path: Path, script: str) -> StopCommand:
    """A command that notes its signal, then runs a script."""
    script = f'echo "$1 $2" >> "$0"; {script}'
    words = ("sh", "-c", script, str(tmp_path / "told"), "{signal}", "{solver}")
    return StopCommand(words, {"solver": "s.prototxt"})


def told(tmp_path: Path) -> list[str]:
    path = tmp_path / "told"
    return path.read_text().splitlines() if path.exists() else []


CLIENT = "trap 'echo ERROR: interrupted; exit 0' INT; while ! [ -e end ]; do sleep 0.02; done"


def test_sigint_goes_through_the_stop_command_alone(tmp_path: Path) -> None:
    """The client stays until Caffe, elsewhere, has written its snapshot and ended."""
    with shell(
        tmp_path, CLIENT, timeout_s=0.3, stop_command=stopper(tmp_path, f"touch {tmp_path}/end")
    ) as process:
        assert list(process.events()) == []
    assert told(tmp_path) == ["INT s.prototxt"]
    assert (process.ending.reason, process.ending.returncode) == ("timeout", 0)


def test_where_the_stop_command_fails_the_client_gets_sigint(tmp_path: Path) -> None:
    with shell(
        tmp_path, CLIENT, timeout_s=0.3, stop_command=stopper(tmp_path, "exit 5")
    ) as process:
        complaints = [event.message for event in process.events() if isinstance(event, Error)]
    assert "CAFFE_STOP" in complaints[0]
    assert "exit code 5" in complaints[0]
    assert complaints[1:] == ["ERROR: interrupted"]


def test_sigkill_goes_both_ways(tmp_path: Path) -> None:
    with shell(
        tmp_path, CLIENT, timeout_s=0.2, grace_s=0.2, stop_command=stopper(tmp_path, "exit 0")
    ) as process:
        list(process.events())
    assert told(tmp_path) == ["INT s.prototxt", "KILL s.prototxt"]
    assert process.ending.returncode == -signal.SIGKILL


def test_leaving_by_an_exception_uses_the_stop_command(tmp_path: Path) -> None:
    command = stopper(tmp_path, f"touch {tmp_path}/end")

    def fail() -> None:
        with shell(tmp_path, CLIENT, stop_command=command):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert told(tmp_path) == ["INT s.prototxt"]


@pytest.mark.parametrize(("code", "wanted"), [(0, []), (255, ["KILL s.prototxt"])])
def test_a_client_that_fails_may_have_left_caffe_behind(
    tmp_path: Path, code: int, wanted: list[str]
) -> None:
    """ssh exits 255 when its connection breaks. That there is nothing to end is no complaint."""
    command = stopper(tmp_path, "exit 1")
    with shell(tmp_path, f"exit {code}", stop_command=command) as process:
        assert list(process.events()) == []
    assert told(tmp_path) == wanted
    assert (tmp_path / "log").read_text() == ""


def test_orphans_elsewhere_are_ended_by_the_stop_command_of_today(tmp_path: Path) -> None:
    """The mark remembers what the process was, and no command."""
    command = stopper(tmp_path, "exit 0")
    mark = tmp_path / "mark"
    mark.write_text(json.dumps({"token": f"token of {tmp_path}", "values": {"solver": "old"}}))
    assert end_orphans(mark, command.words) == 0
    assert told(tmp_path) == ["KILL old"]
    assert not mark.exists()
    assert end_orphans(mark, command.words) == 0
    assert told(tmp_path) == ["KILL old"]


def test_the_mark_has_what_the_stop_command_needs(tmp_path: Path) -> None:
    with shell(tmp_path, "cat mark >&2", stop_command=stopper(tmp_path, "exit 0")) as process:
        list(process.events())
    assert json.loads((tmp_path / "log").read_text())["values"] == {"solver": "s.prototxt"}


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
