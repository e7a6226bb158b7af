"""`metaqnn stop` and `metaqnn resume`, from another terminal than the run's."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reproduce.experiments.load import load_experiment
from reproduce.run import LOCK_FILE, REPLAY_MEMORY, freeze, locked
from reproduce.search.replay_memory import ReplayMemory

# stop


def test_there_must_be_a_run_to_stop(metaqnn: Any, tmp_path: Path) -> None:
    assert "holds no run: experiment.toml is missing" in metaqnn("stop", tmp_path).refusal


def test_a_run_that_nobody_runs_is_left_alone(metaqnn: Any, finished: Any) -> None:
    said = metaqnn("stop", finished.run)
    assert (said.code, said.out) == (0, f"{finished.run} is not running\n")


@contextlib.contextmanager
def on_sigterm(act: Callable[[], object]) -> Any:
    """Stand for a driver: `act` is called when this process gets SIGTERM."""
    earlier = signal.signal(signal.SIGTERM, lambda number, frame: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_the_driver_gets_its_signal_and_its_end_is_awaited(metaqnn: Any, finished: Any) -> None:
    stack, signals = contextlib.ExitStack(), []

    def end() -> None:
        signals.append(signal.SIGTERM)
        stack.close()  # gives the run's lock back

    with on_sigterm(end), stack:
        stack.enter_context(locked(finished.run))
        said = metaqnn("stop", finished.run)
    assert signals == [signal.SIGTERM]
    assert said.code == 0
    assert f"stopped process {os.getpid()} on " in said.out
    assert f"`metaqnn resume {finished.run}` goes on" in said.out


def test_a_driver_that_does_not_end_is_said_not_killed(metaqnn: Any, finished: Any) -> None:
    with on_sigterm(lambda: None), locked(finished.run):
        refusal = metaqnn("stop", finished.run, "--wait", "0.2").refusal
    assert refusal.startswith(f"process {os.getpid()} on ")
    assert "has not ended within 0.2 s; it may still be snapshotting" in refusal


def test_a_driver_on_another_host_gets_no_signal(metaqnn: Any, finished: Any) -> None:
    with on_sigterm(lambda: pytest.fail("a signal was sent")), locked(finished.run):
        (finished.run / LOCK_FILE).write_text(f"process {os.getpid()} on elsewhere")
        refusal = metaqnn("stop", finished.run).refusal
    assert refusal.endswith("on elsewhere: run `metaqnn stop` on elsewhere")


def test_a_driver_of_another_user_is_named(
    metaqnn: Any, finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_permitted(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", not_permitted)
    with locked(finished.run):
        refusal = metaqnn("stop", finished.run).refusal
    assert refusal.startswith(f"{finished.run} is being run by process {os.getpid()} on ")
    assert refusal.endswith("which is another user's: only they can stop it")


def test_a_driver_that_ends_meanwhile_is_stopped(
    metaqnn: Any, finished: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = contextlib.ExitStack()

    def gone(pid: int, number: int) -> None:
        stack.close()
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(os, "kill", gone)
    with stack:
        stack.enter_context(locked(finished.run))
        said = metaqnn("stop", finished.run)
    assert (said.code, said.out.split()[0]) == (0, "stopped")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver is forked")
def test_a_search_that_is_stopped_ends_after_a_resume_as_one_never_stopped(
    metaqnn: Any, small: Any, finished_record: tuple[object, ...]
) -> None:
    small.script(seconds=0.1)
    pid = os.fork()
    if pid == 0:  # the driver, in a terminal of its own
        code = 70
        try:
            os.setsid()
            said = small.search()
            (small.run / "said").write_text(said.out + said.err)
            code = said.code
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while not list(small.run.glob("trials/0001/*.solverstate")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert metaqnn("status", small.run, "--json").json["state"] == "running"
    assert f"stopped process {pid} on" in metaqnn("stop", small.run).out
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    last = (small.run / "said").read_text().splitlines()[-1]
    assert last == "metaqnn: interrupted; the same command goes on from here"
    small.script()
    assert metaqnn("resume", small.run).code == 0
    assert small.record() == finished_record


# resume


def test_there_must_be_a_run_to_resume(metaqnn: Any, tmp_path: Path) -> None:
    assert "holds no run: experiment.toml is missing" in metaqnn("resume", tmp_path).refusal


def test_a_run_never_started_says_how_to_start_it(metaqnn: Any, small: Any) -> None:
    freeze(load_experiment(small.file, "smoke", 5), small.run)
    ReplayMemory(small.run / REPLAY_MEMORY).close()
    assert metaqnn("resume", small.run).refusal == (
        f"{small.run} was never started; start it with `metaqnn search` or `reproduce`"
    )


def test_a_finished_run_trains_nothing_more(
    metaqnn: Any, finished: Any, finished_record: tuple[object, ...]
) -> None:
    said = metaqnn("resume", finished.run)
    assert said.code == 0
    assert "Search: 3 models" in said.out
    assert "; 3 are trained already" in said.out
    assert said.out.splitlines()[-1] == f"Search complete: `metaqnn status {finished.run}`"
    assert finished.trained_processes() == 0
    assert finished.record() == finished_record


def test_an_unfinished_run_goes_on_by_its_own_choices_and_ends_as_one_never_stopped(
    metaqnn: Any,
    unfinished: Any,
    finished_record: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From another folder: the places of its data are kept with the run."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = unfinished.trained_processes()
    said = metaqnn("resume", unfinished.run)
    assert said.code == 0
    assert "resumed" in said.out
    # The stopped net's last epoch, and the two parts of the third net.
    assert unfinished.trained_processes() == before + 3
    assert unfinished.record() == finished_record
    assert list(elsewhere.iterdir()) == []


def test_a_run_under_way_is_not_resumed(metaqnn: Any, unfinished: Any) -> None:
    with locked(unfinished.run):
        refusal = metaqnn("resume", unfinished.run).refusal
    assert refusal.startswith(f"{unfinished.run} is being run by process {os.getpid()} on ")


def test_gpus_that_are_no_numbers_are_refused(metaqnn: Any, unfinished: Any) -> None:
    refusal = metaqnn("resume", unfinished.run, "--gpus", "all").refusal
    assert refusal == "GPUs are numbers such as 0,1, not 'all'"
