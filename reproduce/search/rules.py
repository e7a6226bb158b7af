"""What may follow what: states, the rules that a family of spaces keeps, and those of Table 1.

A state is the last layer placed: its type, its depth, its parameters and what the agent sees of
the representation size (R-size), the height of the square image that the layer puts out. Where
that is only a bin, the true R-size is hidden from the agent, and pooling may lead from one state
to several ("stochastic" pairs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from prototxt_gen.notation import (
    Convolution,
    FullyConnected,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
)
from prototxt_gen.shapes import Padding, pooling_size

Kind = Literal["start", "C", "P", "FC", "GAP"]


@dataclass(frozen=True)
class State:
    """What the agent sees: the last layer placed.

    Attributes:
        kind: its type; `start` before the first layer.
        depth: layers placed so far.
        numbers: its parameters. Table 1: (filters, size) of C, (size, stride) of P, (consecutive
            FC layers, neurons) of FC.
        bin: the R-size as the agent sees it, 0 where it sees none. Table 1: the lower end of its
            bin, 8, 4 or 1; none in FC; a GAP layer's state keeps the bin of its input.
    """

    kind: Kind
    depth: int
    numbers: tuple[int, ...] = ()
    bin: int = 0

    def __str__(self) -> str:
        inside = ",".join(map(str, self.numbers))
        size = f" R{self.bin}" if self.bin else ""
        return f"{self.depth} {self.kind}({inside}){size}"


@dataclass(frozen=True)
class Node:
    """A state with the true R-size."""

    state: State
    size: int


class Rules(Protocol):
    """A family of spaces: what may follow what. Depth grows with every layer."""

    @property
    def classes(self) -> int:
        """Classes of the termination layers."""
        ...

    @property
    def padding(self) -> Padding:
        """How the family's convolutions are padded."""
        ...

    def start(self) -> Node:
        """Where every walk begins."""
        ...

    def actions(self, state: State) -> tuple[Layer, ...]:
        """The layers that may follow a state, in a fixed order."""
        ...

    def ends(self, action: Layer) -> bool:
        """Whether an action ends the architecture."""
        ...

    def successor(self, node: Node, action: Layer) -> Node:
        """Where an action that does not end the architecture leads."""
        ...

    def replayed(self, state: State) -> State:
        """The state whose values a replay updates instead; as a rule the state itself."""
        ...

    def why_not(self, node: Node, layer: Layer) -> str:
        """Why a layer may not follow a node, in a few words."""
        ...


def size_bin(size: int) -> int:
    """The R-size bin of Table 1: 8 for [8, ∞), 4 for [4, 8), 1 for [1, 4)."""
    return 8 if size >= 8 else 4 if size >= 4 else 1


