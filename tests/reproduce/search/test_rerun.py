"""A search is computed again from its record, and what was changed in the record is found."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from prototxt_gen.notation import parse
from reproduce.search import loop
from reproduce.search.agent import Agent, QLearning
from reproduce.search.loop import EpsilonStage, search
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.search.rerun import RerunReport, rerun
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

SPACE = SearchSpace(SpaceRules(depth=2, image=6, filters=(64, 128), fully_connected=(128,)))
SCHEDULE = (EpsilonStage(1.0, 5), EpsilonStage(0.5, 4), EpsilonStage(0.1, 3))
REPLAYS = 20


class Trainer:
    """Trials end in a random order, some together and some without a reward.

    Its `wait` takes the place of the loop's.
    """

    def __init__(self, slots: int, seed: int) -> None:
        self.slots, self.rng = slots, np.random.default_rng(seed)

    def submit(self, trial: Trial) -> Future[TrialResult]:
        return Future()

    def wait(
        self, running: Mapping[Future[TrialResult], Trial], return_when: str
    ) -> tuple[set[Future[TrialResult]], None]:
        futures = list(running)
        size = int(self.rng.integers(len(futures))) + 1
        chosen = {futures[i] for i in self.rng.choice(len(futures), size, replace=False)}
        for future in chosen:
            trial = running[future]
            outcome = Outcome.OUT_OF_MEMORY if trial.id % 4 == 2 else Outcome.FINISHED
            accuracy = 0.2 + len(parse(trial.architecture)) / 9
            result = TrialResult(outcome, (accuracy,), 0.001, 0, 9, 1.0, "formula")
            future.set_result(result)
        return chosen, None

    def place(self, trial: Trial) -> str | None:
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        return result.best_accuracy if result.outcome is Outcome.FINISHED else None


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Search in a file, from its start or on from what it holds; returns the number of events."""

    def run_(
        path: Path,
        slots: int = 1,
        *,
        seed: int = 0,
        batched: tuple[float, ...] = (),
        events: int | None = None,
    ) -> int:
        trainer, memory = Trainer(slots, seed), ReplayMemory(path)
        monkeypatch.setattr(loop, "wait", trainer.wait)
        agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(0)
        steps = search(memory, agent, rng, SCHEDULE, REPLAYS, trainer, batched=batched)
        done = 0
        for _ in steps:
            done += 1
            if done == events:
                break
        steps.close()
        memory.close()
        return done

    return run_


def again(
    path: Path,
    *,
    seed: int = 0,
    schedule: tuple[EpsilonStage, ...] = SCHEDULE,
    batched: tuple[float, ...] = (),
    reward: Callable[[Trial, TrialResult], float | None] | None = None,
) -> RerunReport:
    memory = ReplayMemory(path, read_only=True)
    agent, rng = Agent(SPACE, QLearning()), np.random.default_rng(seed)
    return rerun(memory, agent, rng, schedule, REPLAYS, batched=batched, reward=reward)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("batched", [(), (1.0, 0.5), (0.1,)])
def test_a_search_is_computed_again(
    tmp_path: Path, run: Callable[..., int], slots: int, batched: tuple[float, ...]
) -> None:
    path = tmp_path / "r.sqlite"
    run(path, slots, batched=batched)
    report = again(path, batched=batched, reward=Trainer(1, 0).reward)
    memory = ReplayMemory(path, read_only=True)
    rewards = {trial.id: trial.reward for trial in memory.trials()}
    assert rewards[2] is None
    samples = memory.samples()
    assert any(sample.completed != sample.id for sample in samples) == (slots > 1)
    rewarded = sum(rewards[sample.trial] is not None for sample in samples)
    assert report == RerunReport(len(samples), 0, rewarded * REPLAYS, None)
    assert str(report).startswith(f"{len(samples)} samples drawn and {rewarded * REPLAYS} walks")


@pytest.mark.parametrize("batched", [(), (1.0, 0.1)])
def test_a_search_of_several_slots_that_was_stopped_is_computed_again(
    tmp_path: Path, run: Callable[..., int], batched: tuple[float, ...]
) -> None:
    """Given the recorded order, it is what one never stopped would have been."""
    events = run(tmp_path / "whole.sqlite", 3, batched=batched)
    for stop_after in range(1, events, 5):
        path = tmp_path / f"{stop_after}.sqlite"
        assert run(path, 3, batched=batched, events=stop_after) == stop_after
        assert again(path, batched=batched).difference is None
        run(path, 3, seed=stop_after, batched=batched)
        report = again(path, batched=batched)
        assert report.difference is None
        assert report.samples >= 12


