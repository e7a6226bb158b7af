"""The sampled nets: the dropout rule, the space, chance level, published nets among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prototxt_gen.dropout import DropoutRule, place_dropout
from prototxt_gen.notation import (
    Architecture,
    Convolution,
    Dropout,
    GlobalAveragePooling,
)
from reproduce.audit.authors_data.figure_a2 import CHANCE
from reproduce.audit.authors_data.files import AuthorsData, architecture
from reproduce.paper import NETS, PublishedNet
from reproduce.search.released_files import ReplayRow
from reproduce.search.space import NotInSpaceError, SearchSpace


@dataclass(frozen=True)
class DropoutFit:
    """How many nets a rule for dropout layers reproduces, as their strings are.

    Attributes:
        nets: distinct strings.
        with_dropout: those with a dropout layer at all.
        reproduced: by each rule.
        short_of_half: nets with dropout of which the last ratio is below the 0.5 that i/2n reaches
            at i = n.
    """

    nets: int
    with_dropout: int
    reproduced: dict[DropoutRule, int]
    short_of_half: int


@dataclass(frozen=True)
class SpaceFit:
    """How many nets a space holds, and why not the others, by the reason."""

    nets: int
    inside: int
    reasons: dict[str, int]


@dataclass(frozen=True)
class ChanceLevel:
    """Nets of one kind: how many, and the share at chance level."""

    nets: int
    chance: float


@dataclass(frozen=True)
class Failures:
    """Which of the nets sampled at an ε never left chance level, each net once.

    Attributes:
        gap: nets that end in GAP; `others` all others.
        by_depth: by the number of layers, dropout and SM aside.
    """

    epsilon: float
    gap: ChanceLevel
    others: ChanceLevel
    by_depth: dict[int, ChanceLevel]


@dataclass(frozen=True)
class PublishedInData:
    """Where a net of the tables of top models is in the authors' data.

    Attributes:
        net: as published; `files` those that hold it, none if it is nowhere.
        best: best validation accuracy of exploration, None if it is nowhere.
        rank: 1 for the highest `best` among the distinct nets of its data set, ties above it.
        among: how many those are.
    """

    net: PublishedNet
    files: tuple[str, ...]
    best: float | None
    rank: int | None
    among: int


@dataclass(frozen=True)
class SameRun:
    """Nets that the replay database and SVHN's learning curves share.

    Attributes:
        nets: how many; `equal` those with the same best and last accuracy, to six decimals.
        at_chance: those at chance level in the replay database.
    """

    nets: int
    equal: int
    at_chance: int


def all_nets(data: AuthorsData) -> frozenset[str]:
    """The strings of all files, debug rows included."""
    rows, curves = (*data.samples, *data.debug), (*data.cifar10, *data.svhn)
    return frozenset((*(row.net for row in rows), *(curve.net for curve in curves)))


def dropout_fit(
    nets: Iterable[str],
    rules: Sequence[DropoutRule] = (DropoutRule.RELEASED, DropoutRule.PAPER),
) -> DropoutFit:
    """Place dropout anew in each net, and compare."""
    there = [architecture(net) for net in set(nets)]
    ratios = [[x.ratio for x in net if isinstance(x, Dropout)] for net in there]
    return DropoutFit(
        len(there),
        sum(map(bool, ratios)),
        {rule: sum(place_dropout(net, rule) == net for net in there) for rule in rules},
        sum(2 * found[-1] < 1 for found in ratios if found),
    )


def space_fit(nets: Iterable[str], space: SearchSpace) -> SpaceFit:
    """Walk each distinct net through a space."""
    reasons: Counter[str] = Counter()
    there = set(nets)
    for net in there:
        try:
            space.walk(architecture(net))
        except NotInSpaceError as error:
            reasons[str(error).partition(": ")[2]] += 1
    return SpaceFit(len(there), len(there) - reasons.total(), dict(reasons.most_common()))


def failures(samples: Sequence[ReplayRow], epsilon: float = 1.0) -> Failures:
    """Which nets first sampled at an ε are at chance level."""
    first: dict[str, ReplayRow] = {}
    for row in samples:
        first.setdefault(row.net, row)
    there = [
        (architecture(net).without_dropout(), row.accuracy_best_val == CHANCE)
        for net, row in first.items()
        if row.epsilon == epsilon
    ]
    depths = sorted({len(net) - 1 for net, _ in there})
    return Failures(
        epsilon,
        _chance([lost for net, lost in there if _ends_in_gap(net)]),
        _chance([lost for net, lost in there if not _ends_in_gap(net)]),
        {d: _chance([lost for net, lost in there if len(net) - 1 == d]) for d in depths},
    )


def first_fields(nets: Iterable[str]) -> dict[int, int]:
    """Distinct nets by the receptive field of the convolution that they begin with."""
    firsts = (architecture(net).layers[0] for net in set(nets))
    counts = Counter(layer.size for layer in firsts if isinstance(layer, Convolution))
    return dict(sorted(counts.items()))


def published_in_data(
    data: AuthorsData, nets: Sequence[PublishedNet] = NETS
) -> tuple[PublishedInData, ...]:
    """Look up each published net of CIFAR-10 and SVHN, dropout aside, with its own data set's."""
    replay = _bests((row.net, row.accuracy_best_val) for row in data.samples)
    curves = {
        name: _bests((curve.net, curve.best) for curve in found)
        for name, found in (("cifar10", data.cifar10), ("svhn", data.svhn))
    }
    files: dict[str, Mapping[str, Mapping[str, float]]] = {
        "cifar10": {"metaqnn_cifar10.csv": curves["cifar10"]},
        "svhn": {"replay_database.csv": replay, "metaqnn_svhn.csv": curves["svhn"]},
    }
    found = []
    for net in nets:
        there = files.get(net.id.partition("/")[0])
        if there is None:
            continue
        key = str(architecture(net.notation).without_dropout())
        every: dict[str, float] = {}
        for content in there.values():
            every |= content
        best = every.get(key)
        rank = None if best is None else 1 + sum(other > best for other in every.values())
        holding = tuple(name for name, content in there.items() if key in content)
        found.append(PublishedInData(net, holding, best, rank, len(every)))
    return tuple(found)


def same_run(data: AuthorsData) -> SameRun:
    """Compare the nets that are in both files of SVHN."""
    first: dict[str, ReplayRow] = {}
    for row in data.samples:
        first.setdefault(row.net, row)
    both = [(first[curve.net], curve) for curve in data.svhn if curve.net in first]
    return SameRun(
        len(both),
        sum(
            abs(row.accuracy_best_val - curve.best) < 1e-6
            and abs(row.accuracy_last_val - curve.accuracies[-1]) < 1e-6
            for row, curve in both
        ),
        sum(row.accuracy_best_val == CHANCE for row, _ in both),
    )


def _bests(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The accuracy of each net's first row, by the net without dropout."""
    found: dict[str, float] = {}
    for net, best in pairs:
        found.setdefault(str(architecture(net).without_dropout()), best)
    return found


def _ends_in_gap(net: Architecture) -> bool:
    return any(isinstance(layer, GlobalAveragePooling) for layer in net)


def _chance(lost: Sequence[bool]) -> ChanceLevel:
    return ChanceLevel(len(lost), sum(lost) / len(lost) if lost else float("nan"))
