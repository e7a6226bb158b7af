"""What happens before the first net is trained; what the trainer's check measures is given."""

import io
import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from prototxt_gen.notation import parse
from prototxt_gen.shapes import NetCost
from reproduce import before_search
from reproduce.before_search import check_before_search, in_bytes
from reproduce.display import Display
from reproduce.driver import Driver, agent_of
from reproduce.estimate import SampledNet
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.options import Options
from reproduce.run import RunError
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.caffe import Caffe
from reproduce.training.executors import Job
from reproduce.training.outcome import Outcome, TrialResult
from reproduce.training.preflight import Preflight, PreflightError
from reproduce.training.ray_executor import RayExecutor

# `smoke`: 3 models, 2 epochs, 1,280 images in batches of 128: 60 iterations in all.
SMOKE = load_experiment(experiment_path("mnist"), "smoke", 0)
ITERATIONS = 3 * 2 * 1280 / 128
MONTH = 30 * 86400.0
NET = SampledNet(parse("[SM(10)]"), NetCost(7840, 10, 7840))


class Checked:
    """A driver before its search, and what it has said; every net is `[SM(10)]`."""

    def __init__(self, folder: Path, memory: ReplayMemory) -> None:
        self.folder, self.memory = folder, memory
        self.measured = 0
        self.caffe: Caffe | None = None

    def __call__(self, **options: Any) -> str:
        said = io.StringIO()
        self.driver = Driver(
            SMOKE,
            self.folder,
            self.memory,
            Caffe(("caffe",), "caffe version 1.0.0", "real"),
            Options(self.folder, self.folder, **options),
            Display(Console(file=said, width=200)),
            agent_of(SMOKE),
        )
        self.driver.data = SimpleNamespace()  # type: ignore[assignment]
        try:
            check_before_search(self.driver)
        finally:
            self.said = said.getvalue()
        return self.said


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Checked]]:
    """Makes the check of a search whose trainer takes so many seconds an iteration."""
    memory = ReplayMemory(tmp_path / "replay.sqlite")
    checked = Checked(tmp_path, memory)

    def taking(seconds: float, startup: float = 2.0) -> Checked:
        def preflight(*arguments: Any) -> Preflight:
            checked.measured += 1
            *_, checked.caffe = arguments
            return Preflight(seconds, startup, 1000)

        monkeypatch.setattr(before_search, "preflight", preflight)
        return checked

    plan = SimpleNamespace(net="", recipe=None)
    monkeypatch.setattr(before_search, "exploration_plan", lambda *_: plan)
    monkeypatch.setattr(before_search, "typical_nets", lambda *_: [NET])
    yield taking
    memory.close()


def train(memory: ReplayMemory, *nets: tuple[str, float]) -> None:
    """Record nets as trained at an ε."""
    result = TrialResult(Outcome.FINISHED, (0.5, 0.5), 0.001, 0, 20, 1.0, "caffe")
    for net, epsilon in nets:
        sample = memory.add_sample(net, epsilon, None)
        memory.record_outcome(sample.trial, result, 0.5)
        memory.complete(sample.id)


def test_the_search_is_estimated_and_its_trainer_measured(before: Any) -> None:
    """60 iterations of 3 minutes; 6 · 7,840 FLOP an image, in batches of 128, in 180 s."""
    check = before(180.0)
    lines = check().splitlines()
    assert lines[0].startswith("Estimate: 3 models, 2 epochs of 1,280 images each: 3.6e+08 FLOP, ")
    assert re.search(r"up to \S+ [kM]B of disk$", lines[0])
    assert lines[1] == "Trainer check: one iteration, a snapshot, resumed, tested"
    assert lines[2].startswith(
        "    about 3.0 h on the CPU at 3.35e-05 GFLOP/s a trial, 1 at a time"
    )
    assert len(lines) == 3


def test_the_pace_is_what_was_measured(before: Any) -> None:
    """The time left that each net's line tells agrees with the estimate."""
    check = before(180.0)
    check()
    check.driver.pace.sampled("[SM(10)]")
    assert check.driver.pace.search_seconds(3) == pytest.approx(ITERATIONS * 180 + 3 * 2 * 2.0)
    check()  # a later process, which measures nothing
    check.driver.pace.sampled("[SM(10)]")
    assert check.driver.pace.search_seconds(3) == pytest.approx(ITERATIONS * 180 + 3 * 2 * 2.0)
    assert check.measured == 1


def test_the_starts_of_the_processes_count(before: Any) -> None:
    """Three nets of two processes, of 20 minutes each until it trains; then a minute in all."""
    assert "    about 2.0 h on the CPU" in before(1.0, startup=1200.0)()


