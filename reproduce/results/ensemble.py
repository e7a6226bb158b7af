"""Ensembles of trained nets, and whether they beat their members (paper, section 5 and Table 4).

Works on the probabilities of each net for the same images, M nets × N images × classes. The paper
does not say how its ensembles combine their members, so both usual ways are here. Members are
chosen by validation accuracy; the test set only measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reproduce.results.summary import wilson_interval

Probabilities = NDArray[np.floating]
Labels = NDArray[np.integer]
Predicted = NDArray[np.int64]
Flags = NDArray[np.bool_]
Method = Literal["mean", "vote"]

SIGNIFICANT = 0.05
"""The p-value below which a difference counts."""


@dataclass(frozen=True)
class Member:
    """A trained net: its accuracy on validation images and N × classes for the test images."""

    name: str
    validation_accuracy: float
    probabilities: Probabilities


@dataclass(frozen=True)
class Score:
    """How many of `total` test images a net or an ensemble gets wrong."""

    what: str
    errors: int
    total: int

    @property
    def error(self) -> float:
        """The share of images that are wrong, in [0, 1]."""
        return self.errors / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `error`."""
        return wilson_interval(self.errors, self.total)


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same images.

    Attributes:
        first, second: their names and errors.
        only_first, only_second: images that the one alone gets wrong.
        p_value: of McNemar's exact test, two-sided: how often a difference at least as large
            comes about if each of these images is as likely the one's error as the other's.
        interval: 95 % of the error of `first` less that of `second`, by a paired bootstrap over
            the images.
    """

    first: Score
    second: Score
    only_first: int
    only_second: int
    p_value: float
    interval: tuple[float, float]

    @property
    def beats(self) -> bool:
        """Whether `first` makes fewer errors, by more than chance explains."""
        return self.only_first < self.only_second and self.p_value < SIGNIFICANT

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        a, b = self.first, self.second
        counts = f"{a.errors} errors against {b.errors} of {b.what}, of {a.total} images"
        if a.errors == b.errors:
            return f"{a.what} does as well as {b.what}: {counts}"
        does = "beats" if a.errors < b.errors else "is worse than"
        known = "" if self.p_value < SIGNIFICANT else ", which may be chance"
        return f"{a.what} {does} {b.what}: {counts} (McNemar p = {self.p_value:.2g}{known})"


@dataclass(frozen=True)
class Ensemble:
    """The `size` members that are best on validation, combined.

    `best_member` is the one of them with the fewest test errors, chosen in hindsight: to beat it
    is the harder test. `reported` is the single net that is best on validation.
    """

    size: int
    method: Method
    members: tuple[str, ...]
    score: Score
    against_best_member: Comparison
    against_reported: Comparison


@dataclass(frozen=True)
class Evaluation:
    """All that is measured of some nets on one test set.

    `members` come best on validation first; the first is `reported`, as in the paper.
    """

    members: tuple[Score, ...]
    ensembles: tuple[Ensemble, ...]

    @property
    def reported(self) -> Score:
        """The single net that is best on validation."""
        return self.members[0]


def mean_of(probabilities: Probabilities) -> Predicted:
    """The N classes of the highest mean probability (M × N × classes); the lowest among equals."""
    predicted: Predicted = probabilities.mean(axis=0, dtype=np.float64).argmax(axis=1)
    return predicted


def majority_vote(probabilities: Probabilities) -> Predicted:
    """The N classes that most members hold for the most probable (M × N × classes).

    Among classes with as many votes, the one of the highest mean probability wins; among those,
    the lowest.
    """
    classes = probabilities.shape[2]
    votes = (probabilities.argmax(axis=2)[..., np.newaxis] == np.arange(classes)).sum(axis=0)
    tied = votes == votes.max(axis=1, keepdims=True)
    means = probabilities.mean(axis=0, dtype=np.float64)
    predicted: Predicted = np.where(tied, means, -1.0).argmax(axis=1)
    return predicted


def ranking(validation_accuracies: Sequence[float]) -> list[int]:
    """Indices from the best accuracy to the worst; the earliest first among equals."""
    return sorted(range(len(validation_accuracies)), key=lambda i: -validation_accuracies[i])


def compare(
    first: tuple[str, Flags],
    second: tuple[str, Flags],
    rng: np.random.Generator,
    resamples: int = 10_000,
) -> Comparison:
    """Compare two classifiers, each a name and whether it is wrong on each of the N images.

    Sources: McNemar, Psychometrika 12 (1947), in the exact binomial form; Efron's percentile
    bootstrap. A resample of images is drawn as its number of images on which only the first,
    only the second, or neither alone is wrong, which has the same distribution.
    """
    a, b = first[1], second[1]
    only_a, only_b, total = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    shares = [only_a / total, only_b / total]
    drawn = rng.multinomial(total, [*shares, max(0.0, 1 - sum(shares))], size=resamples)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / total, [0.025, 0.975])
    return Comparison(
        Score(first[0], int(a.sum()), total),
        Score(second[0], int(b.sum()), total),
        only_a,
        only_b,
        mcnemar_p(only_a, only_b),
        (float(low), float(high)),
    )


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test, from the images that one alone gets wrong."""
    n, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # binomial coefficients of n, exact
    for k in range(1, fewer + 1):
        term = term * (n - k + 1) // k
        tail += term
    return min(1.0, float(Fraction(2 * tail, 2**n)))


def evaluate(
    members: Sequence[Member],
    labels: Labels,
    rng: np.random.Generator,
    sizes: Sequence[int] = (5, 10),
) -> Evaluation:
    """Score each member, and the ensembles of the best on validation.

    Args:
        members: at least one; all of the same N images in the same order.
        labels: the N true classes.
        rng: draws the bootstrap's resamples.
        sizes: of the ensembles; those that are larger than the number of members are left out.

    Raises:
        ValueError: if there is no member, an accuracy or a probability is not finite, or members
            and labels do not fit together.
    """
    if not members:
        raise ValueError("no trained net to evaluate")
    for member in members:
        _require_fit(member, members[0], len(labels))
    ranked = [members[i] for i in ranking([member.validation_accuracy for member in members])]
    probabilities = np.stack([member.probabilities for member in ranked])
    wrong = probabilities.argmax(axis=2) != labels
    scores = [Score(m.name, int(w.sum()), len(labels)) for m, w in zip(ranked, wrong, strict=True)]
    ensembles = []
    for size in sizes:
        if not 1 <= size <= len(ranked):
            continue
        best = min(range(size), key=lambda i: scores[i].errors)
        methods: tuple[tuple[Method, Predicted], ...] = (
            ("mean", mean_of(probabilities[:size])),
            ("vote", majority_vote(probabilities[:size])),
        )
        for method, predicted in methods:
            what = (f"the ensemble of {size} by {method}", predicted != labels)
            against_best = compare(what, (ranked[best].name, wrong[best]), rng)
            against_reported = compare(what, (ranked[0].name, wrong[0]), rng)
            names = tuple(member.name for member in ranked[:size])
            ensembles.append(
                Ensemble(size, method, names, against_best.first, against_best, against_reported)
            )
    return Evaluation(tuple(scores), tuple(ensembles))


def _require_fit(member: Member, first: Member, images: int) -> None:
    shape, expected = member.probabilities.shape, (images, first.probabilities.shape[-1])
    if shape != expected:
        raise ValueError(
            f"{member.name}: probabilities are {shape}, not images × classes {expected}"
        )
    if not np.isfinite(member.validation_accuracy) or not np.isfinite(member.probabilities).all():
        raise ValueError(f"{member.name}: its accuracy or a probability is not finite")
