"""Prediction and early stopping measured on learning curves, in many random orders.

In each order the first nets are trained in full and learned from, as in the thesis's simulation
(section 4.2.3); all others are held out: predicted, and stopped or not. Hyperparameters are
chosen anew in each order, from its own training nets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score

from reproduce.audit.authors_data.files import LearningCurve
from reproduce.results.intervals import FEWEST_FOR_BOOTSTRAP, bootstrap_interval
from reproduce.rivals.early_stopping.features import CurveTable, tabulate
from reproduce.rivals.early_stopping.predictor import (
    CANDIDATES,
    LastSeen,
    Predictor,
    fit_ridge,
    fit_svr,
)
from reproduce.rivals.early_stopping.published import LAST_SEEN, SVR
from reproduce.rivals.early_stopping.stopping import (
    MedianRule,
    PerfectRule,
    ProbabilityRule,
    Rule,
    SimulatedSearch,
    simulate,
)
from reproduce.rivals.surrogate.quality import Estimate, rank_correlation

Floats = NDArray[np.float64]
_Key = tuple[str, float | None, int, float]  # method, threshold, rank, offset

TRAIN = 100
"""Nets trained in full before any is stopped (section 4.2.3)."""
SHARES = (0.1, 0.25, 0.5, 0.75)
"""Of the curve, after which predictions are judged."""
THRESHOLDS = (0.9, 0.95, 0.99)
"""Δ; three of the five in Figure 4-5."""
VARIANTS = ((1, 0.0), (10, 0.0), (1, 0.01))
"""Rank and offset of the three variants in Figure 4-5."""
TOP = 10
"""Nets that MetaQNN trains on after its search (section 5 of its paper)."""

RIDGE, MEDIAN, PERFECT = "ridge", "median rule", "perfect foresight"


@dataclass(frozen=True)
class Prediction:
    """How well final accuracies of nets held out are predicted; means over the orders.

    Attributes:
        method: what predicts.
        observed: epochs seen.
        r2: coefficient of determination.
        rank_correlation: Spearman's.
        error: root mean squared error.
        sigma: the same as foretold from the training nets.
    """

    method: str
    observed: int
    r2: Estimate
    rank_correlation: Estimate
    error: Estimate
    sigma: Estimate


@dataclass(frozen=True)
class Stopping:
    """What a rule saves and costs in the simulated searches; means over the orders.

    Attributes:
        method: what predicts, or the rule.
        threshold: Δ; None of rules without a probability.
        rank, offset: see `ProbabilityRule`.
        saved: share of all nets' epochs, those trained in full included.
        speed_up: the factor that this is.
        saved_more: the same less ν-SVR's, in the same orders at the same Δ; None without one.
        lost: orders in which no net kept is as good as the best of all.
        regret: final accuracy of the best net less that of the best kept; `worst_regret` the most.
        top_kept: share of the ten best nets that were kept.
    """

    method: str
    threshold: float | None
    rank: int
    offset: float
    saved: Estimate
    speed_up: Estimate
    saved_more: Estimate | None
    lost: int
    regret: Estimate
    worst_regret: float
    top_kept: Estimate


@dataclass(frozen=True)
class EarlyStoppingStudy:
    """All that was measured on one data set's nets.

    Attributes:
        data_set: `cifar10` or `svhn`.
        nets: in each order; `train` of them are learned from.
        epochs: of a whole curve.
        orders: random orders; intervals are 95 % bootstrap intervals of the mean over them, and
            tell how much it depends on the order, not on the nets.
    """

    data_set: str
    nets: int
    train: int
    epochs: int
    orders: int
    predictions: tuple[Prediction, ...]
    stoppings: tuple[Stopping, ...]

    def to_json(self) -> dict[str, Any]:
        """As dictionaries, lists, numbers and strings."""
        rows = {name: [asdict(x) for x in getattr(self, name)] for name in _ROWS}
        return asdict(self) | rows

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EarlyStoppingStudy:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError: if it is not what that gave.
        """
        rows = {name: tuple(_row(kind, x) for x in data[name]) for name, kind in _ROWS.items()}
        return cls(**{**data, **rows})


_ROWS: dict[str, type] = {"predictions": Prediction, "stoppings": Stopping}


def _row(kind: type, data: Mapping[str, Any]) -> Any:
    return kind(**{k: Estimate(**v) if isinstance(v, Mapping) else v for k, v in data.items()})


