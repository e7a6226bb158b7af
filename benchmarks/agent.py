"""CPU seconds of the agent over the paper's whole schedule (Table 2), training left out.

The search runs on the paper's space (depth 18, 32×32 images) with a trainer that answers at
once. Its CPU time is split into sampling, replay (with its buffer) and SQLite (all the rest: the
replay memory, in a temporary folder, and little else), and told by quarters of the schedule, to
see whether a step slows down as the replay memory grows. Walks get longer as ε falls, so the
last quarter is compared with the first per Q-update too. Beside it: replays that parse and walk
each architecture anew, instead of keeping its walk.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest import mock

import numpy as np
from side_by_side import Comparison, Seconds, interleave, parser, positive, show, summarize

from prototxt_gen.notation import parse
from prototxt_gen.shapes import total_cost
from reproduce.search.agent import Agent, QLearning, Trajectory
from reproduce.search.learner import Learner
from reproduce.search.loop import Completed, EpsilonStage, search
from reproduce.search.replay_memory import ReplayMemory, Trial
from reproduce.search.space import SearchSpace, SpaceRules
from reproduce.training.outcome import Outcome, TrialResult

P = ParamSpec("P")
R = TypeVar("R")

IMAGE = (3, 32, 32)
REPLAYS = 100  # per model (section 4.3)
MODELS = {1.0: 1500, 0.9: 100, 0.8: 100, 0.7: 100} | dict.fromkeys(
    (0.6, 0.5, 0.4, 0.3, 0.2, 0.1), 150
)


class FormulaTrainer:
    """Answers at once, with a known function of the architecture's cost."""

    slots = 1

    def submit(self, trial: Trial) -> Future[TrialResult]:
        """A reward that grows with the multiply-accumulates, with twenty epochs' accuracies."""
        macs = total_cost(parse(trial.architecture), IMAGE).macs
        best = 0.1 + 0.8 * macs / (macs + 1e8)
        accuracies = tuple(best * epoch / 20 for epoch in range(1, 21))
        future: Future[TrialResult] = Future()
        future.set_result(
            TrialResult(Outcome.FINISHED, accuracies, 0.001, 0, 7040, 60.0, "formula")
        )
        return future

    def place(self, trial: Trial) -> str | None:
        """Nowhere in particular."""
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        """The best accuracy."""
        return result.best_accuracy


class Stopwatch:
    """CPU seconds spent in timed functions, by part."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable[P, R]) -> Callable[P, R]:
        """The same function; each call's CPU time is added to a part."""

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            began = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.process_time() - began

        return call


@dataclass(frozen=True)
class Schedule:
    """What one whole search took.

    Attributes:
        parts: CPU seconds of sampling, replay and SQLite.
        quarters: CPU seconds of these together, by quarter of the samples.
        replays: CPU seconds of replay alone, by quarter.
        updates: Q-updates by quarter.
        counts: models, samples, bytes of the replay memory, wall seconds.
    """

    parts: Seconds
    quarters: Seconds
    replays: list[float]
    updates: list[int]
    counts: dict[str, float]


def run_schedule(space: SearchSpace, schedule: tuple[EpsilonStage, ...], path: Path) -> Schedule:
    """One whole search."""
    clock, trainer = Stopwatch(), FormulaTrainer()
    agent, memory = Agent(space, QLearning()), ReplayMemory(path)
    batches: list[list[tuple[Trajectory, float]]] = []
    replay = agent.replay

    def recorded(walks: list[tuple[Trajectory, float]]) -> None:
        batches.append(walks)
        replay(walks)

    vars(agent)["replay"] = recorded
    vars(trainer)["submit"] = clock.timed("trainer", trainer.submit)
    learner = {
        name: clock.timed(part, getattr(Learner, name))
        for name, part in (("sample", "sampling"), ("remember", "replay"), ("replay", "replay"))
    }
    marks = [(0.0, 0.0)]  # after each sample: CPU time of all but the trainer, of replay
    with mock.patch.multiple(Learner, **learner):
        began, wall = time.process_time(), time.perf_counter()
        for event in search(memory, agent, np.random.default_rng(0), schedule, REPLAYS, trainer):
            if isinstance(event, Completed):
                spent = time.process_time() - began - clock.seconds["trainer"]
                marks.append((spent, clock.seconds["replay"]))
        wall = time.perf_counter() - wall
    memory.close()
    parts = {part: clock.seconds[part] for part in ("sampling", "replay")}
    parts["SQLite"] = marks[-1][0] - sum(parts.values())
    whole, replays = (
        [float(quarter.sum()) for quarter in np.array_split(np.diff(column), 4)]
        for column in zip(*marks, strict=True)
    )
    lengths = [sum(len(walk.steps) for walk, _ in walks) for walks in batches]
    counts = {
        "models": float(sum(stage.models for stage in schedule)),
        "samples": float(len(lengths)),
        "bytes of the replay memory": float(path.stat().st_size),
        "wall seconds with the trainer": wall,
    }
    return Schedule(
        parts=parts,
        quarters={f"quarter {number}": seconds for number, seconds in enumerate(whole, start=1)},
        replays=replays,
        updates=[int(quarter.sum()) for quarter in np.array_split(lengths, 4)],
        counts=counts,
    )


