"""The released Q-values: which never changed, why some exceed 1, and how often replays came by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prototxt_gen.notation import Architecture, GlobalAveragePooling, Layer
from reproduce.audit.authors_data.files import architecture
from reproduce.search.released_files import QRow, ReleasedQValues, ReplayRow
from reproduce.search.rules import size_bin
from reproduce.search.space import SearchSpace

INITIAL = 0.5
ALPHA = 0.01


@dataclass(frozen=True)
class QValueCounts:
    """The rows of the Q table against the space and against the samples' replays.

    A replay of a sample updates the pairs of its walk, FC and GAP as the states that replays see.

    Attributes:
        pairs: rows; `of_space` pairs that the space numbers, `unmapped` rows of no such pair.
        missing: pairs of the space without a row.
        unchanged: rows of exactly the first value; `unchanged_kinds` the same by the state's
            type and R-size bin, e.g. "FC 4"; `kinds` all rows.
        only_in_walks: rows of states that walks meet and replays never update.
        only_in_walks_unchanged: those of exactly the first value.
        replayed: rows on the walks of the samples; `replayed_unchanged` those of the first value.
        changed_off_samples: changed rows that are on no walk of a sample.
        changed_off_all: the same of samples and debug rows together.
        above_one: rows above 1, which no accuracy explains; `above_one_debug` those of them that
            are on the walk of a debug row, `above_one_last` those of them whose action ends it.
        largest: the highest value.
    """

    pairs: int
    of_space: int
    unmapped: int
    missing: int
    unchanged: int
    unchanged_kinds: dict[str, int]
    kinds: dict[str, int]
    only_in_walks: int
    only_in_walks_unchanged: int
    replayed: int
    replayed_unchanged: int
    changed_off_samples: int
    changed_off_all: int
    above_one: int
    above_one_debug: int
    above_one_last: int
    largest: float


@dataclass(frozen=True)
class ImpliedUpdates:
    """How often the last pair of a net with one walk to it was updated, as its value tells.

    After n updates towards a reward r the value is r + (initial - r) (1 - α)ⁿ.

    Attributes:
        net: the net; the pair is its only one that has the reward as its target.
        value, reward: the pair's value, and the net's accuracy.
        updates: n, infinite where the value is the reward's to its last digit.
        rows: samples of the net, among `samples`.
        replays: n / (rows / samples): all replays, if each drew any row alike from the beginning.
        per_sample: the same for each sample; the paper says 100.
    """

    net: str
    value: float
    reward: float
    updates: float
    rows: int
    samples: int
    replays: float
    per_sample: float


@dataclass(frozen=True)
class WrittenDigits:
    """How many decimal digits the changed Q-values have.

    Attributes:
        changed: rows of another value than the first; `of_twelve` those of at most 12 digits.
        most: digits of the longest.
    """

    changed: int
    of_twelve: int
    most: int


def written_digits(q_values: ReleasedQValues, initial: float = INITIAL) -> WrittenDigits:
    """Count the digits that tell each value from its neighbours in double precision."""
    values = [row.utility for row in q_values.rows if row.utility != initial]
    digits = [next(n for n in range(1, 18) if float(f"{v:.{n}g}") == v) for v in values]
    return WrittenDigits(len(values), sum(n <= 12 for n in digits), max(digits, default=0))


@dataclass(frozen=True)
class PoolingActions:
    """The rows of pooling actions.

    Attributes:
        pooling: how many; `of_bin_before` those with the R-size bin of their state.
        smaller: those of which the released enumerator would make another bin, from the bin itself.
    """

    pooling: int
    of_bin_before: int
    smaller: int


def pooling_actions(q_values: ReleasedQValues) -> PoolingActions:
    """Count; the enumerator's size is ⌊(n - f)/s⌋ + 1 of the bin n."""
    rows = [row for row in q_values.rows if row.end.layer_type == "pool" and not row.end.terminate]
    after = [
        size_bin((row.start.image_size - row.end.filter_size) // row.end.stride + 1) for row in rows
    ]
    return PoolingActions(
        len(rows),
        sum(row.end.image_size == row.start.image_size for row in rows),
        sum(size != row.start.image_size for size, row in zip(after, rows, strict=True)),
    )


def q_value_counts(
    q_values: ReleasedQValues,
    space: SearchSpace,
    samples: Sequence[ReplayRow],
    debug: Sequence[ReplayRow],
    initial: float = INITIAL,
) -> QValueCounts:
    """Count.

    Raises:
        NotInSpaceError: if the space does not hold a sample.
    """
    state_of = [state for state, actions in enumerate(space.actions) for _ in actions]
    rows = {row.pair: row for row in q_values.rows if row.pair is not None}
    unchanged = {pair for pair, row in rows.items() if row.utility == initial}
    changed = rows.keys() - unchanged
    aside = {pair for pair in rows if _only_in_walks(space, state_of[pair])}
    real = _replayed(space, (row.net for row in samples))
    fake = _replayed(space, (row.net for row in debug))
    above = {pair for pair, row in rows.items() if row.utility > 1}
    return QValueCounts(
        pairs=len(q_values.rows),
        of_space=space.pairs,
        unmapped=len(q_values.unmapped),
        missing=space.pairs - len(rows),
        unchanged=sum(row.utility == initial for row in q_values.rows),
        unchanged_kinds=_kinds(row for row in q_values.rows if row.utility == initial),
        kinds=_kinds(q_values.rows),
        only_in_walks=len(aside),
        only_in_walks_unchanged=len(aside & unchanged),
        replayed=len(real & rows.keys()),
        replayed_unchanged=len(real & unchanged),
        changed_off_samples=len(changed - real),
        changed_off_all=len(changed - real - fake),
        above_one=len(above),
        above_one_debug=len(above & fake),
        above_one_last=sum(rows[pair].end.terminate for pair in above & fake),
        largest=max((row.utility for row in q_values.rows), default=math.nan),
    )


def implied_updates(
    q_values: ReleasedQValues,
    space: SearchSpace,
    samples: Sequence[ReplayRow],
    net: str,
    initial: float = INITIAL,
    alpha: float = ALPHA,
) -> ImpliedUpdates:
    """How often the last pair of `[SM(10)]` or `[GAP(10), SM(10)]` was updated.

    Raises:
        ValueError: for any other net, since others share their last pairs, or if there is no
            sample of it or no value of its last pair.
    """
    layers = architecture(net)
    hidden = layers.layers[:-1]
    if any(not isinstance(layer, GlobalAveragePooling) for layer in hidden):
        raise ValueError(f"{net}: other nets have the same last pair")
    rows = [row for row in samples if architecture(row.net) == layers]
    pair = _walk(space, layers)[-1]
    value = q_values.values.get(pair)
    if not rows or value is None:
        raise ValueError(f"{net}: there is no sample of it, or no Q-value")
    reward = rows[0].accuracy_best_val
    left = (value - reward) / (initial - reward)
    updates = math.log(left) / math.log(1 - alpha) if left > 0 else math.inf
    replays = updates * len(samples) / len(rows)
    return ImpliedUpdates(
        net, value, reward, updates, len(rows), len(samples), replays, replays / len(samples)
    )


def _replayed(space: SearchSpace, nets: Iterable[str]) -> set[int]:
    return {pair for net in set(nets) for pair in _walk(space, architecture(net))}


def _walk(space: SearchSpace, net: Architecture) -> list[int]:
    """The pairs that a replay updates, in the order of the walk."""
    pairs = []
    for node, number in space.walk(net):
        met = space.state_of[node]
        action: Layer = space.actions[met][number]
        seen = space.replayed[met]
        pairs.append(space.offsets[seen] + space.actions[seen].index(action))
    return pairs


def _only_in_walks(space: SearchSpace, state: int) -> bool:
    return state < len(space.replayed) and space.replayed[state] != state


def _kinds(rows: Iterable[QRow]) -> dict[str, int]:
    names = {"conv": "C", "pool": "P", "fc": "FC", "gap": "GAP"}
    found = Counter(
        f"{names.get(row.start.layer_type, row.start.layer_type)} {row.start.image_size}"
        for row in rows
    )
    return dict(sorted(found.items()))
