"""Drivers killed at any instant: the trial goes on, and ends as if nothing had happened."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reproduce.training.caffe import find_caffe
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.recipe import Recipe
from reproduce.training.trial import run_trial

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="drivers are forked")

NET = 'name: "a net"\n'
RECIPE = Recipe(
    epochs=4,
    iterations_per_epoch=6,
    test_iter=1,
    base_lr=0.001,
    chance_accuracy=0.1,
    display=2,
    retries=0,
    keep_model=True,
)
# One attempt at chance, one that learns; the iterations leave time to be killed in.
SCRIPT = {"chance_above": 5e-4, "seconds": 0.003}


def drive(fake: Any, name: str, on_event: Callable[[object], None] = lambda e: None) -> TrialResult:
    folder = fake.run_folder / name
    return run_trial(folder, fake.run_folder, NET, RECIPE, fake.caffe, on_event)


def fork_driver(work: Callable[[], object]) -> int:
    """Run a driver in a process of its own; returns its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def wait_until_nothing_runs(fake: Any) -> None:
    deadline = time.monotonic() + 5
    while fake.alive():
        assert time.monotonic() < deadline, "the kernel did not end caffe with its driver"
        time.sleep(0.01)


def check_goes_on(fake: Any, name: str, wanted: TrialResult) -> None:
    result = drive(fake, name)
    assert replace(result, seconds=0) == replace(wanted, seconds=0)
    names = {path.name for path in (fake.run_folder / name).iterdir()}
    assert {"result.json", "model.caffemodel"} <= names
    assert not any("snapshot" in each or each == "caffe.mark" for each in names)
    assert fake.alive() == []


@pytest.fixture
def wanted(fake: Any) -> tuple[TrialResult, float]:
    """The result of a trial that nobody disturbs, and how long it takes."""
    fake.script(**SCRIPT)
    begun = time.monotonic()
    result = drive(fake, "undisturbed")
    assert (result.outcome, result.restarts) == (Outcome.FINISHED, 1)
    return result, time.monotonic() - begun


@pytest.mark.parametrize("instant", range(30))
def test_killed_at_an_instant(fake: Any, wanted: tuple[TrialResult, float], instant: int) -> None:
    result, seconds = wanted
    pid = fork_driver(lambda: drive(fake, "a"))
    time.sleep(seconds * instant / 30)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    wait_until_nothing_runs(fake)
    check_goes_on(fake, "a", result)


class KillSwitch:
    """Kills its own process at the n-th of a series of calls."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, *arguments: object) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def guard(self, owner: type, name: str) -> None:
        """Count the calls of a method; only in a process that will not live on."""
        method = getattr(owner, name)

        def guarded(*arguments: Any, **keywords: Any) -> Any:
            self()
            return method(*arguments, **keywords)

        setattr(owner, name, guarded)


def killed(pid: int) -> bool:
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


@pytest.mark.slow
def test_killed_at_every_event(fake: Any, wanted: tuple[TrialResult, float]) -> None:
    for at in range(100):
        switch = KillSwitch(at)
        name = f"event-{at}"
        if not killed(fork_driver(lambda: drive(fake, name, switch))):  # noqa: B023
            break
        wait_until_nothing_runs(fake)
        check_goes_on(fake, name, wanted[0])
    assert at > 15


@pytest.mark.slow
def test_killed_before_every_change_on_disk(fake: Any, wanted: tuple[TrialResult, float]) -> None:
    def work() -> None:
        for method in ("replace", "unlink", "write_text", "mkdir"):
            switch.guard(Path, method)
        drive(fake, name)

    for at in range(200):
        switch, name = KillSwitch(at), f"change-{at}"
        if not killed(fork_driver(work)):
            break
        wait_until_nothing_runs(fake)
        check_goes_on(fake, name, wanted[0])
    assert at > 20


def test_killed_again_and_again(fake: Any, wanted: tuple[TrialResult, float]) -> None:
    result, seconds = wanted
    for number in range(12):
        pid = fork_driver(lambda: drive(fake, "a"))
        time.sleep(seconds * (0.2 + 0.05 * number))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    check_goes_on(fake, "a", result)


@pytest.fixture
def wrapped(fake: Any, tmp_path: Path) -> Iterator[Any]:
    """A `caffe` behind a script that stays: the kernel ends the script, not what it started."""
    wrapper = tmp_path / "caffe"
    fake_caffe = Path(__file__).parents[2] / "fake_caffe.py"
    wrapper.write_text(f'#!/bin/sh\n{sys.executable} -I -S {fake_caffe} "$@"\nexit $?\n')
    wrapper.chmod(0o755)
    fake.caffe = find_caffe({**os.environ, "CAFFE": str(wrapper)})
    yield fake
    for pid in fake.alive():
        os.kill(pid, signal.SIGKILL)


def test_an_orphan_is_ended_before_its_folder_is_used(wrapped: Any) -> None:
    fake = wrapped
    fake.script(hang_at=15)
    pid = fork_driver(lambda: drive(fake, "a"))
    deadline = time.monotonic() + 10
    while len(fake.processes()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    time.sleep(0.2)
    orphan = fake.processes()[-1]["pid"]
    assert orphan in fake.alive()
    fake.script()
    result = drive(fake, "a")
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 4)
    assert fake.alive() == []
