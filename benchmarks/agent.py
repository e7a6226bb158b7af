"""CPU seconds of the agent over the paper's whole schedule (Table 2), training left out.

The search runs on the paper's space (depth 18, 32×32 images) with a trainer that answers at
once. Its CPU time is split into sampling, replay and SQLite (the replay memory, in a temporary
folder), and told by quarters of the schedule, to see whether a step slows down as the replay
memory grows. Beside it: replays that parse and walk each architecture anew, instead of keeping
its walk.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
from side_by_side import Comparison, Seconds, interleave, parser, positive, show, summarize

from prototxt_gen.notation import parse
from prototxt_gen.shapes import total_cost
from reproduce.search.agent import Agent, QLearning
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

    def reward(self, result: TrialResult) -> float | None:
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


_SQLITE = ("add_sample", "record_outcome", "complete", "pending", "trial", "unique_per_epsilon")


def run_schedule(
    space: SearchSpace, schedule: tuple[EpsilonStage, ...], path: Path
) -> tuple[Seconds, Seconds, dict[str, float]]:
    """One whole search.

    Returns:
        CPU seconds by part, CPU seconds of sampling, replay and SQLite by quarter of the
        samples, and counts.
    """
    clock, trainer = Stopwatch(), FormulaTrainer()
    agent, memory = Agent(space, QLearning()), ReplayMemory(path)
    for name in _SQLITE:
        setattr(memory, name, clock.timed("SQLite", getattr(memory, name)))
    vars(agent)["sample"] = clock.timed("sampling", agent.sample)
    vars(trainer)["submit"] = clock.timed("trainer", trainer.submit)
    marks: list[tuple[float, float]] = []  # after each sample: CPU time in all, in the trainer
    began, wall = time.process_time(), time.perf_counter()
    for event in search(memory, agent, np.random.default_rng(0), schedule, REPLAYS, trainer):
        if isinstance(event, Completed):
            marks.append((time.process_time() - began, clock.seconds["trainer"]))
    total, wall = time.process_time() - began, time.perf_counter() - wall
    memory.close()
    parts = {part: clock.seconds[part] for part in ("sampling", "SQLite")}
    replay = total - sum(parts.values()) - clock.seconds["trainer"]
    parts = {"sampling": parts["sampling"], "replay": replay, "SQLite": parts["SQLite"]}
    steps = np.diff([0.0, *(whole - trained for whole, trained in marks)])
    quarters = {
        f"quarter {number}": float(quarter.sum())
        for number, quarter in enumerate(np.array_split(steps, 4), start=1)
    }
    counts = {
        "models": float(sum(stage.models for stage in schedule)),
        "samples": float(len(marks)),
        "bytes of the replay memory": float(path.stat().st_size),
        "wall seconds with the trainer": wall,
    }
    return parts, quarters, counts


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
        for row in rows:
            agent.update(*walks[row])
        return time.process_time() - began

    def anew() -> float:
        began = time.process_time()
        for row in rows:
            text, reward = buffer[row]
            agent.update(agent.trajectory(parse(text)), reward)
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
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(args.runs):
            path = Path(folder) / f"replay-{run}.sqlite"
            measured.append(run_schedule(space, schedule, path))
        replays = compare_replays(space, path, args.replays, args.runs)
    parts, quarters, counts = zip(*measured, strict=True)
    models = sum(stage.models for stage in schedule)
    whole = summarize(
        f"schedule of {models:,} models, CPU time", parts, ("SQLite", "replay"), counts[-1]
    )
    growth = summarize("the same by quarters of its samples", quarters, ("quarter 4", "quarter 1"))
    show([whole, growth, replays], args.json)


if __name__ == "__main__":
    main()
