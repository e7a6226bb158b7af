"""A driver killed at any instant, before or after any write, leaves a run that ends as if never
killed: the same architectures, outcomes, Q-values and random state, bit for bit."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console

from data_prep.idx import encode_idx
from reproduce.driver import agent_of
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.experiments.schema import Experiment
from reproduce.options import Options
from reproduce.pipeline import drive
from reproduce.run import REPLAY_MEMORY
from reproduce.search.replay_memory import read_replay_memory
from reproduce.search.rerun import rerun

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE = REPOSITORY / "tests" / "fake_caffe.py"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's four files with few images."""
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    for part, count in (("train", 300), ("t10k", 100)):
        images = rng.integers(0, 255, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(encode_idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(encode_idx(labels))
    return folder


def small_experiment(folder: Path, schedule: str) -> Experiment:
    """The MNIST experiment over those few images, with another schedule; no final training."""
    text = experiment_path("mnist").read_text()
    head, _, _ = text.partition("[final]")
    _, _, budgets = text.partition("[budget.paper]")
    text = f"{head}[exploration]\nkeep_models = 2\n[budget.paper]{budgets}"
    for old, new in (
        ("train_images = 60000", "train_images = 300"),
        ("test_images = 10000", "test_images = 100"),
        ("validation = 5000", "validation = 100"),
        ("train_subset = 1280", "train_subset = 128"),
        ("depth = 12", "depth = 5"),  # a space that is soon built
        ("schedule = [[1.0, 2], [0.1, 1]]", f"schedule = {schedule}"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "mnist.toml"
    path.write_text(text)
    return load_experiment(path, "smoke", 5)


@dataclass
class CrashRun:
    """A run's folder, and drivers of it that can be killed."""

    folder: Path
    experiment: Experiment
    digits: Path
    caffe: str
    options: dict[str, object] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def start(self, in_child: Callable[[], None] = lambda: None) -> int:
        """Fork a driver in a session of its own; `in_child` runs there first."""
        self.folder.mkdir(exist_ok=True)
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.setsid()
            os.chdir(self.folder)
            in_child()
            with (self.folder / "output.txt").open("a") as output:
                environment = {"CAFFE": self.caffe, "DATA_DIR": str(self.digits)}
                drive(
                    self.experiment,
                    self.run,
                    Options(
                        self.folder.parent / "data",
                        self.folder / "cache",
                        finals=False,
                        **self.options,  # type: ignore[arg-type]
                    ),
                    environment | {"PATH": os.environ["PATH"]},
                    Console(file=output),
                )
            code = 0
        except BaseException as error:
            (self.folder / "error.txt").write_text(repr(error))
        finally:
            os._exit(code)

    def finish(self) -> None:
        """Run to the end."""
        pid = self.start()
        _, status = os.waitpid(pid, 0)
        error = self.folder / "error.txt"
        assert status == 0, error.read_text() if error.exists() else status

    def record(self) -> tuple[object, ...]:
        """The replay memory without its times of day and durations."""
        with read_replay_memory(self.run / REPLAY_MEMORY) as memory:
            trials = [
                (t.id, t.architecture, t.epsilon, t.outcome, t.reward)
                + (() if t.result is None else (t.result.accuracies, t.result.restarts))
                for t in memory.trials()
            ]
            samples = memory.samples()
            return trials, samples, memory.q_values(), memory.get("random_state")

    def models(self) -> set[str]:
        """The trials whose models are on the disk."""
        return {path.parent.name for path in (self.run / "trials").glob("*/*.caffemodel")}


Make = Callable[..., CrashRun]


@pytest.fixture
def crash_run(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes runs; those of one test share their prepared data and their script."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"seconds": 0.03, "chance_above": 0.0005}))
    monkeypatch.setenv("FAKE_CAFFE", str(script))

    def make(name: str, schedule: str, caffe: str = "", **options: object) -> CrashRun:
        experiment = small_experiment(tmp_path, schedule)
        command = caffe or f"{sys.executable} -S {FAKE}"
        return CrashRun(tmp_path / name, experiment, digits, command, options)

    return make


def on_each_write(act: Callable[[bool], None]) -> None:
    """Have `act` called before whatever the process does next, with whether that is a write.

    A write is what changes a file's name or content: opening to write, renaming, removing, a
    folder made, a process started, a statement of SQLite that ends a transaction.
    """

    def traced(statement: str) -> None:
        act(statement.lstrip().upper().startswith("COMMIT"))

    connect = sqlite3.connect

    def connect_traced(*args: object, **options: object) -> sqlite3.Connection:
        connection = connect(*args, **options)  # type: ignore[call-overload]
        connection.set_trace_callback(traced)
        return connection

    sqlite3.connect = connect_traced  # type: ignore[assignment]

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "open":
            act(isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR)))
        elif event in ("os.rename", "os.remove", "os.mkdir", "subprocess.Popen"):
            act(True)

    sys.addaudithook(hook)


def dies_at(number: int, after: bool) -> Callable[[], None]:
    """Makes a driver kill itself before its n-th write, or right after it."""

    def install() -> None:
        count = 0

        def act(is_write: bool) -> None:
            nonlocal count
            if count == number or (is_write and not after and count == number - 1):
                os.kill(os.getpid(), signal.SIGKILL)
            count += is_write

        on_each_write(act)

    return install


def counted_writes(run: CrashRun) -> int:
    """How many writes a driver makes until it ends."""
    tally = run.folder / "writes"

    def install() -> None:
        count = 0
        file = os.open(tally, os.O_CREAT | os.O_WRONLY)

        def act(is_write: bool) -> None:
            nonlocal count
            count += is_write
            os.pwrite(file, str(count).encode(), 0)

        on_each_write(act)

    os.waitpid(run.start(install), 0)
    return int(tally.read_text())


def test_killed_before_and_after_every_write_of_a_step(crash_run: Make) -> None:
    """The step that trains the second of three models, with a restart at a lower rate."""
    whole = crash_run("whole", "[[1.0, 2], [0.5, 1]]")
    whole.finish()
    first = crash_run("first", "[[1.0, 2], [0.5, 1]]")
    pid = first.start()
    while not (first.run / "trials" / "0002").exists():
        time.sleep(0.001)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    def copy(name: str) -> CrashRun:
        run = crash_run(name, "[[1.0, 2], [0.5, 1]]")
        run.folder.mkdir()
        shutil.copytree(first.run, run.run)
        return run

    probe = copy("probe")
    writes = counted_writes(probe)
    assert probe.record() == whole.record()
    assert writes > 50
    step = range(1, writes + 1)
    for number in step:
        for after in (False, True):
            run = copy(f"{number}-{after}")
            pid = run.start(dies_at(number, after))
            _, status = os.waitpid(pid, 0)
            assert os.WIFSIGNALED(status) or number == writes
            run.finish()
            assert run.record() == whole.record(), f"write {number} of {writes}, after: {after}"
            shutil.rmtree(run.folder)


def test_killed_at_200_random_instants_of_one_schedule(crash_run: Make, tmp_path: Path) -> None:
    """Half of the kills take the driver alone: its `caffe`, behind a wrapper, goes on.

    Kills come with the run's progress, so that they spread over the whole schedule; every fourth
    hits a driver that takes up what the one before it left.
    """
    wrapper = tmp_path / "wrapper"
    caffe = crash_run("unused", "[[1.0, 1]]").caffe
    wrapper.write_text(f'#!/bin/sh\n{caffe} "$@" &\nwait $!\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IEXEC)
    models, schedule = 90, "[[1.0, 60], [0.8, 20], [0.6, 10]]"
    whole = crash_run("whole", schedule, str(wrapper))
    began = time.monotonic()
    whole.finish()
    each = (time.monotonic() - began) / models
    began = time.monotonic()
    whole.finish()  # does nothing
    startup = time.monotonic() - began
    run = crash_run("killed", schedule, str(wrapper))
    rng = np.random.default_rng(11)
    left_running = 0
    for kill in range(200):
        pid = run.start()
        if kill % 4 == 0:
            time.sleep(float(rng.uniform(0, startup)))
        else:
            while len(list((run.run / "trials").glob("*"))) < 0.9 * models * kill / 200:
                time.sleep(0.005)
            time.sleep(float(rng.uniform(0, each)))
        ended, status = os.waitpid(pid, os.WNOHANG)
        assert ended == 0, f"the run ended after {kill} kills ({status})"
        if kill % 2:
            os.kill(pid, signal.SIGKILL)
            left_running += bool(caffes_of(run))
        else:
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    run.finish()
    assert run.record() == whole.record()
    assert left_running > 10
    assert not caffes_of(run)
    assert len(run.models()) == 2
    assert run.models() == whole.models()


def caffes_of(run: CrashRun) -> list[psutil.Process]:
    """The scripted caffes that still work in a run's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = process.info["cmdline"] or []
        if any("fake_caffe" in word for word in line) and process.info["cwd"] == str(run.run):
            found.append(process)
    return found


def test_with_several_slots_the_record_tells_the_whole_run(crash_run: Make) -> None:
    """The order of completion is chance; given the recorded one, everything else follows."""
    run = crash_run("slots", "[[1.0, 16], [0.5, 8]]", cpu_slots=3)
    rng = np.random.default_rng(3)
    for _ in range(20):
        pid = run.start()
        time.sleep(float(rng.uniform(0.1, 0.6)))
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    run.finish()
    experiment = run.experiment
    with read_replay_memory(run.run / REPLAY_MEMORY) as memory:
        report = rerun(
            memory,
            agent_of(experiment),
            np.random.default_rng(experiment.seed),
            experiment.q_learning.stages,
            experiment.q_learning.replays,
        )
        assert len(memory.trials()) >= 24
    assert not report.difference, report
