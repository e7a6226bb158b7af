"""Q-values as the replay memory keeps them: the whole table now and then, and what has changed.

A step changes some 500 of the 7,295 Q-values of the paper's space, nearly everywhere in the
table. A row for each would take most of SQLite's time, the whole table for each step much of it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

FOLD = 16
"""Steps that keep what they changed, before one keeps the whole table again."""

_VALUE = np.dtype("<f8")
_CHANGE = np.dtype([("pair", "<i4"), ("value", _VALUE)])

Table = NDArray[np.float64]
"""The values of all pairs; NaN where one keeps its first value."""


def as_table(values: ArrayLike) -> Table:
    """A copy of a table's values."""
    return np.array(values, _VALUE)


def changes(old: Table, new: Table) -> bytes:
    """Where a table differs in any bit from one of the same length, and its values there."""
    pairs = np.flatnonzero(old.view(np.int64) != new.view(np.int64))
    found = np.empty(len(pairs), _CHANGE)
    found["pair"], found["value"] = pairs, new[pairs]
    return found.tobytes()


def restored(table: bytes, later: Iterable[bytes]) -> Table:
    """A whole table, with the changes of later steps in their order.

    Raises:
        ValueError: if these bytes are none of those that this module gives.
    """
    values = np.frombuffer(table, _VALUE).copy()
    for data in later:
        found = np.frombuffer(data, _CHANGE)
        if len(found) and not 0 <= found["pair"].min() <= found["pair"].max() < len(values):
            raise ValueError(f"a pair beyond the {len(values)} known")
        values[found["pair"]] = found["value"]
    return values


def known_values(table: Table) -> dict[int, float]:
    """The values of a table by pair, but for those that are NaN."""
    pairs = np.flatnonzero(~np.isnan(table))
    return dict(zip(pairs.tolist(), table[pairs].tolist(), strict=True))