@pytest.mark.parametrize(
    ("options", "gpu", "threads"),
    [
        ({}, None, None),
        ({"cpu_slots": 2}, None, 3),
        ({"cpu_slots": 2, "threads": 1}, None, 1),
        ({"gpus": (4, 5), "slots_per_gpu": 2, "threads": 2}, 4, 2),
    ],
)
def test_the_trainer_is_measured_with_the_threads_of_a_trial(
    before: Any,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    gpu: int | None,
    threads: int | None,
) -> None:
    """Without a number of threads, several trials share the six CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    check = before(1.0)
    check(**options)
    assert (check.caffe.gpu, check.caffe.threads) == (gpu, threads)


def test_trials_that_share_a_gpu_share_its_speed(before: Any) -> None:
    """The check has it alone."""
    check = before(0.5 * MONTH / ITERATIONS)
    assert "about 15 days on GPU 0 at" in check(gpus=(0,))
    assert "about 15 days on GPU 0 at" in check(gpus=(0,), slots_per_gpu=3)
    assert check.measured == 2


@pytest.mark.parametrize("options", [{"cpu_slots": 2}, {"threads": 1}])
def test_with_other_threads_it_is_measured_anew(before: Any, options: dict[str, int]) -> None:
    check = before(1.0)
    check()
    check(**options)
    check(**options)
    assert check.measured == 2


def test_up_to_thirty_days_a_search_starts_unasked(before: Any) -> None:
    before(0.99 * MONTH / ITERATIONS)()


def test_above_thirty_days_it_does_not(before: Any) -> None:
    check = before(1.02 * MONTH / ITERATIONS)
    with pytest.raises(RunError) as refused:
        check()
    assert str(refused.value) == (
        "the search would take about 31 days: give YES=1 (--yes) to start it all the same, "
        "or a smaller BUDGET, or more devices"
    )
    assert "about 31 days on the CPU" in check.said  # said before it is refused


def test_more_devices_make_it_shorter(before: Any) -> None:
    check = before(1.02 * MONTH / ITERATIONS)
    assert "about 15 days on GPU 0, 1 at " in check(gpus=(0, 1))


def test_with_consent_it_starts_and_is_not_asked_again(before: Any) -> None:
    check = before(100 * MONTH)
    with pytest.raises(RunError, match="would take about"):
        check()
    check(yes=True)
    assert check() == ""  # a run once begun is resumed by the same command, without --yes
    assert check.measured == 1


def test_on_another_device_it_is_measured_and_asked_anew(before: Any) -> None:
    before(1.0)()
    check = before(100 * MONTH)
    with pytest.raises(RunError, match="would take about"):
        check(gpus=(0,))
    assert check.measured == 2


def test_of_a_search_under_way_only_what_is_left_counts(before: Any) -> None:
    """On a slower device: 45 days for all three nets, 15 for the last one.

    A net beyond the two of ε = 1, as several places at a time train it, is none of those left.
    """
    check = before(1.5 * MONTH / ITERATIONS)
    nets = ("[SM(10)]", "[GAP(10), SM(10)]", "[C(64,1,1), SM(10)]")
    train(check.memory, *((net, 1.0) for net in nets))
    assert "    about 15 days for the 1 of 3 models left on the CPU" in check()


def test_a_complete_search_measures_nothing(before: Any) -> None:
    check = before(100 * MONTH)
    train(check.memory, ("[SM(10)]", 1.0), ("[GAP(10), SM(10)]", 1.0), ("[C(64,1,1), SM(10)]", 0.1))
    assert check() == ""
    assert check.measured == 0


class Cluster(RayExecutor):
    """An executor of four places on a cluster, whose nodes take a second for an iteration."""

    def __init__(self) -> None:
        self.checked: list[Job] = []

    @property
    def slots(self) -> int:
        return 4

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check(self, job: Job) -> Preflight:
        self.checked.append(job)
        return Preflight(5 * MONTH / ITERATIONS, 2.0, 1000)


def test_on_a_cluster_a_node_is_checked_and_its_places_count(
    before: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five months for one place at a time are 38 days for four."""
    cluster = Cluster()
    monkeypatch.setattr(Driver, "executor", lambda self: cluster)
    check = before(1.0)
    for _ in range(2):  # the second time its pace is known
        with pytest.raises(RunError, match="the search would take about 38 days: give YES=1"):
            check(executor="ray")
        assert "about 38 days on a Ray cluster (1 CPUs a trial) at" in check.said
        assert "a trial, 4 at a time" in check.said
    assert [job.folder for job in cluster.checked] == [check.folder / "preflight"]
    assert check.measured == 0
    check(executor="ray", yes=True)
    assert check(executor="ray") == ""


def test_a_disk_that_may_fill_up_is_said_and_no_reason_not_to_start(
    before: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 51_000))
    check = before(1.0)
    line = check().splitlines()[1]
    assert line.startswith(f"    the disk of {check.folder} has 51 kB free, the search may need ")
    assert line.endswith("; on a full disk it stops, and goes on when there is space")


def test_a_trainer_that_does_not_work_is_checked_again_the_next_time(
    before: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = before(1.0)

    def broken(*_: object) -> Preflight:
        raise PreflightError("caffe version 1.0.0 did not train: no reason")

    with monkeypatch.context() as patch:
        patch.setattr(before_search, "preflight", broken)
        with pytest.raises(PreflightError):
            check()
    check()
    assert check.measured == 1


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (51_234_567, "51.2 MB"),
        (999_999, "1 MB"),
        (2.8e12, "2.8 TB"),
        (1.5e15, "1,500 TB"),
    ],
)
def test_bytes_in_words(count: float, words: str) -> None:
    assert in_bytes(count) == words


@given(st.integers(0, 10**17))
def test_bytes_in_words_are_right_to_three_digits(count: int) -> None:
    number, unit = in_bytes(count).split()
    scale = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert re.fullmatch(r"\d{1,3}(\.\d+)?|\d{1,3}(,\d{3})+", number)
    assert float(number.replace(",", "")) * scale == pytest.approx(count, rel=0.0051)
