"""Caffe on another host: an `ssh` that does what ssh does, and leaves Caffe behind when it ends.

The other host is this machine: a session of its own, started in another folder with a clean
environment. So no signal to the local process and no token reaches it; only `CAFFE_STOP` does.
"""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reproduce.training import process
from reproduce.training.caffe import find_caffe
from reproduce.training.outcome import Outcome
from reproduce.training.recipe import Recipe
from reproduce.training.trial_events import TrainProgress

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="setsid and /proc are Linux's")

FAKE = Path(__file__).parents[2] / "fake_caffe.py"
RECIPE = Recipe(
    epochs=2, iterations_per_epoch=10, test_iter=1, base_lr=0.001, chance_accuracy=0.1, display=1
)
SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
shift # the host
cd /
exec setsid -w env -i PATH="$PATH" FAKE_CAFFE="$FAKE_CAFFE" sh -c "$*"
"""
# On the other host, pkill -f sees nothing of the local client; this one passes it over.
PKILL = """#!/usr/bin/env python3
import os, signal, sys
from pathlib import Path

number, solver, ended = getattr(signal, f"SIG{sys.argv[1]}"), f"--solver={sys.argv[2]}", 0
for folder in Path("/proc").glob("[0-9]*"):
    try:
        words = (folder / "cmdline").read_text().split("\\0")
        remote = "METAQNN_PROCESS=" not in (folder / "environ").read_text()
        if remote and solver in words:
            os.kill(int(folder.name), number)
            ended += 1
    except OSError:
        pass
sys.exit(0 if ended else 1)
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def remote(fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake `caffe` on another host, in a folder whose name any shell would trip over."""
    host = tmp_path / "host"
    host.mkdir()
    program(host / "ssh", SSH)
    program(host / "stop-caffe", PKILL)
    monkeypatch.setenv("PATH", f"{host}:{os.environ['PATH']}")
    fake.run_folder = fake.run_folder.rename(fake.run_folder.with_name('it\'s a $(run) "folder"'))
    fake.folder = fake.run_folder / "trials" / 'the "first" o\'ne; #1'
    words = f"ssh -q host cd {{run}} && exec {sys.executable} -I -S {FAKE}"
    fake.use = lambda stop: find_caffe(
        {**os.environ, "CAFFE": words, "CAFFE_STOP": stop}, fake.run_folder
    )
    fake.caffe = fake.use("ssh -q host stop-caffe {signal} {solver}")
    yield fake
    for pid in fake.alive():
        os.kill(pid, signal.SIGKILL)


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_trial_on_another_host(remote: Any) -> None:
    result = remote.run(RECIPE)
    assert (result.outcome, result.message) == (Outcome.FINISHED, "")
    first, rest = remote.processes()
    assert first["cwd"] == rest["cwd"] == str(remote.run_folder)
    name = f"trials/{remote.folder.name}"
    assert first["argv"] == ["train", f"--solver={name}/solver_0_first.prototxt"]
    assert rest["argv"][2] == f"--snapshot={name}/snapshot_0_iter_10.solverstate"


def test_a_gpu_is_passed_on(remote: Any) -> None:
    remote.caffe = replace(remote.caffe, gpu=2)
    assert remote.run(RECIPE).outcome is Outcome.FINISHED
    assert [each["gpu"] for each in remote.processes()] == ["2", "2"]


def test_without_a_stop_command_caffe_stays_behind(remote: Any) -> None:
    """So it does behind the real ssh; this is what `Caffe.warning` is about."""
    remote.caffe = remote.use("")
    assert remote.caffe.warning is not None
    remote.script(hang_at=5)
    stop = threading.Event()
    remote.on_event = lambda event: stop.set() if isinstance(event, TrainProgress) else None
    assert remote.run(RECIPE, stop=stop).outcome is Outcome.STOPPED
    (left,) = remote.processes()
    assert left["pid"] in remote.alive()


def test_stopping_lets_it_write_its_snapshot(remote: Any) -> None:
    remote.script(processes={"1": {"hang_at": 15}})
    stop = threading.Event()

    def stop_at_14(event: object) -> None:
        if isinstance(event, TrainProgress) and event.iteration == 14:
            stop.set()

    remote.on_event = stop_at_14
    assert remote.run(RECIPE, stop=stop).outcome is Outcome.STOPPED
    assert remote.alive() == []
    result = remote.run(RECIPE)
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 2)
    assert remote.processes()[2]["argv"][2].endswith("snapshot_0_iter_15.solverstate")


def test_what_ignores_sigint_is_killed_there_too(
    remote: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(process.CaffeProcess.__init__.__kwdefaults__, "grace_s", 0.3)
    remote.script(hang_at=5, ignore_sigint=True)
    result = remote.run(replace(RECIPE, timeout_s=1.0, retries=0))
    assert result.outcome is Outcome.TIMEOUT
    assert remote.alive() == []


def test_a_broken_connection_leaves_nothing_behind(remote: Any) -> None:
    """The local client dies while Caffe trains on."""
    remote.script(processes={"0": {"hang_at": 5}})

    def cut(event: object) -> None:
        if isinstance(event, TrainProgress) and event.iteration == 4 and not cuts:
            (client,) = filter(is_local, remote.alive())
            os.kill(client, signal.SIGKILL)
            cuts.append(client)

    def is_local(pid: int) -> bool:
        return b"METAQNN_PROCESS=" in Path(f"/proc/{pid}/environ").read_bytes()

    cuts: list[int] = []
    remote.on_event = cut
    result = remote.run(RECIPE)
    assert cuts
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 2)
    assert len(remote.processes()) == 3
    assert remote.alive() == []


def test_a_dead_drivers_caffe_is_ended_there_before_its_folder_is_used(remote: Any) -> None:
    remote.script(hang_at=15)
    driver = os.fork()
    if driver == 0:
        try:
            remote.run(RECIPE)
        finally:
            os._exit(0)
    wait_until(lambda: len(remote.processes()) == 2)
    os.kill(driver, signal.SIGKILL)
    os.waitpid(driver, 0)
    orphan = remote.processes()[1]["pid"]
    assert orphan in remote.alive()
    remote.script()
    result = remote.run(RECIPE)
    assert (result.outcome, len(result.accuracies)) == (Outcome.FINISHED, 2)
    assert remote.alive() == []


def test_a_stop_command_that_fails_is_told_in_the_log(remote: Any) -> None:
    remote.caffe = remote.use(f"{shlex.quote(sys.executable)} -c 'raise SystemExit(\"no route\")'")
    remote.script(hang_at=5)
    stop = threading.Event()
    remote.on_event = lambda event: stop.set() if isinstance(event, TrainProgress) else None
    assert remote.run(RECIPE, stop=stop).outcome is Outcome.STOPPED
    log = (remote.folder / "caffe_0_0.log").read_text()
    assert "ERROR: CAFFE_STOP (" in log
    assert "failed (exit code 1, said: no route)" in log
