"""What the driver says of a search under way; the search itself is the tests' own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reproduce import driver as module
from reproduce.driver import Driver
from reproduce.experiments.load import experiment_path, load_experiment
from reproduce.options import Options
from reproduce.run import RunError
from reproduce.search.loop import NoNewNetError, Resumed, Sampled, SearchEvent
from reproduce.search.replay_memory import ReplayMemory
from reproduce.training.outcome import Outcome, TrialResult

# `smoke`: two models at ε = 1, one at 0.1.
SMOKE = load_experiment(experiment_path("mnist"), "smoke", 0)
NETS = ("[SM(10)]", "[GAP(10), SM(10)]", "[C(64,1,1), SM(10)]", "[C(64,3,1), SM(10)]")


class Said:
    """A display that keeps its lines, and how many models each heading's time left is for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.headings: list[str] = []
        self.left: list[float | None] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def heading(self, text: str, seconds_left: float | None) -> None:
        self.headings.append(text.partition(" ε")[0])
        self.left.append(seconds_left)


class Memory(ReplayMemory):
    """A replay memory with the steps of a search."""

    def sample(self, net: str, epsilon: float) -> Sampled:
        return Sampled(self.add_sample(net, epsilon, None), net, duplicate=False)

    def train(self, trial: int, reward: float | None = 0.5) -> None:
        outcome = Outcome.CRASHED if reward is None else Outcome.FINISHED
        result = TrialResult(outcome, (0.5,), 0.001, 0, 10, 30.0, "caffe")
        self.record_outcome(trial, result, reward)
        for sample in self.pending():
            if sample.trial == trial:
                self.complete(sample.id)


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Let the driver show a search: a function that takes its steps and yields its events."""

    def run(steps: Callable[[Memory], Iterator[SearchEvent]]) -> Said:
        memory, said, options = Memory(tmp_path / "r"), Said(), Options(tmp_path, tmp_path)
        monkeypatch.setattr(module, "search", lambda *_, **__: steps(memory))
        stub: Any = SimpleNamespace(space=None)
        driver = Driver(SMOKE, tmp_path, memory, stub, options, said, stub)  # type: ignore[arg-type]
        driver.data = stub
        monkeypatch.setattr(driver.pace, "seconds_left", lambda models, finals: models)
        driver.search()
        return said

    return run


def test_headings_count_the_models_that_the_schedule_wants(searched: Callable[..., Said]) -> None:
    def steps(memory: Memory) -> Iterator[SearchEvent]:
        for net in NETS[:3]:  # on three slots: one more than the stage wants
            yield memory.sample(net, 1.0)
        memory.train(2)
        memory.train(3)
        yield memory.sample(NETS[3], 0.1)
        memory.train(1)
        memory.train(4, reward=None)
        yield memory.sample("[C(64,5,1), SM(10)]", 0.1)

    said = searched(steps)
    assert said.headings == ["[1/3]", "[2/3]", "[2/3]", "[3/3]", "[3/3]"]
    assert said.left == [3, 3, 3, 1, 1]


def test_resumed_trials_count_one_after_the_other(
    searched: Callable[..., Said], tmp_path: Path
) -> None:
    memory = Memory(tmp_path / "r")
    for net in NETS[:3]:
        memory.sample(net, 1.0)
    memory.train(1)
    memory.sample(NETS[1], 0.1)  # once more while it trains

    def steps(memory: Memory) -> Iterator[SearchEvent]:
        for trial in (2, 3):
            yield Resumed(memory.trial(trial))

    said = searched(steps)
    assert said.lines[0].endswith("; 1 are trained already")
    assert said.headings == ["[2/3]", "[2/3]"]
    assert said.left == [2, 2]


def test_models_beyond_a_stage_are_not_said_to_be_trained_already(
    searched: Callable[..., Said], tmp_path: Path
) -> None:
    memory = Memory(tmp_path / "r")
    for trial, net in enumerate(NETS, start=1):
        memory.sample(net, 1.0)
        memory.train(trial)
    assert searched(lambda memory: iter(())).lines[0].endswith("; 2 are trained already")


def test_a_search_that_finds_no_more_nets_is_refused_in_one_line(
    searched: Callable[..., Said], tmp_path: Path
) -> None:
    def steps(memory: Memory) -> Iterator[SearchEvent]:
        yield memory.sample(NETS[0], 1.0)
        raise NoNewNetError("no net beside the 1 known")

    with pytest.raises(RunError) as refused:
        searched(steps)
    assert str(refused.value) == f"{tmp_path}: no net beside the 1 known"