@dataclass(frozen=True)
class SpaceRules:
    """What may follow what. The defaults are the paper's Table 1, depth and image aside.

    Attributes:
        depth: most layers before termination ("i < 12" means 12: the published nets have 12).
        image: height and width of the square input, in pixels.
        classes: classes of the termination layers.
        filters, sizes: a convolution's number of filters and receptive fields (stride 1, SAME).
        pools: pooling's (receptive field, stride).
        fully_connected: an FC layer's neurons; they never grow along a chain.
        max_fully_connected: most consecutive FC layers.
        smaller_than_bin: receptive fields must be < the R-size bin (the released code) instead
            of ≤ it (the paper).
        pool_rounding: whether the agent's R-size after pooling is rounded as Caffe does, "ceil",
            or as the released code does, "floor".
        initial_pooling: whether the first layer may be pooling.
        gap: global average pooling as a type of "termination" (the paper) or as a "layer" that
            takes up one depth and that softmax follows (the released code).
        gap_after_fc: whether GAP may follow FC (unstated in the paper).
        fc_sees_bin: whether an FC state carries the bin of the image before it while sampling;
            replays then use bin 1 for it and for GAP, so that the values met while sampling in
            other bins never change (the released code).
    """

    depth: int
    image: int
    classes: int = 10
    filters: tuple[int, ...] = (64, 128, 256, 512)
    sizes: tuple[int, ...] = (1, 3, 5)
    pools: tuple[tuple[int, int], ...] = ((5, 3), (3, 2), (2, 2))
    fully_connected: tuple[int, ...] = (512, 256, 128)
    max_fully_connected: int = 2
    smaller_than_bin: bool = False
    pool_rounding: Literal["ceil", "floor"] = "ceil"
    initial_pooling: bool = False
    gap: Literal["termination", "layer"] = "termination"
    gap_after_fc: bool = False
    fc_sees_bin: bool = False

    @property
    def padding(self) -> Padding:
        """SAME: a convolution leaves the R-size as it is."""
        return Padding.SAME

    def start(self) -> Node:
        """The whole image, before any layer."""
        return Node(State("start", 0, (), size_bin(self.image)), self.image)

    def ends(self, action: Layer) -> bool:
        """Softmax ends the architecture, and so does GAP where it is a termination."""
        if isinstance(action, GlobalAveragePooling):
            return self.gap == "termination"
        return isinstance(action, Softmax)

    def actions(self, state: State) -> tuple[Layer, ...]:
        """The layers that may follow a state, in a fixed order: C, P, FC, then terminations."""
        softmax, gap = Softmax(self.classes), GlobalAveragePooling(self.classes)
        if state.kind == "GAP":
            return (softmax,)
        actions: list[Layer] = []
        deeper = state.depth < self.depth
        image = state.kind != "FC"
        limit = state.bin - 1 if self.smaller_than_bin else state.bin
        if deeper and image:
            actions += [
                Convolution(d, f, 1) for d in self.filters for f in self.sizes if f <= limit
            ]
            if state.kind == "C" or (state.kind == "start" and self.initial_pooling):
                actions += [Pooling(f, s) for f, s in self.pools if f <= limit]
            if state.bin <= 4:
                actions += [FullyConnected(n) for n in self.fully_connected]
        elif deeper:
            count, neurons = state.numbers
            if count < self.max_fully_connected:
                actions += [FullyConnected(n) for n in self.fully_connected if n <= neurons]
        if (image or self.gap_after_fc) and (deeper or self.gap == "termination"):
            actions.append(gap)
        actions.append(softmax)
        return tuple(actions)

    def successor(self, node: Node, action: Layer) -> Node:
        """Where an action that does not end the architecture leads."""
        state, size = node.state, node.size
        depth = state.depth + 1
        match action:
            case Convolution(filters, field, _):
                return Node(State("C", depth, (filters, field), size_bin(size)), size)
            case Pooling(field, stride):
                if self.pool_rounding == "ceil":
                    after = pooling_size(size, field, stride)
                else:
                    after = (size - field) // stride + 1
                return Node(State("P", depth, (field, stride), size_bin(after)), after)
            case FullyConnected(neurons):
                count = state.numbers[0] + 1 if state.kind == "FC" else 1
                seen = size_bin(size) if self.fc_sees_bin else 0
                return Node(State("FC", depth, (count, neurons), seen), size)
            case GlobalAveragePooling():
                return Node(State("GAP", depth, (), size_bin(size)), size)
        raise ValueError(f"{action} leads to no state")

    def replayed(self, state: State) -> State:
        """The state itself, but for the released code's aliasing, see `fc_sees_bin`."""
        if self.fc_sees_bin and state.kind in ("FC", "GAP"):
            return dataclasses.replace(state, bin=1)
        return state

    def why_not(self, node: Node, layer: Layer) -> str:
        """Why a layer may not follow a node, in a few words."""
        state = node.state
        if state.kind == "GAP":
            return f"only softmax over {self.classes} classes follows global average pooling"
        if isinstance(layer, Softmax | GlobalAveragePooling) and layer.classes != self.classes:
            return f"the data set has {self.classes} classes"
        if state.depth >= self.depth:
            return f"at depth {self.depth} only a termination may follow"
        match layer:
            case GlobalAveragePooling():
                return "global average pooling may not follow FC"
            case FullyConnected(neurons):
                if not self.fully_connected:
                    return "the space has no FC"
                if neurons not in self.fully_connected:
                    return f"FC has {one_of(self.fully_connected)} neurons, not {neurons}"
                if state.kind != "FC":
                    return f"FC needs an R-size below 8, here it is {node.size}"
                if state.numbers[0] >= self.max_fully_connected:
                    return f"at most {self.max_fully_connected} FC layers may follow each other"
                return f"FC may not grow from {state.numbers[1]} to {neurons} neurons"
            case Convolution() | Pooling() if state.kind == "FC":
                return "only FC or a termination follows FC"
            case Convolution(filters, field, stride):
                if stride != 1:
                    return f"a convolution's stride is 1, not {stride}"
                if filters not in self.filters:
                    return f"a convolution has {one_of(self.filters)} filters, not {filters}"
                if field not in self.sizes:
                    return f"a convolution's receptive field is {one_of(self.sizes)}, not {field}"
            case Pooling(field, stride):
                if not self.pools:
                    return "the space has no pooling"
                if (field, stride) not in self.pools:
                    allowed = one_of([f"({f},{s})" for f, s in self.pools])
                    return f"pooling's receptive field and stride are {allowed}"
                if state.kind == "P":
                    return "pooling may not follow pooling"
                if state.kind == "start" and not self.initial_pooling:
                    return "pooling may not come first"
        relation = "<" if self.smaller_than_bin else "≤"
        return (
            f"the receptive field must be {relation} the R-size bin {state.bin} "
            f"(R-size {node.size})"
        )


def one_of(values: Sequence[object]) -> str:
    """Values as `a, b or c`."""
    *head, last = map(str, values)
    return f"{', '.join(head)} or {last}" if head else last