def study(
    curves: Sequence[LearningCurve],
    data_set: str,
    orders: int,
    rng: np.random.Generator,
    train: int = TRAIN,
    candidates: int = CANDIDATES,
) -> EarlyStoppingStudy:
    """Measure prediction and early stopping; about a second for each order of 1,000 nets.

    Args:
        curves: of the nets; those of SVHN that the thesis measured are the first 1,000.
        orders: random orders of the nets, at least 3.
        train: nets at the head of each order that are trained in full and learned from.
        candidates: see `fit_svr`.

    Raises:
        ValueError: if there are too few orders for an interval or too few nets to hold any out.
    """
    if orders < FEWEST_FOR_BOOTSTRAP:
        raise ValueError(f"intervals need at least {FEWEST_FOR_BOOTSTRAP} orders, not {orders}")
    if not 10 <= train <= len(curves) - TOP:
        raise ValueError(
            f"{train} of {len(curves)} nets cannot be learned from: at least 10 must be, "
            f"and at least {TOP} be held out"
        )
    table = tabulate(curves)
    observed = sorted({min(max(1, round(s * table.epochs)), table.epochs - 1) for s in SHARES})
    scores: dict[tuple[str, int], list[Floats]] = {}
    searches: dict[_Key, list[SimulatedSearch]] = {}
    for _ in range(orders):
        search = table.take(rng.permutation(len(table)))
        fitted = fit_all(search.take(slice(train)), rng, candidates)
        predicted = {method: p.predict(search) for method, p in fitted.items()}
        for method, seen in ((m, s) for m in fitted for s in observed):
            judged = _scores(search.final[train:], predicted[method][seen - 1, train:])
            row = np.array([*judged, fitted[method].sigma[seen - 1]])
            scores.setdefault((method, seen), []).append(row)
        for key, rule in _rules(search, fitted, predicted):
            searches.setdefault(key, []).append(simulate(search, train, rule))
    return EarlyStoppingStudy(
        data_set,
        len(table),
        train,
        table.epochs,
        orders,
        tuple(
            Prediction(*key, *(_mean(column, rng) for column in np.transpose(rows)))
            for key, rows in scores.items()
        ),
        tuple(
            _stopping(key, rows, searches.get((SVR, key[1], *VARIANTS[0])), rng)
            for key, rows in searches.items()
        ),
    )


def fit_all(train: CurveTable, rng: np.random.Generator, candidates: int) -> dict[str, Predictor]:
    """Each method's predictor, learned from the same nets."""
    return {
        SVR: fit_svr(train, rng, candidates),
        RIDGE: fit_ridge(train),
        LAST_SEEN: LastSeen.fit(train),
    }


def _rules(
    search: CurveTable, fitted: Mapping[str, Predictor], predicted: Mapping[str, Floats]
) -> Iterator[tuple[_Key, Rule]]:
    for method, predictor in fitted.items():
        for rank, offset in VARIANTS if method == SVR else VARIANTS[:1]:
            for threshold in THRESHOLDS:
                key = (method, threshold, rank, offset)
                yield (
                    key,
                    ProbabilityRule(predicted[method], predictor.sigma, threshold, offset, rank),
                )
    yield (MEDIAN, None, 1, 0.0), MedianRule(search)
    yield (PERFECT, None, 1, 0.0), PerfectRule(search.final)


def _scores(true: Floats, predicted: Floats) -> tuple[float, float, float]:
    error = float(np.sqrt(((true - predicted) ** 2).mean()))
    return float(r2_score(true, predicted)), rank_correlation(true, predicted), error


def _stopping(
    key: _Key,
    searches: Sequence[SimulatedSearch],
    svr: Sequence[SimulatedSearch] | None,
    rng: np.random.Generator,
) -> Stopping:
    regret = [x.regret for x in searches]
    more = None if svr is None else [x.saved - y.saved for x, y in zip(searches, svr, strict=True)]
    return Stopping(
        *key,
        saved=_mean([x.saved for x in searches], rng),
        speed_up=_mean([x.speed_up for x in searches], rng),
        saved_more=None if more is None else _mean(more, rng),
        lost=sum(x > 0 for x in regret),
        regret=_mean(regret, rng),
        worst_regret=max(regret),
        top_kept=_mean([x.kept_of_top(TOP) for x in searches], rng),
    )


def _mean(values: Sequence[float] | Floats, rng: np.random.Generator) -> Estimate:
    numbers = [float(x) for x in values]
    return Estimate(float(np.mean(numbers)), *bootstrap_interval(numbers, rng))
