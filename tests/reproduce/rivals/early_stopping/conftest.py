"""Curves made up, of which everything is known."""

from collections.abc import Callable

import numpy as np
import pytest

from reproduce.audit.authors_data.files import LearningCurve

MakeCurves = Callable[..., list[LearningCurve]]


@pytest.fixture
def linear_curves() -> MakeCurves:
    """Makes curves whose last accuracy is a linear function of the first three."""

    def make(nets: int, epochs: int = 6, noise: float = 0.0, seed: int = 0) -> list[LearningCurve]:
        rng = np.random.default_rng(seed)
        rows = rng.uniform(0.2, 0.6, (nets, epochs))
        rows[:, -1] = 0.1 + rows[:, :3] @ [0.5, 0.2, 0.4] + noise * rng.standard_normal(nets)
        return [
            LearningCurve("[SM(10)]", 0.001, tuple(map(float, row)), int(rng.integers(9999)), 3)
            for row in rows
        ]

    return make
