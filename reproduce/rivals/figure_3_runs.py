"""What one search on the surrogate shows of Figure 3, as plain data that a study's folder keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from reproduce.rivals.surrogate.data import DataSet

SPACING = 25
"""Samples between two points of the rolling mean that are kept."""

_STRICT: Any = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, config=_STRICT)
class Stage:
    """The samples of one ε.

    Attributes:
        samples: their number; a net sampled again counts again, as in the figure.
        mean: their mean reward.
        failed: the share of them whose net did not learn.
        outside: the share of them whose net is outside the surrogate's range: a guess.
        models: distinct nets trained at this ε first.
        models_mean: the mean reward of those.
    """

    epsilon: float
    samples: int
    mean: float
    failed: float
    outside: float
    models: int
    models_mean: float


@dataclass(frozen=True, config=_STRICT)
class LearningRun:
    """One search by Q-learning, all of its rewards predicted by the surrogate.

    Attributes:
        data_set, preset, seed: whose curves, whose rules, and the seed of the search and noise.
        failure_share: the probability of failing to learn that all nets have; None where it was
            predicted for each.
        stages: by ε, in the schedule's order.
        window: samples that the rolling mean is over.
        rolling: it at each of `places`, rounded to five decimals.
        models: distinct nets trained.
        outside: how many of them are outside the surrogate's range.
        best: the highest reward of a net within the range.
        expected: the surrogate's prediction for that net, without noise.
        net: that net.

    Raises:
        ValueError: if there is no stage, or `rolling` has not as many values as `places`.
    """

    data_set: DataSet
    preset: str
    failure_share: float | None
    seed: int
    stages: tuple[Stage, ...]
    window: int
    rolling: tuple[float, ...]
    models: int
    outside: int
    best: float
    expected: float
    net: str

    def __post_init__(self) -> None:
        if not self.stages or min(stage.samples for stage in self.stages) < 1:
            raise ValueError("a run has at least one stage, and a stage at least one sample")
        if self.window < 1 or len(self.rolling) != len(self.places):
            raise ValueError(
                f"{len(self.rolling)} values of the rolling mean, for {len(self.places)} places"
            )

    @property
    def samples(self) -> int:
        """All samples, repeats included."""
        return sum(stage.samples for stage in self.stages)

    @property
    def places(self) -> tuple[int, ...]:
        """The numbers of samples, from 1, of which `rolling` has the mean up to there."""
        return rolling_places(self.samples, self.window)

    @property
    def means(self) -> dict[float, float]:
        """The mean reward of the samples at each ε."""
        return {stage.epsilon: stage.mean for stage in self.stages}

    def to_json(self) -> dict[str, Any]:
        """Plain data, from which `from_json` makes the run again."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: object) -> LearningRun:
        """A run from plain data.

        Raises:
            ValueError: naming the field that is wrong, in one line.
        """
        try:
            return _RUN.validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the run"
            raise ValueError(f"{place}: {' '.join(first['msg'].split())}") from None


_RUN = TypeAdapter(LearningRun)


def rolling_places(samples: int, window: int) -> tuple[int, ...]:
    """Every 25th sample from the first with a full window on, and the last; none without one."""
    if samples < window:
        return ()
    return (*range(window, samples, SPACING), samples)


def rolling_at(rewards: Sequence[float], window: int) -> tuple[float, ...]:
    """The mean of the last `window` rewards at each of `rolling_places`, to five decimals."""
    return tuple(
        round(sum(rewards[place - window : place]) / window, 5)
        for place in rolling_places(len(rewards), window)
    )
