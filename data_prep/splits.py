"""Splits by class, drawn with a seed or, as in the released code, in file order.

Only the bit generator's raw 64-bit stream is used: NumPy guarantees that stream for ever, while
the methods of `Generator` may change, so that a seed means the same split on every machine.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError

Indices = NDArray[np.int64]


def generator(seed: int) -> np.random.Generator:
    """The generator every split and shuffle of a preparation draws from, in a fixed order."""
    return np.random.Generator(np.random.PCG64(seed))


def permutation(count: int, rng: np.random.Generator) -> Indices:
    """A uniform permutation of range(count): the order of `count` raw 64-bit draws."""
    draws = np.asarray(rng.bit_generator.random_raw(count), np.uint64)
    return np.argsort(draws, kind="stable").astype(np.int64)


def largest_remainder(weights: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """`total` units shared out in proportion to `weights` (non-negative, not all zero).

    Each share is its quota rounded down; what is left goes to the largest remainders, on a tie
    to the lower index. All arithmetic is in integers.
    """
    quotas = [int(weight) * total for weight in weights]
    whole = sum(int(weight) for weight in weights)
    shares = np.array([quota // whole for quota in quotas], np.int64)
    by_remainder = sorted(range(len(quotas)), key=lambda i: (-(quotas[i] % whole), i))
    shares[by_remainder[: total - int(shares.sum())]] += 1
    return shares


def stratified_split(
    labels: NDArray[np.integer], held_out: int, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """(remaining, held out): indices into `labels`, each in ascending order.

    Every class gives its share of the `held_out` examples by largest remainder, drawn at random
    within the class. Raises DataError unless 0 ≤ held_out ≤ the number of labels.
    """
    if not 0 <= held_out <= len(labels):
        raise DataError(
            f"cannot set {held_out} of {len(labels)} examples aside; "
            f"choose a number from 0 to {len(labels)}"
        )
    classes, counts = np.unique(labels, return_counts=True)
    chosen = np.zeros(len(labels), np.bool_)
    if held_out:
        for value, share in zip(classes, largest_remainder(counts, held_out), strict=True):
            members = np.flatnonzero(labels == value)
            chosen[members[permutation(len(members), rng)[:share]]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def stratified_subset(labels: NDArray[np.integer], size: int, rng: np.random.Generator) -> Indices:
    """Ascending indices of a stratified sample of `size` examples; raises as stratified_split."""
    return stratified_split(labels, size, rng)[1]


def first_shares(counts: NDArray[np.int64], total: int) -> list[int]:
    """The released code's shares of `total` by class (lmdb_creator.py:123-135).

    Each is its quota rounded, halves up; in class order, a share that would exceed the total is
    cut to what is left. They may add up to less, on which that code stops: raises DataError.
    """
    shares: list[int] = []
    for count in counts.tolist():
        quota = float(count) / int(counts.sum()) * total
        rounded = int(quota) + (quota - int(quota) >= 0.5)
        shares.append(min(rounded, total - sum(shares)))
    if sum(shares) != total:
        raise DataError(
            f"the released code's rounding sets {sum(shares)} examples aside, not {total}; "
            "choose another number or the split `random`"
        )
    return shares


def first_split(labels: NDArray[np.integer], held_out: int) -> tuple[Indices, Indices]:
    """(remaining, held out) as the released code has them: the first of each class, by class.

    Raises DataError as `first_shares` does, or if `held_out` exceeds the number of labels.
    """
    if held_out > len(labels):
        raise DataError(f"cannot set {held_out} of {len(labels)} examples aside; choose fewer")
    classes, counts = np.unique(labels, return_counts=True)
    rest, chosen = [], []
    for value, share in zip(classes, first_shares(counts, held_out), strict=True):
        members = np.flatnonzero(labels == value)
        chosen.append(members[:share])
        rest.append(members[share:])
    return np.concatenate(rest), np.concatenate(chosen)


def per_class(
    labels: NDArray[np.integer],
    members: Indices,
    takes: Sequence[int],
    rng: np.random.Generator | None,
) -> list[Indices]:
    """So many of each class among `members`, for each number in `takes`; last, all the others.

    Drawn with `rng`; without, the first in the order of `members`. Raises DataError if a class
    has too few.
    """
    parts: list[list[Indices]] = [[] for _ in range(len(takes) + 1)]
    bounds = np.cumsum(takes)
    for value in np.unique(labels[members]):
        mine = members[labels[members] == value]
        if len(mine) < bounds[-1]:
            raise DataError(
                f"class {value} has {len(mine)} examples, too few for {bounds[-1]} of each class; "
                "use the complete data set"
            )
        if rng is not None:
            mine = mine[permutation(len(mine), rng)]
        for part, piece in zip(parts, np.split(mine, bounds), strict=True):
            part.append(piece)
    return [np.concatenate(part) for part in parts]