def growth(runs: list[Schedule]) -> Comparison:
    """The last quarter against the first: in seconds, and in seconds per Q-update."""

    def last_by_first(*columns: list[float]) -> float:
        return statistics.median(column[-1] / column[0] for column in columns)

    quarters = [list(run.quarters.values()) for run in runs]
    per_update = [
        [seconds / updates for seconds, updates in zip(whole, run.updates, strict=True)]
        for whole, run in zip(quarters, runs, strict=True)
    ]
    replays_per_update = [
        [seconds / updates for seconds, updates in zip(run.replays, run.updates, strict=True)]
        for run in runs
    ]
    details = {
        f"Q-updates, quarter {number}": float(updates)
        for number, updates in enumerate(runs[-1].updates, start=1)
    }
    details |= {
        "quarter 4 / quarter 1, per Q-update": last_by_first(*per_update),
        "replay alone, quarter 4 / quarter 1": last_by_first(*(run.replays for run in runs)),
        "replay alone, per Q-update": last_by_first(*replays_per_update),
    }
    return summarize(
        "the same by quarters of its samples",
        [run.quarters for run in runs],
        ("quarter 4", "quarter 1"),
        details,
    )


def compare_replays(space: SearchSpace, path: Path, replays: int, runs: int) -> Comparison:
    """Replays of stored walks against replays that parse and walk each architecture anew."""
    memory = ReplayMemory(path, read_only=True)
    buffer = memory.replayable()
    memory.close()
    agent = Agent(space, QLearning())
    distinct = {text: agent.trajectory(parse(text)) for text in dict(buffer)}
    walks = [(distinct[text], reward) for text, reward in buffer]
    rows = np.random.default_rng(0).integers(len(buffer), size=replays).tolist()

    def stored() -> float:
        began = time.process_time()
        agent.replay([walks[row] for row in rows])
        return time.process_time() - began

    def anew() -> float:
        began = time.process_time()
        drawn = (buffer[row] for row in rows)
        agent.replay([(agent.trajectory(parse(text)), reward) for text, reward in drawn])
        return time.process_time() - began

    variants = {"stored walks": stored, "parsed and walked anew": anew}
    measured = interleave(variants, runs)
    return summarize(f"{replays:,} replays", measured, ("parsed and walked anew", "stored walks"))


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, runs=3)
    options.add_argument("--share", type=positive, default=1, help="1/SHARE of each ε's models")
    options.add_argument("--replays", type=positive, default=3000, help="replays to compare")
    options.add_argument("--depth", type=positive, default=18, help="the space's depth")
    args = options.parse_args()
    schedule = tuple(EpsilonStage(e, max(1, n // args.share)) for e, n in MODELS.items())
    space = SearchSpace(SpaceRules(depth=args.depth, image=IMAGE[1]))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"replay-{run}.sqlite" for run in range(args.runs)]
        measured = [run_schedule(space, schedule, path) for path in paths]
        replays = compare_replays(space, paths[-1], args.replays, args.runs)
    models = sum(stage.models for stage in schedule)
    whole = summarize(
        f"schedule of {models:,} models, CPU time",
        [run.parts for run in measured],
        ("SQLite", "replay"),
        measured[-1].counts,
    )
    show([whole, growth(measured), replays], args.json)


if __name__ == "__main__":
    main()
