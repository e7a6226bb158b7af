"""The surrogate as a search's trainer, in the search's own process: no data, no files, no wait."""

from __future__ import annotations

from concurrent.futures import Future

from prototxt_gen.notation import parse
from reproduce.experiments.schema import Experiment
from reproduce.rivals.surrogate.choice import OUTSIDE, surrogate_name
from reproduce.rivals.surrogate.surrogate import FIRST_RATE, RATE_FACTOR, Curve, Surrogate
from reproduce.search.replay_memory import Trial
from reproduce.trainer import reward_of
from reproduce.training.outcome import Outcome, TrialResult


class SurrogateTrainer:
    """Gives each trial its architecture's own curve at once, and the experiment's reward for it.

    Attributes:
        outside: architectures submitted that are outside the surrogate's range, and why.
        epochs: trained by all trials, those of given-up learning rates included.
    """

    def __init__(self, experiment: Experiment, surrogate: Surrogate) -> None:
        self._experiment, self._surrogate = experiment, surrogate
        share = surrogate.failure_share
        self._name = surrogate_name(surrogate.data_set, surrogate.seed, share)
        self.outside: dict[str, str] = {}
        self.epochs = 0

    @property
    def slots(self) -> int:
        """One trial at a time, so that the order of a search is always the same."""
        return 1

    def submit(self, trial: Trial) -> Future[TrialResult]:
        """A result that is there already."""
        curve = self._surrogate.curve(parse(trial.architecture))
        if curve.problem is not None:
            self.outside[trial.architecture] = curve.problem
        self.epochs += curve.epochs
        done: Future[TrialResult] = Future()
        done.set_result(self._result(curve))
        return done

    def place(self, trial: Trial) -> str | None:
        """Where trials run: nowhere in particular."""
        return None

    def reward(self, trial: Trial, result: TrialResult) -> float | None:
        """See `reward_of`."""
        return reward_of(self._experiment, trial.architecture, result)

    def _result(self, curve: Curve) -> TrialResult:
        return TrialResult(
            outcome=Outcome.FINISHED if curve.learned else Outcome.CHANCE_LEVEL,
            accuracies=curve.accuracies if curve.learned else curve.accuracies[:1],
            learning_rate=FIRST_RATE * RATE_FACTOR**curve.restarts,
            restarts=curve.restarts,
            iterations=0,
            seconds=0.0,
            trainer=self._name,
            message="" if curve.problem is None else f"{OUTSIDE}{curve.problem}",
        )
