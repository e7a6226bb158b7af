"""The trained models of a search that stay on the disk: those of the highest rewards."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from pathlib import Path

from reproduce.search.replay_memory import Trial
from reproduce.trainer import trial_folder
from reproduce.training.snapshots import remove_model


class KeptModels:
    """Removes the model of a trial as soon as `keep` others have a higher reward.

    Of equal rewards the earlier trial's stays. A trial without a reward has no model.
    """

    def __init__(self, run_folder: Path, keep: int, trials: Iterable[Trial]) -> None:
        """`trials` are those of earlier processes; what these should have removed goes too."""
        self._run_folder, self._keep = run_folder, keep
        self._kept: list[tuple[float, int]] = []
        for trial in trials:
            if trial.outcome is not None:
                self.trained(trial)

    def trained(self, trial: Trial) -> None:
        """Take a trial that has just ended."""
        if trial.reward is None:
            self._remove(trial.id)
            return
        heapq.heappush(self._kept, (trial.reward, -trial.id))
        if len(self._kept) > self._keep:
            self._remove(-heapq.heappop(self._kept)[1])

    def _remove(self, trial: int) -> None:
        remove_model(trial_folder(self._run_folder, trial))
