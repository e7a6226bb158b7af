"""Which training examples go where, by recipe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import DataError
from data_prep.recipes import EXTENDED_VALIDATION, TENTH, Part, Recipe
from data_prep.splits import (
    Indices,
    first_split,
    generator,
    per_class,
    permutation,
    stratified_split,
    stratified_subset,
)


def orders(
    recipe: Recipe, labels: NDArray[np.int64], origin: NDArray[np.int64] | None
) -> dict[Part, Indices]:
    """Indices into the training examples for `train`, `val` and `train_full`, in their order.

    `origin` tells SVHN's train part (0) from its extra part (1). The subset is drawn after the
    split and the full shuffle, so that it changes neither.

    Raises:
        DataError: if there are too few examples.
    """
    rng = generator(recipe.seed)
    draws = rng if recipe.split == "random" else None
    match recipe.svhn:
        case "extended":
            train, val = _extended(labels, origin, draws)
            full = np.arange(len(labels))
        case "tenth":
            everything = np.arange(len(labels))
            train, val, _ = per_class(labels, everything, (TENTH["train"], TENTH["val"]), draws)
            full = np.concatenate([train, val])
        case _:
            train, val = _proportional(recipe.validation or 0, labels, draws)
            full = np.arange(len(labels))
    if draws is not None:
        val = val[permutation(len(val), rng)]
    full = full[permutation(len(full), rng)]
    if recipe.subset is not None:
        if recipe.subset > len(train):
            raise DataError(
                f"subset {recipe.subset} exceeds the {len(train)} examples left to train on; "
                "choose fewer"
            )
        train = train[stratified_subset(labels[train], recipe.subset, rng)]
    train = train[permutation(len(train), rng)]
    return {"train": train, "val": val, "train_full": full}


def _proportional(
    validation: int, labels: NDArray[np.int64], draws: np.random.Generator | None
) -> tuple[Indices, Indices]:
    if validation >= len(labels):
        raise DataError(
            f"validation {validation} leaves nothing of {len(labels)} examples to train "
            "on; choose fewer"
        )
    if draws is None:
        return first_split(labels, validation)
    return stratified_split(labels, validation, draws)


def _extended(
    labels: NDArray[np.int64],
    origin: NDArray[np.int64] | None,
    draws: np.random.Generator | None,
) -> tuple[Indices, Indices]:
    """400 of each class of SVHN's train part and 200 of its extra part for validation.

    The validation part is by class, train before extra, as in the released code.
    """
    if origin is None:
        raise DataError("the extended set needs SVHN's extra part")
    train, val = [], []
    for part, number in enumerate(EXTENDED_VALIDATION):
        chosen, rest = per_class(labels, np.flatnonzero(origin == part), (number,), draws)
        val.append(chosen)
        train.append(rest)
    held_out = np.concatenate(val)
    return np.concatenate(train), held_out[np.argsort(labels[held_out], kind="stable")]