def test_nothing_is_nothing(tmp_path: Path) -> None:
    ReplayMemory(tmp_path / "r.sqlite").close()
    assert again(tmp_path / "r.sqlite") == RerunReport(0, 0, 0, None)


CHANGES = {
    "UPDATE trials SET reward = reward + 1e-9 WHERE id = 4": (
        r"trial 4 has reward 0\.\d+, its result gives 0\.\d"
    ),
    "UPDATE trials SET reward = NULL WHERE id = 4": "trial 4 has reward None, its result gives",
    "UPDATE trials SET architecture = '[C(64,3,1), C(64,3,1), C(64,3,1), SM(10)]' WHERE id = 2": (
        r"sample \d is \[(C\(64,3,1\), ){3}SM\(10\)\] in the record, \[.*\] drawn again"
    ),
    "UPDATE samples SET trial = 1 WHERE id = 3": r"sample 3 is .* in the record",
    "UPDATE samples SET epsilon = 0.1 WHERE id = 7": (
        r"sample 7 has ε 0\.1, the schedule wants ε (1|0\.5) there|its first sample 0\.1"
    ),
    "UPDATE trials SET epsilon = 0.5 WHERE id = 1": r"trial 1 has ε 0\.5, its first sample 1",
    # Pair 0 has value 0.75, then none.
    "INSERT INTO q_changes (q_values) VALUES (x'00000000000000000000E83F')": (
        r"Q-value of C\(64,1,1\) in state 0 start\(\) R4 is 0\.75 in the record, 0\.\d+ computed"
    ),
    "INSERT INTO q_changes (q_values) VALUES (x'00000000000000000000F87F')": (
        r"Q-value of C\(64,1,1\) in .* is 0\.5 in the record"
    ),
    "UPDATE run SET value = replace(value, '1', '2') WHERE key = 'random_state'": (
        "the random state is another one"
    ),
    "UPDATE samples SET sampled_after = sampled_after + 1 WHERE id = 4": r"(sample \d|Q-value) ",
    "UPDATE samples SET replayed_after = replayed_after + 1 WHERE id = 1": (
        r"sample 1 was replayed after \d+ completed samples, not after \d+"
    ),
    "UPDATE samples SET completed = 1000 WHERE id = 2": "the completed samples have gaps",
    "UPDATE samples SET id = 1000 WHERE id = (SELECT max(id) FROM samples)": (
        "the numbers of the samples have gaps"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("slots", [1, 3])
def test_a_change_in_the_record_is_found_and_named(
    tmp_path: Path, run: Callable[..., int], change: str, slots: int
) -> None:
    path = tmp_path / "r.sqlite"
    run(path, slots)
    with sqlite3.connect(path) as db:
        assert db.execute(change).rowcount == 1
    report = again(path, reward=Trainer(1, 0).reward)
    assert report.difference is not None
    assert re.search(CHANGES[change], report.difference)
    assert report.difference in str(report)


def test_a_changed_reward_is_found_by_what_it_taught(
    tmp_path: Path, run: Callable[..., int]
) -> None:
    path = tmp_path / "r.sqlite"
    run(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE trials SET reward = reward + 1e-9 WHERE id = 4")
    report = again(path)
    assert report.difference is not None
    assert re.match(
        r"the Q-value of .* in state .* is 0\.\d+ in the record, 0\.\d", report.difference
    )


def test_another_seed_schedule_or_batching_is_another_search(
    tmp_path: Path, run: Callable[..., int]
) -> None:
    path = tmp_path / "r.sqlite"
    run(path, batched=(0.5,))
    assert again(path, batched=(0.5,)).difference is None
    assert "drawn again" in str(again(path, seed=1, batched=(0.5,)))
    longer = (EpsilonStage(1.0, 6), *SCHEDULE[1:])
    assert "has ε 0.5, the schedule wants ε 1 there" in str(
        again(path, schedule=longer, batched=(0.5,))
    )
    shorter = again(path, schedule=SCHEDULE[:2], batched=(0.5,))
    assert "has ε 0.1, the schedule wants no sample there" in str(shorter)
    assert " was replayed after " in str(again(path))
    assert " was replayed after " in str(again(path, batched=(1.0, 0.5)))
