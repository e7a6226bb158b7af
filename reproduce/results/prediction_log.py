"""What the log of `caffe test` says of each image, and whether it fits together.

A log has a line for each value, `Batch 3, prob = 0.0512446`, of each of the blobs that
`prototxt_gen.prediction_net` leaves, and ends in their means. CIFAR-100's test set makes a million
such lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prototxt_gen.prediction_net import ACCURACY, LABELS, PROBABILITIES
from reproduce.training.outcome import Outcome

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_BLOCK = 1 << 22  # bytes of a log that are parsed at a time

_NUMBER = rb"(-?(?:[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|nan|inf))\r*\n"
_NAMES = "|".join((PROBABILITIES, LABELS, ACCURACY)).encode()
_SCORE = re.compile(rb"Batch ([0-9]{1,9}), (" + _NAMES + rb") = " + _NUMBER)
_ACCURACY = ACCURACY.encode() + b" = "
_MEAN = re.compile(rb"(?<!, )" + _ACCURACY + _NUMBER)  # not behind `Batch 3, `


class PredictionError(RuntimeError):
    """There are no predictions; the message says why in one line, `outcome` what ended Caffe.

    As with a trial, `STOPPED` (asked to stop, or a full disk) is no failure: the same call again
    starts anew.
    """

    def __init__(self, message: str, outcome: Outcome = Outcome.CRASHED) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class Scores:
    """What the log of `caffe test` says, of N images.

    Attributes:
        probabilities: N × classes.
        labels: N, as printed.
        accuracies: one for each iteration.
        mean_accuracy: as Caffe prints it at the end.
    """

    probabilities: Floats
    labels: Floats
    accuracies: Floats
    mean_accuracy: float


def read_scores(log: Path, iterations: int, batch: int) -> Scores:
    """Read the values that `caffe test` printed; memory holds them and a block of the log.

    Raises:
        PredictionError: if the log lacks a line.
        OSError: if it cannot be read.
    """
    columns: dict[str, list[tuple[NDArray[np.int64], Floats]]] = {}
    mean: float | None = None
    for block in _blocks(log):
        if found := _SCORE.findall(block):
            numbers, names, values = zip(*found, strict=True)
            batches, floats = np.array(list(map(int, numbers))), np.array(list(map(float, values)))
            named = np.array(names)
            for name in set(names):
                chosen = named == name
                columns.setdefault(name.decode(), []).append((batches[chosen], floats[chosen]))
        if match := _MEAN.match(block, block.rfind(_ACCURACY)):  # it comes after all batches
            mean = float(match[1])

    def table(name: str, width: int | None) -> Floats:
        """iterations × the values that each printed; `width` None is the same for all."""
        pieces = columns.get(name, [])
        batches = np.concatenate([np.empty(0, np.int64), *(piece[0] for piece in pieces)])
        counts = np.bincount(batches[batches < iterations], minlength=iterations)
        width = width or max(int(counts.max()), 1)
        short = np.flatnonzero(counts != width)
        if short.size:
            raise PredictionError(
                f"{log} is not the whole log of caffe test: batch {short[0]} of {iterations} has "
                f"{counts[short[0]]} values of {name}, not {width}"
            )
        if not np.array_equal(batches, np.repeat(np.arange(iterations), width)):
            raise PredictionError(f"{log}: not the log of one caffe test of {iterations} batches")
        return np.concatenate([piece[1] for piece in pieces]).reshape(iterations, width)

    probabilities, labels = table(PROBABILITIES, None), table(LABELS, batch)
    accuracies = table(ACCURACY, 1).ravel()
    if probabilities.shape[1] % batch:
        raise PredictionError(
            f"{log}: {probabilities.shape[1]} probabilities are not those of {batch} images"
        )
    if mean is None:
        raise PredictionError(f"{log} is not the whole log of caffe test: the last lines are cut")
    return Scores(probabilities.reshape(iterations * batch, -1), labels.ravel(), accuracies, mean)


def _blocks(log: Path) -> Iterator[bytes]:
    """A file in pieces of whole lines; what follows the last line's end is torn and left out."""
    rest = b""
    with log.open("rb") as file:
        while data := file.read(_BLOCK):
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            yield data[:end]


def check_scores(scores: Scores, labels: Labels, log: Path, database: str) -> None:
    """Check that all that a log says fits together, and to the database's labels.

    Equal probabilities leave open which class Caffe had ahead, before the numbers were rounded:
    its count of right answers then lies between that without such images and that with them.

    Raises:
        PredictionError: naming the first image or batch that does not.
    """
    probabilities, iterations = scores.probabilities, len(scores.accuracies)
    classes, sums = probabilities.shape[1], probabilities.sum(axis=1)
    for wrong, message, outcome in (
        (~np.isfinite(sums), "the net diverged: its probabilities are nan", Outcome.DIVERGED),
        (labels >= classes, f"its label is none of the net's {classes} classes", Outcome.CRASHED),
        (scores.labels != labels, "Caffe read another label: another database", Outcome.CRASHED),
        (abs(sums - 1) > 1e-3, "its probabilities do not sum to 1", Outcome.CRASHED),
    ):
        if wrong.any():
            at = f"image {wrong.argmax()} of {database}"
            raise PredictionError(f"{at}: {message} (see {log})", outcome)
    true = probabilities[np.arange(len(labels)), labels][:, np.newaxis]
    ahead = (probabilities > true).any(axis=1)
    level = ~ahead & ((probabilities == true).sum(axis=1) > 1)
    most = (~ahead).reshape(iterations, -1).mean(axis=1)
    least = (~ahead & ~level).reshape(iterations, -1).mean(axis=1)
    said, digit = scores.accuracies, 1e-6  # the last of six
    right = (said >= least - digit) & (said <= most + digit)
    summed = digit + iterations * 2.0**-24  # Caffe adds them up in float32
    if not (right.all() and abs(said.mean() - scores.mean_accuracy) <= digit + summed):
        raise PredictionError(
            f"{log}: Caffe's accuracy {scores.mean_accuracy:g} is not that of its probabilities, "
            f"{(~ahead).mean():g} (first in batch {right.argmin()})"
        )
