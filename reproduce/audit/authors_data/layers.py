"""The layers of the sampled nets: what a rule forbids, the first steps, the published counts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prototxt_gen.notation import (
    Architecture,
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Pooling,
    Softmax,
)
from reproduce.audit.authors_data.files import LearningCurve, architecture
from reproduce.search.released_files import ReplayRow


@dataclass(frozen=True)
class LayerCounts:
    """What sampled nets have, by the rules that the text or the released code set.

    Attributes:
        nets: distinct nets, dropout aside; `deepest` the most layers of one, softmax aside.
        pooling_nets: nets with pooling; `pooling_first` those that begin with it,
            `pooling_after_pooling` those with two in a row.
        consecutive_fc: nets with two FC layers in a row; `more_fc` with three, `growing_fc` with
            one after a smaller one, `early_fc` with one on an R-size of 8 or more.
        on_smallest: layers and terminations that follow an R-size below 4, FC and GAP aside;
            `windows_on_smallest` the convolutions and poolings among them.
    """

    nets: int
    deepest: int
    pooling_nets: int
    pooling_first: int
    pooling_after_pooling: int
    consecutive_fc: int
    more_fc: int
    growing_fc: int
    early_fc: int
    on_smallest: int
    windows_on_smallest: int


@dataclass(frozen=True)
class FirstSteps:
    """Samples of one ε, and those of them that are GAP or softmax alone: `empty`."""

    epsilon: float
    samples: int
    empty: int


@dataclass(frozen=True)
class ParameterColumn:
    """The learning curves' column `num_params` against counts of the nets' weights.

    Attributes:
        nets: rows; `plain` those whose number is that of the weights, without biases and the
            softmax layer.
        repeated: those where it is with the last layer once more.
    """

    nets: int
    plain: int
    repeated: int


def layer_counts(nets: Iterable[str], image: int = 32) -> LayerCounts:
    """Count; R-sizes are those of the released code, which rounds them down."""
    counts: Counter[str] = Counter()
    there = {architecture(net).without_dropout() for net in nets}
    for net in there:
        counts.update(_features(net, image))
    deepest = max((len(net) - 1 for net in there), default=0)
    names = [field.name for field in dataclasses.fields(LayerCounts)][2:]
    return LayerCounts(len(there), deepest, *(counts[name] for name in names))


def _features(net: Architecture, image: int) -> Iterator[str]:
    """The names of what a net has, once each but for the R-sizes below 4."""
    size, found = image, set[str]()
    for place, layer in enumerate(net.layers):
        before = net.layers[place - 1] if place else None
        vector = isinstance(before, FullyConnected | GlobalAveragePooling)
        if size < 4 and not vector:
            yield "on_smallest"
            if isinstance(layer, Convolution | Pooling):
                yield "windows_on_smallest"
        match layer:
            case Pooling(field, stride):
                size = (size - field) // stride + 1
                found |= {"pooling_nets", *(["pooling_first"] if before is None else [])}
                found |= {"pooling_after_pooling"} if isinstance(before, Pooling) else set()
            case FullyConnected(neurons) if isinstance(before, FullyConnected):
                third = place > 1 and isinstance(net.layers[place - 2], FullyConnected)
                found |= {"consecutive_fc", *(["more_fc"] if third else [])}
                found |= {"growing_fc"} if neurons > before.neurons else set()
            case FullyConnected():
                found |= {"early_fc"} if size >= 8 else set()
    yield from found


def first_steps(samples: Sequence[ReplayRow], epsilon: float = 1.0) -> FirstSteps:
    """Count the samples that are GAP or softmax alone."""
    rows = [row for row in samples if row.epsilon == epsilon]
    ends = (GlobalAveragePooling, Softmax)
    empty = sum(isinstance(architecture(row.net).layers[0], ends) for row in rows)
    return FirstSteps(epsilon, len(rows), empty)


def parameter_column(curves: Sequence[LearningCurve]) -> ParameterColumn:
    """Compare the column with both counts, on images of 3 channels and 32 pixels."""
    counts = [_weights(architecture(curve.net)) for curve in curves]
    stated = [curve.stated_parameters for curve in curves]
    return ParameterColumn(
        len(curves),
        sum(plain == n for (plain, _), n in zip(counts, stated, strict=True)),
        sum(repeated == n for (_, repeated), n in zip(counts, stated, strict=True)),
    )


def _weights(net: Architecture, channels: int = 3, size: int = 32) -> tuple[int, int]:
    """A net's weights without biases and softmax, and the same with the last layer once more."""
    total = again = 0
    for layer in net.without_dropout():
        match layer:
            case Convolution(filters, field, _):
                total += channels * filters * field**2
                channels, again = filters, filters * filters * field**2
            case Pooling(field, stride):
                size, again = (size - field) // stride + 1, 0
            case FullyConnected(neurons):
                total += channels * size**2 * neurons
                channels, size, again = neurons, 1, neurons * neurons
            case GlobalAveragePooling(classes):
                total += channels * classes
                channels, size, again = classes, 1, 0
    return total, total + again
